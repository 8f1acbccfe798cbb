"""The batched renderer: a batch is its pictures one by one, and agrees with OpenCV's and with the slow one."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from data.device import fused
from data.plan import Augment
from data.render import jitter, render
from data.render_batch import _jitter
from tests.data.drawn import STILL, Drawn, batched, collection, plan_of, slow_layers

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])
COLOURLESS = {"hsv_h": 0, "hsv_s": 0, "hsv_v": 0}
SETTINGS = {
    "default": Augment(),
    "no colour": Augment(**COLOURLESS),
    "flips": Augment(**COLOURLESS, flipud=0.5),
    "rotated": Augment(**COLOURLESS, degrees=45, shear=10),
    "perspective": Augment(**COLOURLESS, perspective=0.001, degrees=5),
    "alone": Augment(**COLOURLESS, mosaic=0, degrees=10),
    "mixup": Augment(**COLOURLESS, mixup=0.6, mosaic=0.5),
    "nine": Augment(**COLOURLESS, mosaic9=1, scale=0.5),
    "everything": Augment(
        degrees=20, shear=8, perspective=0.0005, flipud=0.3, mosaic=0.8, mosaic9=0.5, mixup=0.4, hsv_h=0.05
    ),
}
SHAPES = [(96, 96, 96), (64, 128, 128)]
exact_opencv = pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV before 5 rounds places to a 32nd of a pixel"
)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_batch_is_its_pictures_one_by_one(name, device):
    index, pictures = collection(9, 96)
    plans = [plan_of(SETTINGS[name], i, 9) for i in range(8)]
    images, labels = batched(plans, pictures, index.labels, 96, 128, 96, device)
    for what, image, rows in zip(plans, images, labels, strict=True):
        (alone,), (mine,) = batched([what], pictures, index.labels, 96, 128, 96, device)
        assert np.array_equal(image, alone)
        assert np.array_equal(rows, mine)


@exact_opencv
@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_renderers_agree(name, shape, device):
    """To one level where colours stay, as each rounds once. OpenCV's conversion from HSV cuts off where ours rounds,
    half a level in the mean, and a level of a channel moves hue and saturation by more where it is dark: to six."""
    index, pictures = collection(9, 96)
    plans = [plan_of(SETTINGS[name], i, 9) for i in range(12)]
    images, labels = batched(plans, pictures, index.labels, *shape, device)
    for what, image, rows in zip(plans, images, labels, strict=True):
        expected, targets = render(what, pictures, index.labels, *shape)
        off = np.abs(image.astype(int) - expected)
        coloured = SETTINGS[name].hsv_s > 0
        # A pixel whose centre lies on a seam to within rounding may go to either side.
        assert (off.max(0) > (6 if coloured else 1)).sum() <= 1
        assert off.mean() < (0.55 if coloured else 0.01)
        np.testing.assert_array_equal(rows, targets)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in ("default", "everything")])
def test_every_pixel_is_that_of_the_slow_renderer(name):
    index, pictures = collection(9, 96)
    plans = [plan_of(SETTINGS[name], i, 9) for i in range(12)]
    images, _ = batched(plans, pictures, index.labels, 96, 96, 96)
    for what, image in zip(plans, images, strict=True):
        first, second = slow_layers(what, pictures, 96, 96, 96)
        expected = first * what.ratio + second * (1 - what.ratio)
        assert (np.abs(image.transpose(1, 2, 0) - expected).max(-1) > 1.01).sum() <= 1


@exact_opencv
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_rough_pictures_differ_by_the_coordinates_rounding_alone(device):
    """Pixels of noise, up to 255 levels apart: 1/1000 of a pixel is a quarter of a level."""
    rng = np.random.default_rng(0)
    pictures = Drawn(rng.integers(0, 256, (9, 320, 240, 3), dtype=np.uint8))
    none = [np.zeros((0, 5), np.float32)] * 9
    plans = [plan_of(SETTINGS["rotated"], i, 9) for i in range(3)]
    for what, image in zip(plans, batched(plans, pictures, none, 320, 320, 320, device)[0], strict=True):
        off = np.abs(image.astype(int) - render(what, pictures, none, 320, 320, 320)[0])
        assert off.mean() < 0.02
        assert (off.max(0) > 2).sum() <= 1


def test_large_outputs_lose_no_precision():
    """A slope of 255 levels over 2 px at 1280: an error of a hundredth of a pixel would be over a level."""
    picture = np.zeros((1280, 1280, 3), np.uint8)
    picture[:, 641:] = 255
    picture[:, 640] = 127
    plans = [plan_of(replace(STILL, degrees=30, translate=0.2, perspective=0.0003), i, 1) for i in range(1)]
    none = [np.zeros((0, 5), np.float32)]
    (image,), _ = batched(plans, Drawn([picture]), none, 1280, 1280, 1280)
    first, _ = slow_layers(plans[0], Drawn([picture]), 1280, 1280, 1280)
    assert (np.abs(image[0] - first[..., 0]) > 1).sum() <= 1


@pytest.mark.parametrize("flip", [{}, {"fliplr": 1}, {"flipud": 1}])
def test_a_still_picture_is_copied(flip):
    picture = np.random.default_rng(0).integers(0, 256, (77, 96, 3), dtype=np.uint8)
    what = plan_of(replace(STILL, **flip), 0, 1)
    (image,), _ = batched([what], Drawn([picture]), [np.zeros((0, 5), np.float32)], 96, 96, 96)
    expected = render(what, Drawn([picture]), [np.zeros((0, 5), np.float32)], 96, 96, 96)[0]
    np.testing.assert_array_equal(image, expected)
    assert (image == 114).sum() >= 3 * 19 * 96


def test_tiles_leave_no_gap_between_them():
    """White squares fill what they span; grey inside would be a seam lost to rounding."""
    pictures = Drawn([np.full((64, 64, 3), 255, np.uint8)] * 4)
    for mosaic9 in (0, 1):
        augment = Augment(**COLOURLESS, degrees=90, scale=0.5, translate=0, perspective=0.001, mosaic9=mosaic9)
        plans = [plan_of(augment, i, 4) for i in range(30)]
        images, _ = batched(plans, pictures, [np.zeros((0, 5), np.float32)] * 4, 64, 64, 64)
        assert set(np.unique(images)) <= {114, 255}
        for image in images:
            for line in (*(image[0] == 255), *(image[0] == 255).T):
                at = np.flatnonzero(line)
                assert len(at) == 0 or at[-1] - at[0] + 1 == len(at)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (64, 1), (2, 64)])
def test_the_smallest_pictures(shape):
    pictures = Drawn([np.full((*shape, 3), 200, np.uint8)])
    plans = [plan_of(SETTINGS["perspective"], i, 1) for i in range(10)]
    images, _ = batched(plans, pictures, [np.zeros((0, 5), np.float32)], 64, 64, 64)
    assert set(np.unique(images)) <= {114, 200}


def test_every_colour_is_jittered_as_opencv_does_to_one_level():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    picture[:16] = picture[:16, :, :1]  # greys
    picture[16] = 0
    channels = tuple(torch.from_numpy(picture[None, ..., k]).float() for k in range(3))
    # Exact in float32, so that both see the same products; others differ where a product is half a level, and is not.
    for gains in ([1.015625, 1.5, 1.25], [0.984375, 0.375, 0.75], [1, 1, 1.125], [1.03125, 1, 1], [1, 1, 1]):
        ours = torch.stack(_jitter(channels, torch.tensor([gains])), -1)[0].numpy()
        assert np.abs(ours - jitter(picture, np.array(gains))[..., :3]).max() <= 1


@pytest.mark.slow
def test_it_compiles_whole(monkeypatch):
    """Without a break in the graph, which would wait for the device."""
    index, pictures = collection(9, 64)
    plans = [plan_of(SETTINGS["everything"], i, 9) for i in range(4)]
    eager, _ = batched(plans, pictures, index.labels, 64, 64, 64)
    monkeypatch.setattr("data.device.render_batch", fused())
    compiled, _ = batched(plans, pictures, index.labels, 64, 64, 64)
    assert np.abs(compiled.astype(int) - eager).mean() < 0.01
