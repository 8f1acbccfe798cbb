import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as masks

from data.converters.run_lengths import box_of


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(0, 1)), st.booleans())
def test_boxes_are_those_of_pycocotools(drawn, large):
    drawn = np.kron(drawn, np.ones((9, 7), np.uint8)) if large else drawn
    coded = masks.encode(np.asfortranarray(drawn))
    x, y, width, height = masks.toBbox(coded)
    wanted = (x, y, x + width, y + height) if drawn.any() else None
    size = [int(side) for side in drawn.shape]
    assert box_of({"size": size, "counts": coded["counts"].decode()}) == wanted
    changes = np.flatnonzero(np.diff(np.concatenate(([0], drawn.flatten("F"), [2])))).tolist()
    runs = np.diff([0, *changes]).tolist()
    assert box_of({"size": size, "counts": runs}) == wanted


@given(st.text(max_size=12))
def test_any_text_is_a_mask_or_none(text):
    box = box_of({"size": [5, 7], "counts": text})
    assert box is None or (0 <= box[0] < box[2] <= 7 and 0 <= box[1] < box[3] <= 5)


@pytest.mark.parametrize("mask", [{}, {"size": [4, 4], "counts": [3, 2]}, {"size": [4, 4], "counts": [-4, 20]},
                                  {"size": [1e9, 1e9], "counts": [1, 2]}, {"size": 4, "counts": [16]}])  # fmt: skip
def test_what_is_no_mask(mask):
    assert box_of(mask) is None
