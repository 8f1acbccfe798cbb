"""The index cache: reads only what changed, and a broken or unwritable one costs time, never a result."""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data import cache
from data import index as index_module
from data.cache import cache_path
from data.index import build_index
from tests.data.pictures import pattern, write_dataset, write_picture
from tests.trainer import Killed

BOX = "0 0.5 0.5 0.2 0.2\n"


@pytest.fixture
def images(tmp_path) -> Path:
    return write_dataset(tmp_path, {"a": BOX, "b": BOX + "nonsense\n", "c": None, "d": BOX})


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the pictures that are opened."""
    opened: list[str] = []
    original = index_module.read_picture

    def spy(path):
        opened.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(index_module, "read_picture", spy)
    return opened


def build(images: Path, **options):
    return build_index([images], 3, root=images.parent.parent, workers=2, **options)


def same(a, b) -> bool:
    labels = all(np.array_equal(x, y) for x, y in zip(a.labels, b.labels, strict=True))
    return a.files == b.files and np.array_equal(a.shapes, b.shapes) and labels and a.fingerprint == b.fingerprint


def test_a_second_build_reads_nothing_and_finds_the_same(images, reads):
    first = build(images)
    assert sorted(reads) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    reads.clear()
    second = build(images)
    assert reads == []
    assert same(first, second)
    assert first.report == second.report


def test_only_changes_are_read_again(images, reads):
    build(images)
    reads.clear()
    labels = images.parent.parent / "labels/train"
    (labels / "c.txt").write_text(BOX)  # appears
    (labels / "d.txt").unlink()  # disappears
    (labels / "a.txt").write_text(BOX.replace("0.5", "0.4"))  # changes, at the same length
    os.utime(labels / "a.txt", ns=(1, 1))
    write_picture(images / "b.jpg", pattern(30, 30))
    write_picture(images / "e.jpg")
    fresh = build(images)
    assert sorted(reads) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    reads.clear()
    (images / "a.jpg").unlink()
    assert len(build(images)) == 4
    assert reads == []
    assert [len(rows) for rows in fresh.labels] == [1, 1, 1, 0, 0]
    assert fresh.shapes[1].tolist() == [30, 30]


def test_other_names_or_classes_read_everything(images, reads):
    build(images)
    reads.clear()
    build(images, single_class=True)
    assert len(reads) == 4


def test_no_cache_is_written_where_none_is_wanted(images):
    build(images, cache=False)
    assert not cache_path([images]).exists()


def test_one_file_beside_the_folder_and_no_other(images):
    build(images)
    assert sorted(path.name for path in images.parent.iterdir()) == [".anneal-train.npz", "train"]
    assert cache_path([images, images]) != cache_path([images])


def test_a_folder_that_cannot_be_written(images, caplog):
    cache_path([images]).mkdir()  # permissions do not stop an administrator; a folder in the way does
    with caplog.at_level(logging.INFO, "anneal"):
        assert len(build(images)) == 4
    assert "not cached" in caplog.text
    assert sorted(path.name for path in images.parent.iterdir()) == [".anneal-train.npz", "train"]


def test_what_a_killed_run_left_is_removed(images, monkeypatch):
    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", kill)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process clears nothing up
        with pytest.raises(Killed):
            build(images)
    (left,) = images.parent.glob("*.tmp")
    left = left.rename(left.with_name(left.name.replace(f".{os.getpid()}-", ".1-")))  # of another process
    os.utime(left, (1, 1))
    build(images)
    assert sorted(path.name for path in images.parent.iterdir()) == [".anneal-train.npz", "train"]


def damaged(path: Path) -> dict[str, bytes]:
    """Caches that must not be believed."""
    good = path.read_bytes()
    with np.load(path) as archive:
        content = dict(archive)

    def saved(**changes) -> bytes:
        np.savez(path.with_suffix(".other.npz"), **{**content, **changes})
        return path.with_suffix(".other.npz").read_bytes()

    flipped = bytearray(good)
    flipped[good.index(content["rows"].tobytes())] ^= 0x40
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in content:
            bomb.writestr(f"{name}.npy", b"\0" * 100_000)
    return {
        "empty": b"",
        "text": b"hello",
        "cut": good[: len(good) // 2],
        "flipped": bytes(flipped),
        "compressed": path.with_suffix(".zip").read_bytes(),
        "lengths": saved(lengths=content["lengths"] + 1),
        "negative": saved(lengths=np.array([-1, 1, 1, 1])),
        "values": saved(rows=content["rows"] * np.float32("nan")),
        "names": saved(names=content["names"][:-19]),
        "notes": saved(notes=np.frombuffer(b"[[99, 1, 'x']]", np.uint8)),
        "pickled": saved(rows=np.array([{"a": 1}], dtype=object)),
    }


def test_a_damaged_cache_is_ignored(images, reads):
    good = build(images)
    path = cache_path([images])
    for kind, data in damaged(path).items():
        reads.clear()
        path.write_bytes(data)
        assert same(build(images), good), kind
        assert len(reads) == 4, kind
        reads.clear()
        build(images)
        assert reads == [], f"not replaced after: {kind}"


@pytest.mark.parametrize("column", ["unknown class", "half a class", "no width", "a pipe", "no end", "shapes under 0"])
def test_a_cache_of_what_no_labels_can_be_is_not_used(tmp_path: Path, column: str) -> None:
    """Nor one that cannot be read to its end."""
    found = cache.Records.of([cache.Record((1, 2, 3, 4, 5), (8, 8), np.full((1, 5), 0.5, np.float32), (0,) * 5, [])])
    found.rows[0, 0] = {"unknown class": 3, "half a class": 0.5}.get(column, 2)
    found.rows[0, 3] = 0 if column == "no width" else 0.5
    found.shapes[0] = -8 if column == "shapes under 0" else 8
    path = tmp_path / "cache.npz"
    if column == "a pipe":
        os.mkfifo(path)
    elif column == "no end":
        path.symlink_to("/dev/zero")
    else:
        cache.save(path, "3 False", ["a.jpg"], found)
    assert cache.load(path, "3 False")[0] == {}
    found.rows[:], found.shapes[:] = (2, 0.5, 0.5, 0.5, 0.5), 8
    path.unlink()
    cache.save(path, "3 False", ["a.jpg"], found)
    assert cache.load(path, "3 False")[0] == {"a.jpg": 0}
