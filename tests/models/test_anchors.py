"""The anchor check: when it leaves them, when it replaces them, and that it is repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import models
from models.anchors import estimate, fit_anchors, recall


def pixels(model: models.Detector) -> np.ndarray:
    return (model.head.anchors * model.head.stride.view(-1, 1, 1)).numpy().reshape(-1, 2)


def strips(count: int, seed: int = 0) -> np.ndarray:
    """Boxes far wider than high: out of reach of the usual anchors."""
    width = np.random.default_rng(seed).uniform(60, 300, (count, 1))
    return np.concatenate((width, width / np.random.default_rng(seed + 1).uniform(20, 30, (count, 1))), 1)


def test_reachable_boxes_leave_the_anchors() -> None:
    model = models.build("yolov5n", 3)
    before = model.head.anchors.clone()
    line = fit_anchors(model, np.random.default_rng(0).uniform(10, 300, (500, 1)).repeat(2, 1), anchor_t=4.0, seed=0)
    assert torch.equal(model.head.anchors, before)
    assert "100.0% of 500 boxes reachable" in line


def test_unreachable_boxes_get_anchors_of_their_own() -> None:
    model = models.build("yolov5n", 3)
    sizes = strips(2000)
    assert recall(sizes, pixels(model), 4.0) < 0.5
    line = fit_anchors(model, sizes, anchor_t=4.0, seed=0)
    found = pixels(model)
    assert recall(sizes, found, 4.0) > 0.99
    assert (np.diff(found.prod(1)) >= 0).all()
    assert "estimated from the data set" in line


def test_recall_by_hand() -> None:
    """A factor of exactly `anchor_t` does not count."""
    sizes = np.array([[10, 10], [39, 10], [40, 10], [10, 2.6], [10, 2.5], [39, 39]])
    assert recall(sizes, np.array([[10.0, 10.0]]), 4.0) == pytest.approx(4 / 6)


def test_repeatable_and_without_global_random_state() -> None:
    state, before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first, second = (estimate(strips(300), 9, 4.0, seed=7) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (np.zeros((0, 2)), "no boxes"),
        (np.full((50, 2), 1.5), "no boxes"),
        (strips(4), "4 different sizes are too few to estimate 9 anchors"),
        (np.tile(strips(2), (40, 1)), "2 different sizes are too few"),
    ],
)
def test_too_little_to_go_by_is_said(sizes: np.ndarray, said: str) -> None:
    model = models.build("yolov5n", 3)
    before = model.head.anchors.clone()
    assert said in fit_anchors(model, sizes, anchor_t=4.0, seed=0)
    assert torch.equal(model.head.anchors, before)


def test_as_many_boxes_as_anchors_and_one_side_constant() -> None:
    sizes = np.stack((np.full(9, 200.0), np.arange(9) + 4.0), 1)
    assert recall(sizes, estimate(sizes, 9, 4.0, seed=0), 4.0) == 1


def test_boxes_are_sampled_when_there_are_many() -> None:
    sizes = strips(30_000)
    assert recall(sizes, estimate(sizes, 9, 4.0, seed=0), 4.0) > 0.98
