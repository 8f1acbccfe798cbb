"""Boxes land where pixels land, and what is kept of them is what is said to be kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.geometry import layer_matrices, project, tile_matrices, transform_labels
from data.plan import LAYERS, TILES, Augment, Plan, plan, stack
from data.render import render
from tests.data.drawn import STILL, Drawn, batched, boxes, plan_of

SIZE = 160
TRANSFORMS = {
    "alone": {},
    "mosaic": {"mosaic": 1},
    "mosaic of nine": {"mosaic": 1, "mosaic9": 1},
    "rotate": {"degrees": 60},
    "shear": {"shear": 25},
    "scale": {"scale": 0.5},
    "translate": {"translate": 0.3},
    "perspective": {"perspective": 0.001},
    "fliplr": {"fliplr": 1},
    "flipud": {"flipud": 1},
    "everything": {
        **{"mosaic": 1, "degrees": 20, "shear": 10, "scale": 0.4, "translate": 0.2},
        **{"perspective": 0.001, "fliplr": 0.5, "flipud": 0.5, "mosaic9": 0.5},
    },
}


def blob(height: int, width: int, at: np.ndarray) -> np.ndarray:
    """A smooth bright spot centred on `at` (x, y in box coordinates), on the grey of the fill."""
    y, x = np.mgrid[:height, :width] + 0.5
    spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 2.5**2))
    return np.rint(114 + 141 * spot).astype(np.uint8)[..., None].repeat(3, -1)


def centroid(image: np.ndarray) -> np.ndarray | None:
    """Where the spot is in a rendered picture (x, y), or None where it is cut by the border or not there."""
    weight = image[0].astype(np.float64) - 114
    if weight.max() < 100 or max(weight[0].max(), weight[-1].max(), weight[:, 0].max(), weight[:, -1].max()) > 0:
        return None
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def one_by_one(plans: list[Plan], *rest) -> tuple[np.ndarray, list[np.ndarray]]:
    drawn = [render(what, *rest) for what in plans]
    return np.stack([image for image, _ in drawn]), [labels for _, labels in drawn]


@pytest.mark.parametrize("draw", [one_by_one, batched])
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize(("height", "width", "size"), [(SIZE, SIZE, SIZE), (96, 160, 128)], ids=["square", "rectangle"])
def test_boxes_land_where_pixels_land(name, height, width, size, draw):
    """Four pictures differ in which corner of one box is marked; drawn by one plan, the marks tell where it went."""
    augment = replace(STILL, **TRANSFORMS[name])
    rng = np.random.default_rng(0)
    plain, checked, enough = np.full((SIZE, 120, 3), 114, np.uint8), 0, 12 if draw is one_by_one else 5
    for i in range(100):
        h, w = (SIZE, 111) if i % 2 else (93, SIZE)
        low, side = rng.uniform(0.2, 0.4, 2), rng.uniform(0.2, 0.4, 2)
        label = np.array([[2, *(low + side / 2), *side]], dtype=np.float32)
        empty = np.zeros((0, 5), np.float32)
        what = plan(0, 0, i, 5, augment, first=0)
        what.sources[what.sources > -1] = 4  # the marked picture comes once
        plans = []
        for corner in range(4):
            plans.append(replace(what, sources=what.sources.copy()))
            plans[-1].sources[0, 0] = corner
        marks = low + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * side
        pictures = Drawn([*(blob(h, w, mark * (w, h)) for mark in marks), plain])
        images, moved = draw(plans, pictures, [*[label] * 4, empty], height, width, size)
        found = [centroid(image) for image in images]
        if any(spot is None for spot in found):
            continue
        checked += 1
        found = np.array(found)
        assert moved[0].shape == (1, 5)
        assert all(np.array_equal(moved[0], other) for other in moved)
        assert moved[0][0, 0] == 2
        centre, extent = moved[0][0, 1:3] * (width, height), moved[0][0, 3:] * (width, height)
        np.testing.assert_allclose(centre - extent / 2, found.min(0), atol=0.5)
        np.testing.assert_allclose(centre + extent / 2, found.max(0), atol=0.5)
        # With nothing curved between them, the spots say it much more exactly than to half a pixel.
        if not augment.perspective:
            np.testing.assert_allclose(centre, (found.min(0) + found.max(0)) / 2, atol=0.05)
        if checked == enough:
            break
    assert checked >= 5


def test_matrices_of_a_stack_are_those_of_its_plans():
    augment = Augment(degrees=30, shear=9, perspective=0.001, flipud=0.5, mosaic=0.6, mixup=0.5)
    plans = [plan_of(augment, i, 9) for i in range(12)]
    shapes = np.random.default_rng(0).integers(40, 161, (12, LAYERS, TILES, 2))
    together = tile_matrices(stack(plans), shapes, 128, 160, 160)
    apart = [tile_matrices(p, s, 128, 160, 160) for p, s in zip(plans, shapes, strict=True)]
    np.testing.assert_allclose(together, apart, rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([32, 320, 1280]))
def test_no_perspective_folds_a_tile_over(seed, size):
    what = plan(seed, 0, 0, 9, Augment(perspective=0.001, scale=0.9, degrees=180, shear=30), first=0)
    shapes = np.full((LAYERS, TILES, 2), size)
    matrices = tile_matrices(what, shapes, size, size, size)
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]])
    depth = (corners @ np.swapaxes(matrices, -1, -2))[..., 2]
    assert depth.min() > 0.2


def test_the_affine_by_hand():
    """Rotated by 30 degrees anticlockwise, twice as large, sheared by 45 degrees, moved to 0.6, 0.25 of 200 by 100."""
    what = plan_of(STILL, 0, 1)
    what = replace(
        what,
        angle=np.radians([30.0, 0.0]),
        scale=np.array([2.0, 1.5]),
        shear=np.radians([[0.0, 0.0], [45.0, 0.0]]),
        shift=np.array([[0.6, 0.25], [0.5, 0.5]]),
    )
    first, second = layer_matrices(what, 100, 200)
    np.testing.assert_allclose(project(first, np.array([[0, 0], [10.0, 0]])), [[120, 25], [120 + 10 * 3**0.5, 15]])
    np.testing.assert_allclose(
        project(second, np.array([[0, 0], [10.0, 0], [0, 10]])), [[100, 50], [115, 50], [115, 65]]
    )
    flipped, _ = layer_matrices(replace(what, flip=np.array([True, False])), 100, 200)
    np.testing.assert_allclose(project(flipped, np.array([[10.0, 0]])), [[80 - 10 * 3**0.5, 15]])


def test_tiles_by_hand():
    """A 50 by 100 source doubled to 200: alone in the middle, or with a corner on the mosaic's centre."""
    what = plan_of(replace(STILL, mosaic=1), 0, 1)
    what.quadrants[0] = 0, 1, 2, 3
    what.centre[0] = 0.75, 1.25  # of a canvas of 400 by 400 whose middle goes to the output's: at 50, 150
    matrices = tile_matrices(what, np.tile([50, 100], (LAYERS, TILES, 1)), 200, 200, 200)[0]
    ends = project(matrices, np.tile([[0.0, 0.0], [100.0, 50.0]], (TILES, 1, 1))).reshape(TILES, 4)
    expected = [[-150, 50, 50, 150], [50, 50, 250, 150], [-150, 150, 50, 250], [50, 150, 250, 250]]
    np.testing.assert_allclose(ends, expected, atol=1e-9)
    alone = tile_matrices(plan_of(STILL, 0, 1), np.tile([50, 100], (LAYERS, TILES, 1)), 200, 200, 200)[0, 0]
    np.testing.assert_allclose(project(alone, np.array([[0.0, 0.0], [100.0, 50.0]])), [[0, 50], [200, 150]])


