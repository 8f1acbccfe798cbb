"""The drawn sample: the same bytes every time, sound labels, whole or absent."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data import sample
from data.sample import MARKER, is_sample, render
from data.sample_faces import INCORRECT, WITH, WITHOUT, Pose, draw_head
from data.sample_scene import draw_scene
from utils.errors import UserError


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_same_seed_same_bytes(tmp_path, monkeypatch):
    render(tmp_path / "a", seed=3, train=6, val=3)
    monkeypatch.setattr(sample.os, "cpu_count", lambda: 1)
    render(tmp_path / "b", seed=3, train=6, val=3)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert len(first) == 2 * 9 + 1
    assert len({data for name, data in first.items() if name.endswith(".jpg")}) == 9


def test_picture_depends_on_its_number_alone(tmp_path):
    render(tmp_path / "few", train=2, val=1)
    render(tmp_path / "more", train=5, val=2)
    render(tmp_path / "other", seed=1, train=2, val=1)
    few, more, other = (contents(tmp_path / name) for name in ("few", "more", "other"))
    assert all(more[name] == few[name] for name in few if name != MARKER)
    assert all(other[name] != few[name] for name in few if name.endswith(".jpg"))


def test_labels_are_sound():
    shares = np.zeros(3)
    for number in range(60):
        picture, labels = draw_scene(np.random.default_rng([0, 0, number]))
        assert picture.dtype == np.uint8
        assert 280 <= picture.shape[1] <= 400
        assert 1 <= len(labels) <= 8
        centre, size = labels[:, 1:3], labels[:, 3:]
        assert (centre - size / 2 > -1e-9).all()
        assert (centre + size / 2 < 1 + 1e-9).all()
        pixels = size * (picture.shape[1], picture.shape[0])
        assert pixels.min() >= 8
        assert size[:, 1].max() <= 0.6
        shares += np.bincount(labels[:, 0].astype(int), minlength=3)
    assert np.abs(shares / shares.sum() - (0.55, 0.30, 0.15)).max() < 0.1


@pytest.mark.parametrize("turn", [-0.6, 0.0, 0.6])
@pytest.mark.parametrize("tilt", [-0.4, 0.0, 0.4])
def test_box_is_tight_to_the_outline(tilt, turn):
    pose = Pose(x=100, y=90, height=120, ratio=0.78, tilt=tilt, turn=turn, jaw=0.3)
    canvas = np.zeros((200, 200), np.uint8)
    cv2.fillPoly(canvas, [np.rint(pose.project(pose.outline())).astype(np.int32)], 255)
    ys, xs = np.nonzero(canvas)
    drawn = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    assert np.abs(pose.box() - drawn).max() <= 3


def test_classes_differ_where_they_should():
    pose = Pose(x=80, y=80, height=100, ratio=0.8, tilt=0, turn=0, jaw=0.3)
    heads = []
    for kind in (WITH, WITHOUT, INCORRECT):
        heads.append(np.full((160, 160, 3), 128, np.uint8))
        draw_head(heads[-1], pose, kind, np.random.default_rng(11))
    nose, mouth = (slice(86, 96), slice(72, 88)), (slice(105, 115), slice(70, 90))
    spread = [
        [float(np.abs(a[part].astype(int) - b[part]).mean()) for part in (nose, mouth)]
        for a, b in ((heads[0], heads[1]), (heads[0], heads[2]), (heads[1], heads[2]))
    ]
    assert min(spread[0]) > 15  # with and without: nose and mouth differ
    assert spread[1][0] > 15  # with and incorrect: the nose differs
    assert spread[2][1] > 15  # without and incorrect: the mouth differs


def test_full_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="not empty"):
        render(tmp_path / "mine", train=1, val=1)
    assert contents(tmp_path) == {"mine/holiday.jpg": b"x"}


def test_empty_folder_is_filled_and_marked(tmp_path):
    (tmp_path / "new").mkdir()
    assert not is_sample(tmp_path / "new")
    render(tmp_path / "new", train=1, val=1)
    assert is_sample(tmp_path / "new")
    text = (tmp_path / "new" / MARKER).read_text(encoding="utf-8")
    assert "seed: 0" in text
    assert "1 train, 1 val" in text


def test_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def full(root, seed, part, number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "_draw_one", full)
    with pytest.raises(UserError, match="No space left"):
        render(tmp_path / "new", train=2, val=1)
    assert list(tmp_path.iterdir()) == []
