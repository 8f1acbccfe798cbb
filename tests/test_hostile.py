"""Checkpoints from anybody: whatever is in them, nothing runs, and what is wrong is told in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import val
from tests import hostile
from tests.published import save_published
from utils import checkpoint
from utils.errors import UserError

READERS = (checkpoint.load, checkpoint.load_weights)
NAMED = (
    ("torch.hub", "load"),
    ("torch", "load"),
    ("torch.jit", "load"),
    ("torch.utils.cpp_extension", "load"),
    ("torch.nn", "os.system"),
    ("torch._C", "import_ir_module"),
    ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"),
    ("builtins", "__import__"),
    ("builtins", "compile"),
    ("pickle", "loads"),
    ("ctypes", "CDLL"),
    ("shutil", "rmtree"),
    ("webbrowser", "open"),
    ("modelsx", "Evil"),
    ("utils.files.atomic", "write_atomic"),
)


def refused(path: Path, pattern: str, readers: Sequence[Callable] = READERS) -> None:
    for reader in readers:
        with pytest.raises(UserError, match=pattern) as error:
            reader(path)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(str(path))
        assert len(str(error.value)) < 300 + len(str(path))


@pytest.mark.parametrize("case", sorted(hostile.running(Path("canary"))))
def test_nothing_runs(tmp_path: Path, case: str) -> None:
    """The name that the file asks for is told; torch's own reader, which would be asked next, is not reached."""
    canary = tmp_path / "canary"
    canary.with_suffix(".py").write_text(hostile.script_of(canary))
    pickle, asked = hostile.running(canary)[case]
    refused(hostile.archive(tmp_path / "x.pt", pickle), f"refused, .*{asked}.*; use a file from a source you trust")
    assert not canary.exists()


