"""The fast renderer against a slow one in float64, to the pixel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.plan import Augment
from data.render import inside, jitter, planes, render
from tests.data.drawn import STILL, Drawn, collection, plan_of, slow_layers

ALL = Augment(degrees=20, shear=8, perspective=0.0005, flipud=0.3, mosaic=0.7, mixup=0.4)
COLOURLESS = {"hsv_h": 0, "hsv_s": 0, "hsv_v": 0}
SETTINGS = {
    "default": Augment(**COLOURLESS),
    "flips": Augment(**COLOURLESS, flipud=0.5),
    "rotated": Augment(**COLOURLESS, degrees=45, shear=10),
    "perspective": Augment(**COLOURLESS, perspective=0.001, degrees=5),
    "alone": Augment(**COLOURLESS, mosaic=0, degrees=10),
    "mixup": Augment(**COLOURLESS, mixup=1, mosaic=0.5),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(("height", "width", "size"), [(96, 96, 96), (64, 128, 128), (160, 160, 160)])
def test_every_pixel_is_that_of_the_slow_renderer(name, height, width, size):
    index, pictures = collection(9, 96)
    for i in range(12):
        what = plan_of(SETTINGS[name], i, 9)
        image, _ = render(what, pictures, index.labels, height, width, size)
        layers = slow_layers(what, pictures, height, width, size)
        expected = layers[0] * what.ratio + layers[1] * (1 - what.ratio)
        wrong = np.abs(image.transpose(1, 2, 0) - expected).max(-1) > 2
        # A pixel whose centre lies on a seam to within rounding may go to either side.
        assert wrong.sum() <= (0 if name in ("default", "flips", "alone") else 1), (i, np.argwhere(wrong)[:5])


def test_a_still_picture_is_copied():
    picture = np.random.default_rng(0).integers(0, 256, (77, 96, 3), dtype=np.uint8)
    label = np.array([[1, 0.5, 0.5, 0.25, 0.5]], dtype=np.float32)
    image, labels = render(plan_of(STILL, 0, 1), Drawn([picture]), [label], 96, 96, 96)
    np.testing.assert_array_equal(image[:, 9:86].transpose(1, 2, 0), picture)
    assert (image[:, :9] == 114).all()
    assert (image[:, 86:] == 114).all()
    np.testing.assert_allclose(labels, [[1, 0.5, (9 + 77 / 2) / 96, 0.25, 77 / 2 / 96]], rtol=1e-6)


@pytest.mark.parametrize(
    ("flip", "axes"), [({"fliplr": 1}, (2,)), ({"flipud": 1}, (1,)), ({"fliplr": 1, "flipud": 1}, (1, 2))]
)
def test_a_flip_is_the_picture_reversed(flip, axes):
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    image, _ = render(plan_of(replace(STILL, **flip), 0, 1), Drawn([picture]), [np.zeros((0, 5))], 96, 96, 96)
    np.testing.assert_array_equal(image, np.flip(picture.transpose(2, 0, 1), axes))


def test_mosaic_tiles_leave_no_gap_between_them():
    """Square tiles with no grey in them fill the canvas that four of them span, whatever the transform's angle."""
    pictures = Drawn([np.full((96, 96, 3), 255, np.uint8)] * 4)
    labels = [np.zeros((0, 5), np.float32)] * 4
    for i in range(60):
        augment = Augment(**COLOURLESS, degrees=90 * (i % 2), scale=0.5, translate=0, perspective=0.001 * (i % 3 == 0))
        image, _ = render(plan_of(augment, i, 4), pictures, labels, 96, 96, 96)
        filled = image[0] == 255
        assert set(np.unique(image)) <= {114, 255}
        for line in (*filled, *filled.T):  # convex: grey only at a line's ends
            at = np.flatnonzero(line)
            assert len(at) == 0 or at[-1] - at[0] + 1 == len(at)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(8)), st.integers(0, 1000))
def test_bytes_do_not_depend_on_turn_or_thread(turn, seed):
    index, pictures = collection(8, 48)
    expected = [render(plan_of(ALL, i, 8, seed), pictures, index.labels, 48, 48, 48) for i in range(8)]
    with ThreadPoolExecutor(3) as pool:
        jobs = {i: pool.submit(render, plan_of(ALL, i, 8, seed), pictures, index.labels, 48, 48, 48) for i in turn}
        for i, (image, labels) in enumerate(expected):
            assert np.array_equal(jobs[i].result()[0], image)
            assert np.array_equal(jobs[i].result()[1], labels)


