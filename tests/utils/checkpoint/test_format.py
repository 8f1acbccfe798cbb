"""Checkpoints are written whole or not at all, read back as they were, and refused where they cannot be."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from utils import checkpoint
from utils.errors import UserError
from utils.files.atomic import previous

STATE = {
    "kind": "run",
    "model": {"weight": torch.arange(6.0).reshape(2, 3).t(), "half": torch.ones(3, dtype=torch.bfloat16)},
    "step": 7,
    "rate": 0.1,
    "names": ["a", "ü"],
    "nothing": None,
    "flag": True,
    "pair": (1, 2.5),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.pt"


def test_what_is_saved_comes_back(path: Path) -> None:
    checkpoint.save(path, STATE)
    state = checkpoint.load(path)
    assert (state.pop("format"), state.pop("version")) == (checkpoint.FORMAT, checkpoint.VERSION)
    weights, expected = state.pop("model"), STATE["model"]
    assert state == {key: value for key, value in STATE.items() if key != "model"}
    for name, value in expected.items():
        assert torch.equal(weights[name], value)
        assert weights[name].dtype == value.dtype
    assert list(path.parent.iterdir()) == [path]


def test_tensors_that_share_memory_stay_shared(path: Path) -> None:
    base = torch.zeros(4)
    checkpoint.save(path, {"a": base, "b": base[1:]})
    state = checkpoint.load(path)
    state["a"][1] = 5
    assert state["b"][0] == 5


def test_the_previous_generation_stays(path: Path) -> None:
    for step in range(3):
        checkpoint.save(path, {"step": step}, keep_previous=True)
    assert checkpoint.load(path)["step"] == 2
    assert checkpoint.load(previous(path))["step"] == 1
    assert {p.name for p in path.parent.iterdir()} == {"last.pt", "last.previous.pt"}


def damages(data: bytes) -> dict[str, bytes]:
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    return {
        "empty": b"",
        "cut": data[:-40],
        "half": data[: len(data) // 2],
        "flipped": bytes(flipped),
        "junk": b"x" * 9,
    }


@pytest.mark.parametrize("how", ["empty", "cut", "half", "flipped", "junk"])
def test_a_damaged_file(path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Refused in one line; where the generation before is there, that is taken, with a warning."""
    checkpoint.save(path, {"step": 1, "model": torch.ones(1000)})
    path.write_bytes(damages(path.read_bytes())[how])
    with pytest.raises(UserError, match=r"last\.pt: ") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    checkpoint.save(previous(path), {"step": 0})
    assert checkpoint.load(path)["step"] == 0
    assert "using the version before it, last.previous.pt" in caplog.text


def test_only_the_previous_generation_is_there(path: Path) -> None:
    checkpoint.save(previous(path), {"step": 4})
    assert checkpoint.load(path)["step"] == 4


def test_every_flipped_byte_of_a_tensor_is_noticed(path: Path) -> None:
    checkpoint.save(path, {"model": torch.full((64,), 1.5)})
    data = path.read_bytes()
    start = data.index(torch.full((64,), 1.5).numpy().tobytes())
    for at in range(start, start + 256, 17):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(UserError):
            checkpoint.load(path)


def test_files_of_others(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pt"):
        checkpoint.load(tmp_path / "none.pt")
    torch.save({"model": {}}, path)
    with pytest.raises(UserError, match="not a checkpoint of this trainer"):
        checkpoint.load(path)
    torch.save({"format": checkpoint.FORMAT, "version": checkpoint.VERSION + 1}, path)
    with pytest.raises(UserError, match=r"version 2, newer than the 1 this program reads; update the program$"):
        checkpoint.load(path)
    with pytest.raises(UserError, match=str(tmp_path)):
        checkpoint.load(tmp_path)


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_run(path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    hostile = {"format": checkpoint.FORMAT, "version": 1, "model": Canary(canary)}
    for write in (lambda: torch.save(hostile, path), lambda: path.write_bytes(pickle.dumps(hostile))):
        write()
        with pytest.raises(UserError):
            checkpoint.load(path)
        assert not canary.exists()


def test_an_archive_that_would_inflate_is_refused(path: Path) -> None:
    checkpoint.save(path, {"model": torch.zeros(10_000)})
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match=r"last\.pt"):
        checkpoint.load(path)


def test_a_disk_that_refuses_leaves_the_old_file(path: Path) -> None:
    checkpoint.save(path, {"step": 1})
    previous(path).mkdir()  # the older generation cannot be put there
    (previous(path) / "full").write_text("")
    with pytest.raises(OSError):
        checkpoint.save(path, {"step": 2}, keep_previous=True)
    assert checkpoint.load(path)["step"] == 1
    assert {p.name for p in path.parent.iterdir()} == {"last.pt", "last.previous.pt"}
