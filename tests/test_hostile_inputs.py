"""Data, YAML, annotation and cache files from anybody: nothing runs, nothing explodes, each is told in one line."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import models
from data import cache, convert
from data.datasets import load_dataset
from data.index import Index, build_index
from data.store import decode
from training import options
from utils.errors import UserError

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
YAMLS = {
    "a call": ("names: !!python/object/apply:os.system ['touch CANARY']", "could not determine a constructor"),
    "an object": ("names: !!python/object/new:subprocess.Popen [[touch, CANARY]]", "could not determine a constructor"),
    "a function": ("lr0: !!python/name:os.system", "could not determine a constructor"),
    "a module": ("lr0: !!python/module:antigravity", "could not determine a constructor"),
    "a tag of one's own": ("lr0: !evil {x: 1}", "could not determine a constructor"),
    "laughs": (LAUGHS, "over 100,000 values"),
    "an endless alias": ("a: &a [*a]", "an alias inside its own anchor"),
    "depth": ("a: " + "[" * 100_000, "nested over 32 deep"),
    "size": ("#" * ((1 << 20) + 1), "too large for a YAML file"),
    "two documents": ("a: 1\n---\nb: 2\n", "found another document"),
    "bytes": ("\0\0\0\0", "not a usable YAML file"),
    "a list": ("- !!str a\n", "holds a list"),
    "a code for a number": ("depth: __import__('os').system('touch CANARY')", "unknown key|is missing|no 'train'"),
}


@pytest.mark.parametrize("reader", ["data", "hyp", "cfg"])
@pytest.mark.parametrize("case", sorted(YAMLS))
def test_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, reader: str) -> None:
    """The three kinds of YAML a user gives: data sets, hyper-parameters and layouts."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text(YAMLS[case][0].replace("CANARY", str(tmp_path / "canary")))
    read = {
        "data": lambda: load_dataset(path),
        "hyp": lambda: options.parse(["--hyp", str(path)], "train.py", ""),
        "cfg": lambda: models.build(path, 1),
    }[reader]
    with pytest.raises(UserError, match=YAMLS[case][1]) as error:
        read()
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert not (tmp_path / "canary").exists()


