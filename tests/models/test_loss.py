"""Properties of assignment and loss that the golden cases do not show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import models
from models.assignment import assign
from models.loss import DetectionLoss, LossGains

CLASSES = 3


def random_heads(seed: int = 0, batch: int = 2, classes: int = CLASSES, dtype=torch.float32) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = [(batch, 3, 64 // s, 96 // s, 5 + classes) for s in (8, 16, 32)]
    return [torch.randn(shape, generator=g, dtype=dtype).requires_grad_() for shape in shapes]


def random_targets(seed: int, count: int, batch: int = 2, dtype=torch.float32) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    image = torch.randint(batch, (count, 1), generator=g)
    kind = torch.randint(CLASSES, (count, 1), generator=g)
    boxes = torch.rand(count, 4, generator=g, dtype=dtype)
    boxes[:, 2:] = boxes[:, 2:] * 0.8 + 0.02
    return torch.cat((image, kind, boxes), 1)


@pytest.fixture(scope="module")
def model() -> models.Detector:
    return models.build("yolov5n", CLASSES)


def candidates(targets: list[list[float]], anchors: list, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The matching rule told once more, one candidate after the other: (image, anchor, row, column, target)."""
    _, _, height, width = shape
    for step, (dx, dy) in enumerate(((0, 0), (-0.5, 0), (0, -0.5), (0.5, 0), (0, 0.5))):
        for a, (aw, ah) in enumerate(anchors):
            for n, (image, _, cx, cy, w, h) in enumerate(targets):
                x, y, w, h = cx * width, cy * height, w * width, h * height
                fits = max(w / aw, aw / w, h / ah, ah / h) < 4
                near = (
                    True,
                    x % 1 < 0.5 and x > 1,
                    y % 1 < 0.5 and y > 1,
                    (width - x) % 1 < 0.5 and width - x > 1,
                    (height - y) % 1 < 0.5 and height - y > 1,
                )[step]
                if fits and near:
                    yield int(image), a, min(int(y + dy), height - 1), min(int(x + dx), width - 1), n


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 40), st.sampled_from([(8, 12), (4, 6), (2, 3), (1, 1)]))
def test_assignment_equals_the_rule_told_with_loops(seed: int, count: int, cells: tuple[int, int]) -> None:
    anchors = torch.tensor([[1.0, 1.5], [2.0, 1.2], [3.0, 3.0]], dtype=torch.float64)
    targets = random_targets(seed, count, dtype=torch.float64)
    if count:
        targets[0, 2:4] = 1.0  # the far corner, where the cell is clamped
    shape = (2, 3, *cells)
    expected = list(candidates(targets.tolist(), anchors.tolist(), shape))
    found = assign(targets, anchors, shape, 4.0)
    places = torch.stack(torch.unravel_index(found.cell[found.valid], shape), 1)
    number = (torch.arange(len(found.valid)) % max(count, 1))[found.valid]
    assert [(*place, n) for place, n in zip(places.tolist(), number.tolist(), strict=True)] == expected
    winners = {place[:4]: place[4] for place in expected}  # a later one overwrites an earlier one
    grid = found.winner.view(shape)
    assert int((grid >= 0).sum()) == len(winners)
    assert all(int(grid[place]) % count == n for place, n in winners.items())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 20), st.integers(1, 30))
def test_padding_rows_change_nothing(model: models.Detector, seed: int, count: int, padding: int) -> None:
    targets = random_targets(seed, count)
    rows = torch.zeros(padding, 6)
    rows[:, 0] = -1
    rows[::2, 1:] = 0.5
    results = []
    for each in (targets, torch.cat((targets, rows))):
        heads = random_heads(seed)
        total, terms = DetectionLoss(model)(heads, each)
        total.backward()
        results.append((total.detach(), terms, *(head.grad for head in heads)))
    for plain, padded in zip(*results, strict=True):
        torch.testing.assert_close(padded, plain, rtol=1e-5, atol=1e-7)


