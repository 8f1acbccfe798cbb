"""Letterboxed pictures: where they lie, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.letterbox import Letterbox, batch_shape, letterbox, letterbox_labels, undo
from tests.data.drawn import boxes
from utils.boxes import cxcywh_to_xyxy


def test_the_picture_is_centred_on_grey():
    picture = np.random.default_rng(0).integers(0, 256, (21, 40, 3), dtype=np.uint8)
    out = np.zeros((3, 64, 64), np.uint8)
    box = letterbox(picture, (42, 80), out)
    assert box == Letterbox((42, 80), (0.5, 0.5), (12, 21))
    np.testing.assert_array_equal(out[:, 21:42, 12:52], picture.transpose(2, 0, 1))
    border = np.ones((64, 64), bool)
    border[21:42, 12:52] = False
    assert (out[:, border] == 114).all()


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 10**6))
def test_undo_leads_back_to_the_originals_pixels(height, width, seed):
    size = 64
    gain = size / max(height, width)
    shape = max(1, round(height * gain)), max(1, round(width * gain))
    out = np.empty((3, 96, 96), np.uint8)
    box = letterbox(np.zeros((*shape, 3), np.uint8), (height, width), out)
    labels = boxes(5, np.random.default_rng(seed))
    moved = torch.from_numpy(letterbox_labels(labels, shape, box, 96, 96))
    back = undo([cxcywh_to_xyxy(moved[:, 1:] * 96)], [box])[0]
    original = cxcywh_to_xyxy(torch.from_numpy(labels[:, 1:])) * torch.tensor([width, height, width, height])
    torch.testing.assert_close(back, original, rtol=0, atol=1e-5 * max(height, width) / min(1.0, gain))
    assert (moved[:, 0].numpy() == labels[:, 0]).all()


def test_undo_clips_to_the_original():
    box = Letterbox((100, 200), (0.5, 0.5), (4, 10))
    rows = torch.tensor([[0.0, 0.0, 500.0, 500.0, 0.5], [14.0, 20.0, 24.0, 30.0, 0.25]])
    none, found = undo([rows[:0], rows], [box, box])
    assert found.tolist() == [[0, 0, 200, 100, 0.5], [20, 20, 40, 40, 0.25]]
    assert none.shape == (0, 5)


@pytest.mark.parametrize(
    ("shapes", "pad", "expected"),
    [
        ([(240, 320)], 0.5, (256, 352)),
        ([(241, 320), (100, 320)], 0.5, (288, 352)),
        ([(320, 160), (160, 320)], 0.0, (320, 320)),
        ([(1, 320)], 0.0, (32, 320)),
    ],
)
def test_a_batch_has_the_shape_that_holds_it(shapes, pad, expected):
    assert batch_shape(np.array(shapes), 32, pad) == expected


def test_a_marker_keeps_its_box():
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[20:31, 7:19] = 255
    label = np.array([[0, 13 / 80, 25.5 / 60, 12 / 80, 11 / 60]], np.float32)
    out = np.empty((3, 96, 128), np.uint8)
    box = letterbox(picture, (60, 80), out)
    moved = cxcywh_to_xyxy(torch.from_numpy(letterbox_labels(label, (60, 80), box, 96, 128))[:, 1:])[0]
    y, x = np.nonzero(out[0] == 255)
    np.testing.assert_allclose(moved * torch.tensor([128, 96, 128, 96]), [x.min(), y.min(), x.max() + 1, y.max() + 1])
