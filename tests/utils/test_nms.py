from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden.fill import uniform
from utils import nms
from utils.boxes import box_iou
from utils.nms import non_max_suppression

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "nms_case0.npz")
SETTINGS = {
    "detect": {"conf": 0.25, "iou": 0.45},
    "val": {"conf": 0.001, "iou": 0.6, "multi_label": True},
}


def golden_input() -> torch.Tensor:
    centre = uniform("nms0/xy", (2, 300, 2), 0, 320)
    size = np.exp(uniform("nms0/wh", (2, 300, 2), np.log(8), np.log(120)))
    scores = uniform("nms0/scores", (2, 300, 4)) ** 2
    return torch.from_numpy(np.concatenate((centre, size, scores), -1).astype(np.float32))


def random_input(seed, anchors=400, classes=3, low=0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(2, anchors, 4, generator=generator) * 80 + 10
    scores = torch.rand(2, anchors, 1 + classes, generator=generator) * (1 - low) + low
    return torch.cat((boxes, scores), -1)


def together(decoded, conf=0.25, iou=0.45, *, multi_label=False, agnostic=False, max_det=300, classes=None):
    """What a GPU does."""
    wanted = None if classes is None else torch.tensor(classes)
    return nms._together(decoded, conf, iou, multi_label, agnostic, max_det, wanted)


@pytest.mark.parametrize("suppress", [non_max_suppression, together])
@pytest.mark.parametrize("name", SETTINGS)
def test_golden_rows_are_identical(name, suppress):
    for i, rows in enumerate(suppress(golden_input(), **SETTINGS[name])):
        assert np.array_equal(rows.numpy(), GOLDEN[f"{name}_image{i}"])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.3, 0.45, 0.5, 0.6]),
    st.sampled_from([0.0, 0.05, 0.5, 0.99]),
    st.sampled_from([1, 7, 25, 300]),
    st.fixed_dictionaries({}, optional={"multi_label": st.just(True), "agnostic": st.just(True)}),
    st.sampled_from([None, [1], [0, 2]]),
    st.sampled_from([{}, {"FIRST": 7}, {"MAX_CANDIDATES": 10}, {"PAIRS_AT_ONCE": 1}, {"SCORES_AT_ONCE": 1300}]),
)
def test_all_pictures_together_are_one_by_one(seed, iou, conf, max_det, options, classes, bounds):
    """To the bit: sides of whole quarters stay exact where torchvision moves each class's boxes apart."""
    decoded = random_input(seed, anchors=80)
    decoded[..., :4] = (decoded[..., :4] * 4).round() / 4
    decoded = torch.cat((decoded, torch.zeros_like(decoded[:1]), decoded[:1].flip(1)))
    decoded[0, 5, 4] = decoded[1, 3, 6] = float("nan")
    decoded[1, :20, 4:] = decoded[1, 20:40, 4:]  # equal scores
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bounds.items():
            patch.setattr(nms, name, value)
        expected = non_max_suppression(decoded, conf, iou, max_det=max_det, classes=classes, **options)
        found = together(decoded, conf, iou, max_det=max_det, classes=classes, **options)
    assert len(found) == 4
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_keeps_what_a_cpu_keeps():
    decoded = random_input(8, anchors=4000)
    decoded[..., :4] = (decoded[..., :4] * 4).round() / 4
    there = non_max_suppression(decoded.cuda(), 0.2, 0.5, multi_label=True)
    for a, b in zip(there, non_max_suppression(decoded, 0.2, 0.5, multi_label=True), strict=True):
        assert torch.equal(a.cpu(), b)


def test_the_input_is_left_as_it_was():
    decoded = golden_input()
    before = decoded.clone()
    non_max_suppression(decoded, **SETTINGS["val"])
    assert torch.equal(decoded, before)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.floats(0.0, 0.9), st.booleans(), st.booleans())
def test_what_is_kept(seed, iou, conf, multi_label, agnostic):
    decoded = random_input(seed, anchors=60)
    for rows in non_max_suppression(decoded, conf, iou, multi_label=multi_label, agnostic=agnostic, max_det=20):
        assert rows.shape[1] == 6
        assert len(rows) <= 20
        assert (rows[:, 4] > conf).all()
        assert (rows[1:, 4] <= rows[:-1, 4]).all()
        overlap = box_iou(rows[:, :4], rows[:, :4]).fill_diagonal_(0)
        if not agnostic:
            overlap = overlap * (rows[:, None, 5] == rows[None, :, 5])
        assert (overlap <= iou + 1e-4).all()


@pytest.mark.parametrize("options", [{}, {"multi_label": True}, {"multi_label": True, "agnostic": True}])
def test_the_best_rows_first_give_what_all_at_once_give(options, monkeypatch):
    decoded = random_input(1)
    whole = non_max_suppression(decoded, 0.01, 0.5, max_det=25, **options)
    monkeypatch.setattr(nms, "FIRST", 7)
    portions = non_max_suppression(decoded, 0.01, 0.5, max_det=25, **options)
    assert all(len(a) == 25 and torch.equal(a, b) for a, b in zip(whole, portions, strict=True))


def test_one_label_a_box_or_several():
    box = torch.tensor([[[50.0, 50, 20, 20, 1.0, 0.6, 0.9, 0.1]]])
    (best,) = non_max_suppression(box, 0.25)
    assert best.tolist() == [pytest.approx([40, 40, 60, 60, 0.9, 1])]
    (several,) = non_max_suppression(box, 0.25, multi_label=True)
    assert several[:, 4:].tolist() == [pytest.approx([0.9, 1]), pytest.approx([0.6, 0])]
    (agnostic,) = non_max_suppression(box, 0.25, multi_label=True, agnostic=True)
    assert agnostic[:, 5].tolist() == [1]


def test_the_score_is_objectness_times_class():
    box = torch.tensor([[[50.0, 50, 20, 20, 0.5, 0.4, 0.0]]])
    assert len(non_max_suppression(box, 0.201)[0]) == 0
    assert non_max_suppression(box, 0.199)[0][0, 4] == pytest.approx(0.2)


def test_only_the_wanted_classes():
    decoded = random_input(2)
    for multi_label in (False, True):
        everything = non_max_suppression(decoded, 0.1, multi_label=multi_label)
        some = non_max_suppression(decoded, 0.1, multi_label=multi_label, classes=[0, 2])
        for full, rows in zip(everything, some, strict=True):
            assert torch.equal(rows, full[full[:, 5] != 1])
            assert len(rows)


def test_pictures_without_a_candidate_and_values_that_are_not_numbers():
    decoded = random_input(3)
    decoded[0, :, 4] = 0
    decoded[1, 5:, 4] = float("nan")
    decoded[1, 0, 5:] = float("nan")
    for multi_label in (False, True):
        none, rows = non_max_suppression(decoded, 0.001, multi_label=multi_label)
        assert none.shape == (0, 6)
        assert torch.isfinite(rows).all()
        assert 0 < len(rows) <= 12


def test_half_precision_comes_out_as_float32():
    rows = non_max_suppression(random_input(4).half(), 0.3)[0]
    assert rows.dtype == torch.float32


def test_candidates_are_capped_at_the_best(monkeypatch):
    decoded = random_input(5, anchors=50)
    full = non_max_suppression(decoded, 0.0, 1.0, multi_label=True)
    monkeypatch.setattr(nms, "MAX_CANDIDATES", 10)
    for rows, best in zip(full, non_max_suppression(decoded, 0.0, 1.0, multi_label=True), strict=True):
        assert torch.equal(best, rows[:10])