def test_a_mosaic_meets_in_its_centre():
    what = plan_of(replace(STILL, mosaic=1, scale=0.3, degrees=40), 0, 9)
    shapes = np.random.default_rng(0).integers(20, 161, (LAYERS, TILES, 2))
    matrices = tile_matrices(what, shapes, 160, 160, 160)[0]
    inner = [(0, 0), (1, 0), (0, 1), (1, 1)]  # quadrant 0 touches the centre with its bottom right corner, and so on
    spots = []
    for tile, quadrant in enumerate(what.quadrants[0]):
        left, above = inner[quadrant]
        h, w = shapes[0, tile]
        spots.append(project(matrices[tile], np.array([[0 if left else w, 0 if above else h]]))[0])
    np.testing.assert_allclose(spots, np.broadcast_to(spots[0], (4, 2)), atol=1e-9)


def test_a_mosaic_of_nine_by_hand():
    """A middle cell as wide as the widest of its column; pictures touch its lines and are centred between them."""
    what = plan_of(replace(STILL, mosaic=1, mosaic9=1), 0, 9)
    what.centre[0] = 1.0
    shapes = np.ones((LAYERS, 9, 2))
    cells = {8: (60, 100), 4: (50, 100), 5: (100, 30), 6: (100, 100), 7: (20, 100), 9: (100, 80), 11: (100, 70)}
    for cell, shape in {**cells, 10: (100, 40), 12: (100, 10)}.items():
        shapes[0, what.quadrants[0] == cell] = shape
    matrices = tile_matrices(what, shapes, 100, 100, 100)[0]
    found = {}
    for cell, matrix, (h, w) in zip(what.quadrants[0], matrices, shapes[0], strict=True):
        found[int(cell)] = project(matrix, np.array([[0, 0], [w, h]])).ravel().tolist()
    # The middle column is 100 wide (x from 0 to 100), the middle row 100 high (the picture on its right, y from 0).
    assert what.quadrants[0, 0] == 8
    np.testing.assert_allclose(found[8], (0, 20, 100, 80))
    np.testing.assert_allclose(found[4], (-100, -50, 0, 0))
    np.testing.assert_allclose(found[5], (35, -100, 65, 0))
    np.testing.assert_allclose(found[7], (-100, 40, 0, 60))
    np.testing.assert_allclose(found[9], (100, 0, 180, 100))
    np.testing.assert_allclose(found[11], (15, 100, 85, 200))
    np.testing.assert_allclose(found[12], (100, 100, 110, 200))