def test_the_canary_sings(tmp_path: Path) -> None:
    """Each of those pickles does run where pickle itself reads it; else their tests would prove nothing."""
    cases = sorted(hostile.running(tmp_path / "canary"))
    for i, case in enumerate(cases):
        canary = tmp_path / f"{i}"
        canary.with_suffix(".py").write_text(hostile.script_of(canary))
        hostile.archive(tmp_path / f"{i}.pt", hostile.running(canary)[case][0])
    code = """if True:
        import pathlib, pickle, sys, types, zipfile
        for name, kind in (("models.yolo", "DetectionModel"), ("torch._utils", "_rebuild_tensor_v2")):
            for module in (name.partition(".")[0], name):
                sys.modules[module] = types.ModuleType(module)
            setattr(sys.modules[name], kind, type(kind, (), {}))
        for file in pathlib.Path(sys.argv[1]).glob("*.pt"):
            try:
                pickle.loads(zipfile.ZipFile(file).read("archive/data.pkl"))
            except Exception:
                pass
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=tmp_path)
    assert [case for i, case in enumerate(cases) if not (tmp_path / f"{i}").exists()] == []


@pytest.mark.parametrize(("module", "function"), NAMED)
def test_names_are_refused(tmp_path: Path, module: str, function: str) -> None:
    path = hostile.archive(tmp_path / "x.pt", hostile.network(a=hostile.call(hostile.name(module, function))))
    refused(path, f"refused, it asks for '{module}.{function}', which no network needs")


@pytest.mark.parametrize("case", sorted(hostile.looping()))
def test_nothing_loops_or_grows(tmp_path: Path, case: str) -> None:
    pickle, reason = hostile.looping()[case]
    refused(hostile.archive(tmp_path / "x.pt", pickle), reason, [checkpoint.load_weights])


def test_objects_stay_inert(tmp_path: Path) -> None:
    """Attributes that give a class power in Python are just entries of a note."""
    state = {
        key: hostile.text("os.system") for key in ("__setstate__", "__class__", "__reduce__", "__dict__", "forward")
    }
    weight = hostile.tensor(hostile.storage(), hostile.number(0), b"K\x04\x85", b"K\x01\x85")
    path = hostile.archive(tmp_path / "x.pt", hostile.network(**state, _parameters=hostile.mapping(weight=weight)))
    found = checkpoint.load_weights(path)
    assert found["ema"]["weight"].tolist() == [0, 0, 0, 0]
    assert set(found) == {"ema", "classes", "names"}


def rewritten(path: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def encrypt(data: bytearray) -> None:
    data[data.index(b"PK\x01\x02") + 8] |= 1


def test_archives_that_are_none(tmp_path: Path) -> None:
    path, sound = tmp_path / "x.pt", hostile.network()
    bomb = {"data/0": bytes(100 << 20)}
    refused(hostile.archive(path, sound, bomb, zipfile.ZIP_DEFLATED), "'archive/data.pkl' is compressed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hostile.archive(path, sound)
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("archive/data.pkl", b"\x80\x02}.")
    refused(path, "a member is in it twice")
    refused(hostile.archive(path, sound, {"byteorder": b"big"}), "not stored little-endian")
    refused(hostile.archive(path, b"N" * (9 << 20)), "its structure is over 8,388,608 bytes")
    refused(rewritten(hostile.archive(path, sound), encrypt), "'archive/data.pkl' is encrypted")
    hostile.archive(path, sound)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("other/data.pkl", b"\x80\x02}.")
    refused(path, "a zip archive, but not a checkpoint")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../../escape.py", b"")
    refused(path, "a zip archive, but not a checkpoint")


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for content in (b"", b"PK\x03\x04", b"just text\n" * 50, b"\x80\x04}.", os.urandom(5000), b"\x89PNG\r\n\x1a\n"):
        path.write_bytes(content)
        refused(path, "not a readable checkpoint")
    refused(tmp_path, "not a readable checkpoint.*not a regular file")
    os.mkfifo(tmp_path / "pipe.pt")
    refused(tmp_path / "pipe.pt", "not a regular file")
    (tmp_path / "a.pt").symlink_to(tmp_path / "b.pt")
    (tmp_path / "b.pt").symlink_to(tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "symbolic links|no such checkpoint|a broken link")
    (tmp_path / "zero.pt").symlink_to("/dev/zero")
    refused(tmp_path / "zero.pt", "not a regular file")


def test_other_versions_and_kinds(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for version in (2, 10**30, "1", None, True, 1.0):
        checkpoint.save(path, {"version": version})
        refused(path, "newer than the 1 this program reads; update the program")
    checkpoint.save(path, {"format": "other"})
    refused(path, "not a checkpoint of this trainer", READERS[:1])
    torch.save([1, 2], path)
    refused(path, "not a checkpoint of this trainer", READERS[:1])
    torch.save({"format": "anneal", "version": 1, "a": torch.nn.Linear(1, 1)}, path)
    refused(path, "not a readable checkpoint")
    facts = {"classes": 2, "names": ["a", "b"], "ema": {"w": torch.ones(1)}}
    for change in ({"classes": "2"}, {"classes": 3}, {"names": 7}, {"names": [1, 2]}, {"ema": [1]}, {"ema": {"w": 1}}):
        checkpoint.save(path, facts | change)
        refused(path, "holds no weights with their classes and names", READERS[1:])


def test_networks_beyond_their_weights(tmp_path: Path) -> None:
    """A description out of a checkpoint is compared with the weights before anything of its size is made."""
    path, sound = tmp_path / "x.pt", models.build("yolov5n", 2)
    facts = {"classes": 2, "names": ["a", "b"], "ema": sound.state_dict()}
    wide = sound.layout | {"width": 500.0}
    many = sound.layout | {"layers": sound.layout["layers"] * 100}
    strange = sound.layout | {"layers": [{"block": ["Conv"]}]}
    evaluated = sound.layout | {"layers": [{"block": "Conv", "channels": "__import__('os')"}]}
    for layout, pattern in (
        (wide, "asks for over 10,000 of something"),
        (many, "no list of up to 1000 layers"),
        (strange, r"unknown block '\['Conv'\]'"),
        (evaluated, "channels is .*; give a whole number over 0"),
        (sound.layout | {"width": 0.5}, "do not belong together"),
        ({}, "key 'name' is missing"),
        ([], "do not belong together"),
        ("yolov5n", "do not belong together"),
        ("../../../etc/passwd", "do not belong together"),
    ):
        checkpoint.save(path, facts | {"layout": layout})
        refused(path, pattern, [val.load_detector])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    entries = {"model.0.weight": torch.arange(6.0).view(2, 3), "model.1.bias": torch.arange(2.0)}
    return save_published(tmp_path_factory.mktemp("small") / "small.pt", entries, names=["a", "b"], yaml={"nc": 2})


def attempt(path: Path) -> dict | str:
    """What is read, or the line that says why nothing is."""
    try:
        return checkpoint.load_weights(path)
    except UserError as error:
        return str(error)


def same_or_refused(path: Path, original: Path) -> bool:
    """Whether the file is refused, in one line; what is read of it otherwise is the original's content."""
    expected, found = checkpoint.load_weights(original), attempt(path)
    if isinstance(found, str):
        assert "\n" not in found
        return True
    assert {n: v.tolist() for n, v in found["ema"].items()} == {n: v.tolist() for n, v in expected["ema"].items()}
    assert found["names"] == expected["names"]
    return False


def test_every_truncation_and_most_flipped_bits_are_told(tmp_path: Path, small: Path) -> None:
    data, path = small.read_bytes(), tmp_path / "x.pt"
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        assert same_or_refused(path, small), length
    flips = range(0, len(data), 31)
    told = 0
    for i in flips:
        path.write_bytes(data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :])
        told += same_or_refused(path, small)
    assert told > len(flips) / 3  # the rest fell on padding and on notes of the archive that nobody reads


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_mutated_structure_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, small: Path, data) -> None:
    """With checksums that hold: any bytes in the structure give weights, or one line."""
    with zipfile.ZipFile(small) as file:
        members = {member.partition("/")[2]: file.read(member) for member in file.namelist()}
    pickle = bytearray(members.pop("data.pkl"))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(2, len(pickle) - 1))
        pickle[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path = hostile.archive(tmp_path_factory.getbasetemp() / "mutated.pt", bytes(pickle), members)
    found = attempt(path)
    assert "\n" not in found if isinstance(found, str) else found["ema"]
