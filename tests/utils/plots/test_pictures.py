"""The grid of a batch's images with boxes and names."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from utils import plots
from utils.plots import style
from utils.plots.pictures import GAP, _meet, _place

GREY = (114, 114, 114)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def batch(count: int, height: int, width: int) -> torch.Tensor:
    return torch.full((count, 3, height, width), GREY[0], dtype=torch.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(1, 400), st.integers(1, 400), st.integers(64, 700))
def test_the_grid_fits(
    tmp_path_factory: pytest.TempPathFactory, count: int, height: int, width: int, side: int
) -> None:
    out = tmp_path_factory.getbasetemp() / "grid.jpg"
    grid = plots.pictures(batch(count, height, width), [np.zeros((0, 5))] * count, (), out, max_side=side)
    assert max(grid.shape[:2]) <= side
    assert read(out).shape == grid.shape


def test_boxes_are_drawn_where_they_are_in_their_class_colours(tmp_path: Path) -> None:
    boxes = [torch.tensor([[100.0, 200, 300, 400, 1]]), torch.zeros(0, 6), np.array([[10, 50, 630, 600, 2, 0.9]])]
    grid = plots.pictures(batch(3, 640, 640), boxes, ("a", "b", "c"), tmp_path / "x.png", max_side=2 * 640 + GAP)
    assert np.array_equal(read(tmp_path / "x.png"), grid)
    first, second, third = grid[:640, :640], grid[:640, 640 + GAP :], grid[640 + GAP :, :640]
    for y, x in ((200, 250), (400, 200), (300, 100), (300, 300)):
        assert tuple(first[y, x]) == style.rgb(1)
    assert tuple(first[300, 200]) == GREY
    assert (second == GREY[0]).all()
    assert tuple(third[300, 10]) == style.rgb(2)
    assert (grid[640 + GAP :, 640 + GAP :] == 255).all()


def test_channels_are_rgb(tmp_path: Path) -> None:
    images = np.zeros((1, 3, 400, 400), np.uint8)
    images[:, 0] = 255
    grid = plots.pictures(images, [np.zeros((0, 5))], (), tmp_path / "x.jpg")
    assert tuple(grid[200, 200]) == (255, 0, 0)
    red, green, blue = read(tmp_path / "x.jpg")[200, 200]
    assert red > 250 > 5 > max(green, blue)


def test_the_limit_holds(tmp_path: Path) -> None:
    grid = plots.pictures(batch(9, 100, 100), [np.zeros((0, 5))] * 9, (), tmp_path / "x.jpg", limit=1)
    assert grid.shape == (320, 320, 3)


def test_only_uint8_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        plots.pictures(np.zeros((1, 3, 8, 8), np.float32), [np.zeros((0, 5))], (), tmp_path / "x.jpg")


@pytest.mark.parametrize("box", [[-500, -500, 5000, 5000], [50, 50, 50, 50], [90, 80, 10, 20], [np.nan, 0, 1, np.inf]])
def test_odd_boxes_and_names_do_not_break_it(tmp_path: Path, box: list[float]) -> None:
    boxes = np.array([[*box, 0, 0.5], [*box, 99, 0.1]])
    titles = ["a/very/long/path/" * 20 + "口罩.jpg"]
    grid = plots.pictures(batch(1, 100, 100), [boxes], ("_$x$",), tmp_path / "x.jpg", titles)
    assert grid.shape == (320, 320, 3)


edge = st.floats(0, 200)


@given(st.lists(st.tuples(edge, edge, edge, edge), min_size=1, max_size=25))
def test_names_cover_neither_one_another_nor_a_centre(boxes: list[tuple[float, float, float, float]]) -> None:
    corners = np.sort(np.array(boxes).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    taken: list[tuple[float, float, float, float]] = []
    for box in corners:
        place = _place(60, 14, box, (200, 200), taken, centres)
        taken += [place] if place is not None else []
    assert not any(_meet(a, b) for a, b in combinations(taken, 2))
    for x1, y1, x2, y2 in taken:
        assert x1 >= 0 <= y1
        assert x2 <= 200 >= y2
        assert not any(x1 < x < x2 and y1 < y < y2 for x, y in centres)