def test_gradient_is_that_of_the_total(model: models.Detector) -> None:
    heads = [head.detach() for head in random_heads(1, batch=1, dtype=torch.float64)]
    targets = random_targets(5, 12, batch=1, dtype=torch.float64)
    gains = LossGains(label_smoothing=0.1, cls_pw=1.3)
    criterion = DetectionLoss(models.build("yolov5n", CLASSES).double(), gains)

    def without_objectness(logits: Tensor) -> Tensor:  # its label is the overlap, detached: no true gradient
        fixed = torch.cat((logits[..., :4], heads[2][..., 4:5], logits[..., 4:]), -1)
        return criterion([heads[0], heads[1], fixed], targets)[0]

    logits = torch.cat((heads[2][..., :4], heads[2][..., 5:]), -1).requires_grad_()
    target = without_objectness(logits)
    (gradient,) = torch.autograd.grad(target, logits)
    step = 1e-6
    for index in range(4, logits.shape[-1]):  # class logits: nothing detached stands between
        moved = logits.detach().clone()
        moved[..., index] += step
        slope = (without_objectness(moved) - target) / step
        assert slope.item() == pytest.approx(gradient[..., index].sum().item(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("count", [0, 7])
def test_no_shape_depends_on_the_data(count: int) -> None:
    """Fake tensors have no data, so whatever would wait for the device to learn a size or a value raises."""
    with FakeTensorMode():
        criterion = DetectionLoss(models.build("yolov5n", CLASSES), LossGains(fl_gamma=1.5, obj_pw=2.0))
        heads = [torch.empty(2, 3, 64 // s, 64 // s, 5 + CLASSES, requires_grad=True) for s in (8, 16, 32)]
        total, terms = criterion(heads, torch.empty(count, 6))
        total.backward()
    assert terms.shape == (3,)
    assert heads[0].grad.shape == heads[0].shape


def test_runs_are_identical(model: models.Detector) -> None:
    """Crowded cells: the order of summation must not depend on threads."""
    targets = random_targets(0, 400)
    gradients = []
    for _ in range(3):
        heads = random_heads(3)
        DetectionLoss(model)(heads, targets)[0].backward()
        gradients.append([head.grad for head in heads])
    for other in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], other, strict=True))


@pytest.mark.parametrize("extreme", [-200.0, 200.0])
def test_extreme_logits_leave_a_finite_gradient(model: models.Detector, extreme: float) -> None:
    heads = [torch.full_like(head, extreme).requires_grad_() for head in random_heads()]
    total, _ = DetectionLoss(model, LossGains(fl_gamma=1.5))(heads, random_targets(2, 30))
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(head.grad).all() for head in heads)


def test_no_match_gives_zero_box_and_class_terms(model: models.Detector) -> None:
    targets = torch.tensor([[0, 1, 0.5, 0.5, 1e-4, 1e-4]])
    heads = random_heads()
    total, terms = DetectionLoss(model)(heads, targets)
    total.backward()
    assert terms[0] == 0
    assert terms[2] == 0
    assert terms[1] > 0
    assert all(torch.isfinite(head.grad).all() for head in heads)


def test_half_precision_is_summed_in_float32(model: models.Detector) -> None:
    heads = [head.detach().bfloat16() for head in random_heads()]
    targets = random_targets(4, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, terms = DetectionLoss(model)(heads, targets)
    expected, _ = DetectionLoss(model)([head.float() for head in heads], targets)
    assert terms.dtype == torch.float32
    torch.testing.assert_close(total, expected)


def test_focal_weight_follows_the_paper(model: models.Detector) -> None:
    """Equation 5 by hand: a background cell of probability p weighs (1 - alpha) p^gamma."""
    heads = [torch.full((1, 3, 64 // s, 64 // s, 5 + CLASSES), -2.0) for s in (8, 16, 32)]
    none = torch.zeros(0, 6)
    plain = DetectionLoss(model, LossGains())(heads, none)[1]
    focal = DetectionLoss(model, LossGains(fl_gamma=1.5))(heads, none)[1]
    p = torch.sigmoid(torch.tensor(-2.0))
    torch.testing.assert_close(focal[1] / plain[1], 0.75 * p**1.5)


def test_gains_scale_with_the_run() -> None:
    gains = LossGains().scaled(heads=3, classes=3, size=320)
    assert (gains.box, gains.obj, gains.cls) == pytest.approx((0.05, 0.25, 0.5 * 3 / 80))


def test_duplicating_the_batch_keeps_the_terms(model: models.Detector) -> None:
    targets = random_targets(9, 15)
    again = targets.clone()
    again[:, 0] += 2
    heads = random_heads()
    total, terms = DetectionLoss(model)(heads, targets)
    twice, same = DetectionLoss(model)([torch.cat((h, h)) for h in heads], torch.cat((targets, again)))
    torch.testing.assert_close(same, terms)
    torch.testing.assert_close(twice, 2 * total)