def test_rendering_leaves_the_stored_pictures_alone():
    index, pictures = collection(5, 64)
    before = [picture.copy() for picture in pictures]
    for picture in pictures:
        picture.flags.writeable = False
    for i in range(5):
        render(plan_of(ALL, i, 5), pictures, index.labels, 64, 64, 64)
    assert all(np.array_equal(a, b) for a, b in zip(before, pictures, strict=True))


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (64, 1), (2, 64)])
def test_the_smallest_pictures(shape):
    pictures = Drawn([np.full((*shape, 3), 200, np.uint8)])
    for i in range(20):
        image, labels = render(plan_of(ALL, i, 1), pictures, [np.zeros((0, 5), np.float32)], 64, 64, 64)
        assert image.shape == (3, 64, 64)
        assert labels.shape == (0, 5)


def test_labels_of_all_tiles_and_layers_arrive():
    pictures = Drawn([np.zeros((64, 64, 3), np.uint8)] * 8)
    labels = [np.array([[k, 0.5, 0.5, 0.9, 0.9]], np.float32) for k in range(8)]
    what = plan_of(replace(STILL, mosaic=1, mixup=1), 0, 8)
    what.sources[:] = np.arange(8).reshape(2, 4)
    what.centre[:] = 1.0  # a corner of each tile is in view: a quarter of it
    _, moved = render(what, pictures, labels, 64, 64, 64)
    assert moved[:, 0].tolist() == list(range(8))


def test_hue_wraps_and_the_others_saturate():
    colours = np.array([[[250, 10, 20], [20, 240, 30], [200, 190, 180], [114, 114, 114]]], np.uint8)
    hsv = cv2.cvtColor(colours, cv2.COLOR_RGB2HSV).astype(float)
    for gains in ([1.5, 1, 1], [1, 1.7, 1], [1, 0.3, 1], [1, 1, 1.4], [1, 1, 0.6]):
        turned = np.rint(hsv * gains)
        turned[..., 0] %= 180
        expected = cv2.cvtColor(turned.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)
        np.testing.assert_array_equal(jitter(colours, np.array(gains))[..., :3], expected)
    np.testing.assert_array_equal(jitter(colours, np.ones(3)), colours)
    assert (jitter(colours, np.array([1.2, 1.7, 0.5]))[0, 3] == 57).all()  # grey has no hue or saturation to change


def test_colour_gains_of_rendered_pictures_are_those_of_the_plan():
    """A flat picture's colour, read back from pixels, moves by the gains, up to roundings to whole levels on the way.

    One level of a channel is 255 / 90 levels of saturation where the brightest channel has 90, the least here.
    """
    flat = cv2.cvtColor(np.full((64, 64, 3), (120, 200, 150), np.uint8), cv2.COLOR_HSV2RGB)
    for i in range(30):
        what = plan_of(replace(STILL, hsv_h=0.05, hsv_s=0.2, hsv_v=0.4), i, 1)
        image, _ = render(what, Drawn([flat]), [np.zeros((0, 5), np.float32)], 64, 64, 64)
        seen = cv2.cvtColor(np.ascontiguousarray(image[:, :1, :1].transpose(1, 2, 0)), cv2.COLOR_RGB2HSV)[0, 0]
        off = np.abs(seen - (np.array([120, 200, 150]) * what.hsv).clip(0, 255))
        assert (off <= (2, 4, 1)).all()


def test_mixup_blends_by_its_ratio():
    pictures = Drawn([np.full((64, 64, 3), 250, np.uint8), np.full((64, 64, 3), 50, np.uint8)])
    what = plan_of(replace(STILL, mixup=1), 0, 2)
    what.sources[:, 0] = 0, 1
    image, _ = render(what, pictures, [np.zeros((0, 5), np.float32)] * 2, 64, 64, 64)
    assert image.min() == image.max()
    assert abs(int(image.max()) - (250 * what.ratio + 50 * (1 - what.ratio))) <= 0.5 + 1e-9


@settings(deadline=None)
@given(st.floats(0, 2 * np.pi), st.booleans(), st.floats(-10, 30), st.floats(-10, 30), st.floats(0.3, 40))
def test_inside_is_the_centres_within(angle, mirrored, x, y, side):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flip = np.array([-1 if mirrored else 1, 1])
    quad = np.array([[0, 0], [side, 0], [side, side * 0.7], [0, side * 0.7]]) @ turn.T * flip + np.array([x, y])
    mask = inside(quad, 2, 3, 22, 19)
    v, u = np.mgrid[3:19, 2:22] + 0.5
    local = np.stack((u - x, v - y), -1) * flip @ turn
    depth = np.minimum(local, (side, side * 0.7) - local).min(-1)
    assert (mask[depth > 1e-4] == 255).all()
    assert (mask[depth < -1e-4] == 0).all()


def test_planes_draw_into_a_window():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    out = np.zeros((3, 12, 13), np.uint8)
    planes(picture, out[:, 2:7, 3:10])
    np.testing.assert_array_equal(out[:, 2:7, 3:10], picture.transpose(2, 0, 1))
    assert out.sum() == picture.sum()
