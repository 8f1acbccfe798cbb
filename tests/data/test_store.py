"""The store: sizes known without decoding, the same pictures from memory and from disk, memory asked for before use."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data import store as store_module
from data.index import Index, LabelRows, build_index
from data.memory import available_bytes
from data.report import IndexReport
from data.store import ImageStore, fitted, open_store
from tests.data.pictures import pattern, write_picture
from utils.errors import UserError

SHAPES = [(24, 40), (40, 24), (100, 7), (33, 33), (2, 90)]


@pytest.fixture
def index(tmp_path) -> Index:
    for i, (h, w) in enumerate(SHAPES):
        write_picture(tmp_path / f"{i}.png", pattern(h, w, seed=i))
    return build_index([tmp_path], 1, root=tmp_path, workers=2)


@pytest.mark.parametrize("cache", ["ram", "none"])
@pytest.mark.parametrize("size", [16, 33, 64])
def test_every_picture_has_the_shape_that_was_promised(index, cache, size):
    store = ImageStore(index, size, cache, workers=2)
    assert store.resident == (cache == "ram")
    for i in range(len(index)):
        assert store[i].shape == (*store.shape(i), 3)
        assert max(store.shape(i)) == size
        assert store[i].dtype == np.uint8
        assert store[i].flags.c_contiguous


def test_memory_and_disk_give_the_same(index):
    ram, none = ImageStore(index, 20, "ram", workers=3), ImageStore(index, 20, "none")
    for i in range(-1, len(index)):
        np.testing.assert_array_equal(ram[i], none[i])
    for store in (ram, none):
        with pytest.raises(IndexError):
            store[len(index)]


def test_pixels_are_rgb_shrunk_by_area_and_enlarged_linearly(index):
    np.testing.assert_array_equal(ImageStore(index, 40, "none")[0], pattern(24, 40))
    small = cv2.resize(pattern(24, 40), (20, 12), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(ImageStore(index, 20, "none")[0], small)
    large = cv2.resize(pattern(24, 40), (80, 48), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(ImageStore(index, 80, "none")[0], large)


def test_pictures_in_memory_cannot_be_spoiled(index):
    store = ImageStore(index, 20, "ram")
    with pytest.raises(ValueError, match="read-only"):
        store[0][:] = 0


@given(h=st.integers(1, 20_000), w=st.integers(1, 20_000), size=st.integers(1, 2000))
def test_fitted_keeps_the_longer_side_and_the_aspect(h, w, size):
    height, width = fitted(h, w, size)
    assert max(height, width) == size
    assert min(height, width) >= 1
    for side, before in ((height, h), (width, w)):
        assert side == 1 or abs(side - before * size / max(h, w)) <= 0.5 + 1e-9


@settings(max_examples=30, deadline=None)
@given(h=st.integers(2, 70), w=st.integers(2, 70), size=st.integers(1, 70), turn=st.integers(1, 8), jpeg=st.booleans())
def test_shape_is_that_of_the_picture(tmp_path_factory, h, w, size, turn, jpeg):
    folder = tmp_path_factory.mktemp("one")
    exif = Image.Exif()
    exif[0x0112] = turn
    write_picture(folder / ("a.jpg" if jpeg else "a.png"), pattern(h, w), exif=exif)
    index = build_index([folder], 1, root=folder, cache=False, workers=1)
    store = ImageStore(index, size, "none")
    assert store[0].shape == (*store.shape(0), 3)
    assert max(store.shape(0)) == size


def test_auto_takes_memory_only_where_there_is_plenty(index, monkeypatch, caplog):
    need = sum(h * w * 3 for h, w in (fitted(*shape, 64) for shape in SHAPES))
    monkeypatch.setattr(store_module, "available_bytes", lambda: 2 * need)
    assert ImageStore(index, 64, "auto").resident
    monkeypatch.setattr(store_module, "available_bytes", lambda: 2 * need - 1)
    with caplog.at_level(logging.INFO, "anneal"):
        assert not ImageStore(index, 64, "auto", desc="train").resident
    assert "train: pictures are decoded as they are needed" in caplog.text
    assert ImageStore(index, 64, "ram").resident
    monkeypatch.setattr(store_module, "available_bytes", lambda: need - 1)
    with pytest.raises(UserError, match="use --cache auto"):
        ImageStore(index, 64, "ram")
    with pytest.raises(UserError, match="did you mean 'auto'"):
        open_store(index, 64, "atuo", torch.device("cpu"))


def test_pictures_lost_or_changed_since_are_named(index):
    store = ImageStore(index, 16, "none")
    os.unlink(index.files[0])
    write_picture(Path(index.files[1]), pattern(50, 20))
    Path(index.files[2]).write_bytes(b"")
    reasons = [r"0\.png: cannot be read", r"1\.png: was 24 x 40 pixels and is 20 x 50", r"2\.png: empty"]
    for i, reason in enumerate(reasons):
        with pytest.raises(UserError, match=reason):
            store[i]
    with pytest.raises(UserError, match=r"0\.png: cannot be read"):
        ImageStore(index, 16, "ram", workers=2)


def test_no_pictures_are_no_trouble():
    none = np.zeros((0, 2), np.int32)
    index = Index((), none, LabelRows(np.zeros((0, 5), np.float32), np.zeros(1, np.int64)), IndexReport(), "")
    assert len(ImageStore(index, 64, "ram")) == 0


def test_free_memory_is_the_least_of_system_and_container(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 900 kB\nMemAvailable:    500 kB\n")
    assert available_bytes(meminfo, tmp_path) == 500 * 1024
    for name, text in (("max", "100000"), ("current", "40000"), ("stat", "anon 5\ninactive_file 7000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert available_bytes(meminfo, tmp_path) == 67_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(meminfo, tmp_path) == 500 * 1024
    assert available_bytes(tmp_path / "none", tmp_path) > 0
    assert available_bytes() > 0