def test_download_and_paths_with_commands_are_only_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    canary = tmp_path / "canary"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    lines = [f"path: {tmp_path}", "train: .", "val: .", f"names: ['$(touch {canary})']"]
    (tmp_path / "d.yaml").write_text("\n".join([*lines, f"download: 'bash -c \"touch {canary}\"'"]))
    found = load_dataset(tmp_path / "d.yaml")
    build_index(found.train, 1, root=found.root)
    assert "d.yaml:5: 'download' is ignored: commands in data files are never run." in caplog.text
    assert not canary.exists()
    (tmp_path / "d.yaml").write_text("\n".join(["path: $(touch canary)", *lines[1:]]))
    with pytest.raises(UserError, match="does not exist; correct it or 'path'"):
        load_dataset(tmp_path / "d.yaml")


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG whose header promises `width` by `height`, with whatever pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = {
    "a promise of 3.6 gigapixels": (png(60_000, 60_000), r"over [\d,]+ pixels; shrink it"),
    "a line of 2 gigapixels": (png(0x7FFFFFFF, 1), r"over [\d,]+ pixels; shrink it|known format"),
    "sixty megapixels of nothing": (png(8_000, 8_000), "truncated|corrupt"),
    "no height": (png(10, 0), "known format|under 2 on a side|corrupt"),
    "half a JPEG": (jpeg()[: len(jpeg()) // 2], "truncated|corrupt"),
    "a pickle": (pickle.dumps({"a": 1}), "not a picture in a known format"),
    "a script": (b"#!/bin/sh\ntouch canary\n", "not a picture in a known format"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "not a picture in a known format"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file\n", "corrupt|known format"),
    "nothing": (b"", "empty file"),
}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A folder with one usable picture."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "sound.png")
    return folder


def skipped(folder: Path, name: str) -> str:
    """The one message about `name`, where the sound picture alone is used."""
    found = build_index([folder], 1, root=folder.parent, cache=False)
    assert [Path(file).name for file in found.files] == ["sound.png"]
    (message,) = (message for message in found.report.messages if f"/{name}:" in message)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("case", sorted(PICTURES))
def test_pictures(sound: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(sound)
    data, reason = PICTURES[case]
    path = sound / "x.png"
    path.write_bytes(data)
    assert "x.png: skipped: " in skipped(sound, "x.png")
    with pytest.raises(UserError, match=reason) as error:
        decode(path)
    assert "\n" not in str(error.value)
    assert not (sound / "canary").exists()


def test_links_and_pipes(sound: Path) -> None:
    (sound / "circle.png").symlink_to(sound / "circle.png")
    (sound / "folder").symlink_to(sound)
    (sound / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(sound / "pipe.png")
    for name, reason in (("circle.png", "symbolic links"), ("zero.png", "a regular"), ("pipe.png", "a regular")):
        assert reason in skipped(sound, name)


def test_lists_that_lead_elsewhere(sound: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    Image.new("RGB", (8, 8)).save(outside)
    lines = [f"../{outside.name}", "images/sound.png", "../../../../etc/passwd", "a\0b.png", "list.txt", "x" * 100_000]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found = build_index([tmp_path / "list.txt"], 1, root=tmp_path, cache=False)
    assert len(found) == 2
    warned = [message.partition("list.txt:")[2][:2] for message in found.report.messages if "leads outside" in message]
    assert warned == ["1:", "3:"]
    assert all("\n" not in message for message in found.report.messages)
    outside.unlink()


def test_labels_that_are_none(sound: Path) -> None:
    label = sound / "sound.txt"
    for data in (
        b"\0" * 100,
        b"9" * (17 << 20),
        b"0 " * 1_000_001,
        b"__import__('os').system('x') 1 1 1 1",
        b"1e999 " * 5,
    ):
        label.write_bytes(data)
        found = build_index([sound], 1, root=sound.parent, cache=False)
        assert len(found.labels[0]) == 0
        assert len(found.report.messages) == 1
        assert len(found.report.messages[0]) < 500


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.mknod, (str(self.canary),)


def replaced(path: Path, **arrays: np.ndarray) -> bytes:
    """The cache with some of its arrays replaced by others, those that need a pickle too."""
    with np.load(path) as archive:
        content = dict(archive)
    buffer = io.BytesIO()
    np.savez(buffer, **(content | arrays))
    return buffer.getvalue()


def huge(path: Path) -> bytes:
    """The cache with an array that claims 2**50 numbers and has none."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<i8", "fortran_order": False, "shape": (1 << 50,)})
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer) as old:
        kept = {name: old.read(name) for name in old.namelist() if name != "stats.npy"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, data in (kept | {"stats.npy": member.getvalue()}).items():
            new.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("case", ["a pickle", "pickled arrays", "compressed", "a huge array", "a header of code"])
def test_caches(sound: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str) -> None:
    canary, path = tmp_path / "canary", cache.cache_path([sound])

    def index() -> Index:
        return build_index([sound], 1, root=tmp_path)

    expected = index()
    compressed = io.BytesIO()
    np.savez_compressed(compressed, names=np.zeros(100 << 20, np.uint8))
    path.write_bytes(
        {
            "a pickle": lambda: pickle.dumps(Touches(canary)),
            "pickled arrays": lambda: replaced(path, notes=np.array([Touches(canary)], object)),
            "compressed": compressed.getvalue,
            "a huge array": lambda: huge(path),
            "a header of code": lambda: path.read_bytes().replace(b"{'descr'", b"{open('c'"),
        }[case]()
    )
    with caplog.at_level(logging.INFO, "anneal"):
        found = index()
    assert found.fingerprint == expected.fingerprint
    assert f"The index cache {path} is not usable" in caplog.text
    assert not canary.exists()


ENTITIES = '<!DOCTYPE a [<!ENTITY x "ha">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{("&" + (chr(97 + i) if i else "x") + ";") * 10}">' for i in range(9)
)
ANNOTATION = "<annotation><filename>{}</filename><object><name>a</name><bndbox>{}</bndbox></object></annotation>"
CORNERS = "<xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>"


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (ENTITIES + "]><annotation>&j;</annotation>", "DOCTYPE"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "DOCTYPE"),
        ("<a>" * 3_000, "broken XML"),
        ("\0\0", "broken XML"),
    ],
)
def test_annotations_in_xml(sound: Path, tmp_path: Path, capsys, annotation: str, reason: str) -> None:
    (tmp_path / "annotations").mkdir()
    for name in ("p", "q"):
        (tmp_path / "annotations" / f"{name}.xml").write_text(ANNOTATION.format(f"{name}.png", CORNERS))
        Image.new("RGB", (8, 8)).save(sound / f"{name}.png")
    (tmp_path / "annotations" / "sound.xml").write_text(annotation)
    assert convert.main(["voc", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert reason in next(line for line in capsys.readouterr().out.splitlines() if "annotations/sound.xml" in line)
    assert not any("passwd" in path.name for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "/etc/passwd.png"])
def test_a_picture_outside_the_set_is_never_taken(sound: Path, tmp_path: Path, capsys, name: str) -> None:
    """An annotation that names one is of the picture of its own name, or of none."""
    (tmp_path / "annotations").mkdir()
    for stem, names in (("p", "p.png"), ("q", "q.png"), ("sound", name), ("gone", name)):
        (tmp_path / "annotations" / f"{stem}.xml").write_text(ANNOTATION.format(names, CORNERS))
    for seed, stem in enumerate("pq"):
        Image.new("RGB", (8, 8), (seed, 0, 0)).save(sound / f"{stem}.png")
    assert convert.main(["voc", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert "annotations/gone.xml" in capsys.readouterr().out
    taken = {path.stem for path in (tmp_path / "out/images").rglob("*") if path.is_file()}
    assert {"p", "q"} <= taken <= {"p", "q", "sound"}


@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        '{"images": ' + "9" * 10_000 + "}",
        json.dumps({"images": [{"id": 1, "file_name": "../../etc/passwd"}], "annotations": [], "categories": []}),
        json.dumps({"images": [{"id": 1, "file_name": "/etc/passwd"}], "annotations": [7], "categories": [{}]}),
    ],
)
def test_annotations_in_json(tmp_path: Path, capsys, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert convert.main(["coco", str(tmp_path / "x.json"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert not (tmp_path / "out").exists()
