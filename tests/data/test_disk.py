"""Decoded pictures on disk: the same bytes as from memory, made once, and made anew where the file is stale or torn."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data import disk
from data import store as store_module
from data.index import Index, build_index
from data.pixels import Resident, Staged
from data.store import ImageStore, open_store
from tests.data.pictures import pattern, write_picture
from utils.errors import UserError

SHAPES = [(24, 40), (40, 24), (100, 7), (33, 33), (2, 90)]
CPU = torch.device("cpu")


@pytest.fixture
def index(tmp_path, monkeypatch) -> Index:
    monkeypatch.setenv("ANNEAL_CACHE", str(tmp_path / "cache"))
    for i, (h, w) in enumerate(SHAPES):
        write_picture(tmp_path / "set" / f"{i}.png", pattern(h, w, seed=i))
    return build_index([tmp_path / "set"], 1, root=tmp_path, workers=2)


def the_file(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache").iterdir()
    return path


def refuse(*_) -> None:
    raise AssertionError("a picture was decoded")


def test_everywhere_the_same_pictures(index):
    stores = [ImageStore(index, 20, cache, workers=3) for cache in ("ram", "disk", "none")]
    resident = open_store(index, 20, "device", CPU)
    assert isinstance(resident, Resident)
    for i in range(len(index)):
        for store in stores:
            np.testing.assert_array_equal(store[i], stores[0][i])
        begin, end = resident.offsets[i : i + 2]
        packed = resident.pixels[begin:end].numpy().view(np.uint8).reshape(*stores[0].shape(i), 4)
        np.testing.assert_array_equal(packed[..., :3], stores[0][i])
    with pytest.raises(ValueError, match="read-only"):
        stores[1][0][:] = 0


def test_made_once(index, tmp_path, monkeypatch):
    first = ImageStore(index, 20, "disk")
    path, before = the_file(tmp_path), os.stat(the_file(tmp_path))
    assert before.st_size == 4096 + sum(h * w * 3 for h, w in first.shapes.tolist()) + 32
    monkeypatch.setattr(ImageStore, "_read", refuse)
    again = ImageStore(index, 20, "disk")
    assert all(np.array_equal(again[i], first[i]) for i in range(len(index)))
    assert os.stat(path).st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("harm", ["short", "long", "header", "end", "empty", "folder"])
def test_a_torn_file_is_made_anew(index, tmp_path, harm, caplog):
    expected = [np.array(picture) for picture in (ImageStore(index, 20, "disk")[i] for i in range(5))]
    path = the_file(tmp_path)
    data = path.read_bytes()
    torn = {
        "short": data[:-5],
        "long": data + b"x",
        "header": data[:30] + b"?" + data[31:],
        "end": data[:-1] + bytes([data[-1] ^ 1]),
        "empty": b"",
    }
    if harm == "folder":
        path.unlink()
        path.parent.rmdir()
    else:
        path.write_bytes(torn[harm])
    store = ImageStore(index, 20, "disk")
    assert all(np.array_equal(store[i], expected[i]) for i in range(5))
    assert the_file(tmp_path).read_bytes() == data


@pytest.mark.parametrize("change", ["pixels", "size"])
def test_other_pixels_or_sizes_are_another_file(index, tmp_path, change):
    ImageStore(index, 20, "disk")
    if change == "pixels":  # of the same shape, name and perhaps length
        path = Path(index.files[0])
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(1, 1))
    again = ImageStore(index, 24 if change == "size" else 20, "disk")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    np.testing.assert_array_equal(again[0], ImageStore(index, again.size, "none")[0])


def test_a_failure_leaves_nothing_behind(index, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ImageStore, "_read", lambda self, i: refuse() if i == 3 else pattern(*self.shape(i)))
        with pytest.raises(AssertionError):
            ImageStore(index, 20, "disk")
    assert not list((tmp_path / "cache").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("data.disk.shutil.disk_usage", lambda _: SimpleNamespace(free=9))
        with pytest.raises(UserError, match="set ANNEAL_CACHE to a folder on a larger disk"):
            ImageStore(index, 20, "disk")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ANNEAL_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot be written .*; set ANNEAL_CACHE"):
        ImageStore(index, 20, "disk")
    os.unlink(index.files[2])
    with pytest.raises(UserError, match=f"{index.files[2]}: cannot be read"):
        ImageStore(index, 20, "disk")


def test_what_killed_runs_left_is_removed_when_another_file_is_made(index, tmp_path):
    (tmp_path / "cache").mkdir()
    old, new, other = (tmp_path / "cache" / name for name in (".a.pixels.1-1.tmp", ".b.pixels.2-2.tmp", "c.pixels"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (1, 1))
    ImageStore(index, 20, "disk")
    assert [path.exists() for path in (old, new, other)] == [False, True, True]


def test_where_pictures_go(index, monkeypatch, caplog):
    """On a CPU the host draws, unless asked otherwise; on a GPU it is sent what is not kept there."""
    assert isinstance(open_store(index, 64, "auto", CPU), ImageStore)
    need = 4 * int(ImageStore(index, 64, "none").shapes.astype(int).prod(1).sum())
    monkeypatch.setattr(store_module, "free_bytes", lambda _: need - 1)
    with pytest.raises(UserError, match=r"keeping 5 pictures takes .* on cpu, .* free; use --cache auto"):
        open_store(index, 64, "device", CPU)
    monkeypatch.setattr(store_module, "free_bytes", lambda _: need)
    assert isinstance(open_store(index, 64, "device", CPU), Resident)
    # A GPU with room for half of what is asked: the host keeps the pictures, and says so.
    monkeypatch.setattr(store_module, "free_bytes", lambda _: 2 * need - 1)
    with caplog.at_level("INFO", "anneal"):
        sent = open_store(index, 64, "auto", torch.device("cuda"), desc="train")
    assert isinstance(sent, Staged)
    assert sent.store.resident
    assert "train: pictures are sent as they are needed" in caplog.text
    assert not open_store(index, 64, "none", torch.device("cuda")).store.resident


@pytest.mark.parametrize("given", ["~nobody-of-that-name/cache", ""])
def test_a_home_that_nobody_has_is_one_line(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("ANNEAL_CACHE", given)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does without a home
    with pytest.raises(UserError, match=r"^(ANNEAL_CACHE=~nobody|~/.cache/anneal).*set ANNEAL_CACHE to a folder, or"):
        disk.folder()