def through(matrix: np.ndarray, *rows: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Labels in pixels (x1, y1, x2, y2) of a 100 px picture through one matrix into a 100 px output."""
    corner = np.array(rows) / 100
    labels = np.concatenate(
        (np.zeros((len(rows), 1)), (corner[:, :2] + corner[:, 2:]) / 2, corner[:, 2:] - corner[:, :2]), 1
    )
    return transform_labels(labels, np.tile(matrix, (len(rows), 1, 1)), np.full((len(rows), 2), 100), 100, 100)


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def test_boxes_are_clipped_to_the_output():
    moved, keep = through(shift(-20, 30), (10, 50, 40, 90))
    np.testing.assert_allclose(moved[0, 1:], (0.10, 0.90, 0.20, 0.20), atol=1e-6)
    assert keep.all()


def test_what_is_kept():
    still = np.eye(3)
    rows = [(10, 10, 12.1, 50), (10, 10, 11.9, 50), (10, 10, 50, 12.1), (10, 10, 50, 11.9)]
    assert through(still, *rows)[1].tolist() == [True, False, True, False]
    # A 40 px box of which 9 and 11 % stay in view.
    assert through(shift(-60, 0), (23.6, 10, 63.6, 50), (24.4, 10, 64.4, 50))[1].tolist() == [False, True]
    assert through(shift(500, 0), (10, 10, 50, 50))[1].tolist() == [False]


def test_boxes_as_thin_as_threads_are_dropped():
    labels = np.array([[0, 0.5, 0.5, 0.9, 3 / 400], [0, 0.5, 0.5, 0.7, 3 / 400]])
    _, keep = transform_labels(labels, np.tile(np.eye(3), (2, 1, 1)), np.full((2, 2), 400), 400, 400)
    assert keep.tolist() == [False, True]  # 120 and 93 times as long as wide


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_kept_labels_lie_in_the_output(seed):
    rng = np.random.default_rng(seed)
    what = plan_of(Augment(degrees=180, shear=30, perspective=0.001, mixup=0.5, mosaic=0.5), seed, 5)
    shapes = rng.integers(20, 161, (LAYERS, TILES, 2))
    matrices = tile_matrices(what, shapes, 96, 160, 160).reshape(-1, 3, 3)
    labels = np.concatenate([boxes(3, rng) for _ in matrices])
    moved, keep = transform_labels(labels, matrices.repeat(3, 0), shapes.reshape(-1, 2).repeat(3, 0), 96, 160)
    low, high = moved[keep, 1:3] - moved[keep, 3:] / 2, moved[keep, 1:3] + moved[keep, 3:] / 2
    assert moved.dtype == np.float32
    assert (low > -1e-6).all()
    assert (high < 1 + 1e-6).all()
    assert (moved[keep, 3:] * (160, 96) > 2 - 1e-4).all()


def test_no_labels():
    moved, keep = transform_labels(np.zeros((0, 5)), np.zeros((0, 3, 3)), np.zeros((0, 2)), 64, 64)
    assert moved.shape == (0, 5)
    assert keep.shape == (0,)
