"""The comparison of a file with its checkpoint: rounding passes, however it falls; real differences do not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from exporters.check import Difference, compare
from utils.nms import non_max_suppression

CONF, IOU, MAX_DET = 0.3, 0.45, 300


def barely_trained(seed: int, about: float = CONF, boxes: int = 400) -> Tensor:
    """(2, boxes, 8): scores `about` one value hardly differ; boxes lie on a grid, so that overlaps are equal too."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(2, boxes, 8, generator=generator)
    centres, sizes = (draw[..., :2] * 40).floor() * 5, 10 + (draw[..., 2:4] * 5).floor() * 5
    scores = about + ((draw[..., 4:] - 0.4) * 10).floor() * 1e-5
    scores[..., 0] = 1.0
    return torch.cat((centres, sizes, scores), 2)


def rounded(decoded: Tensor, seed: int) -> Tensor:
    """As another runtime may compute it."""
    noise = torch.rand(decoded.shape, generator=torch.Generator().manual_seed(seed)) - 0.5
    return decoded + noise * torch.tensor([2e-3] * 4 + [0.0] + [4e-5] * (decoded.shape[2] - 5))


def filled(rows: list[Tensor], max_det: int = MAX_DET) -> Tensor:
    return torch.stack([torch.cat((each, each.new_zeros(max_det - len(each), 6))) for each in rows])


def compared(decoded: Tensor, output: Tensor, **changed: object) -> Difference:
    facts = {"half": False, "nms": True, "conf": CONF, "iou": IOU, "max_det": MAX_DET} | changed

    class File(SimpleNamespace):
        def __call__(self, images: Tensor) -> Tensor:
            return output

    return compare(lambda images: (decoded, []), File(**facts), torch.zeros(len(decoded), 3, 224, 224))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("about", "max_det"), [(CONF, 20), (CONF, MAX_DET), (0.6, 20), (0.6, MAX_DET)])
def test_near_ties_may_fall_either_way(seed: int, about: float, max_det: int) -> None:
    decoded = barely_trained(seed, about)
    rows = non_max_suppression(rounded(decoded, seed), CONF, IOU, max_det=max_det)
    found = compared(decoded, filled(rows, max_det), max_det=max_det)
    assert found.unmatched > 0, "else this shows nothing"
    assert found.rounding, found
    assert found.pixels < 2e-3
    assert found.score < 4e-5


def trained(seed: int, boxes: int = 400) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(2, boxes, 8, generator=generator)
    return torch.cat((draw[..., :2] * 200, 20 + draw[..., 2:4] * 40, draw[..., 4:].sqrt()), 2)


Change = Callable[[list[Tensor]], list[Tensor]]
WRONG: dict[str, Change] = {
    "one box less": lambda rows: [rows[0], torch.cat((rows[1][:5], rows[1][6:]))],
    "none at all": lambda rows: [rows[0], rows[1][:0]],
    "a box twice": lambda rows: [rows[0], torch.cat((rows[1][:6], rows[1][5:]))],
    "a box from nowhere": lambda rows: [rows[0], torch.cat((torch.tensor([[5.0, 5, 90, 90, 1, 0]]), rows[1]))],
    "a box moved": lambda rows: [rows[0], rows[1] + torch.eye(len(rows[1]), 6)],
    "a score changed": lambda rows: [rows[0] - 0.01 * torch.eye(6)[4], rows[1]],
    "another class": lambda rows: [rows[0], torch.cat((rows[1][:, :5], (rows[1][:, 5:] + 1) % 3), 1)],
    "no order": lambda rows: [rows[0].flip(0), rows[1]],
    "corners swapped": lambda rows: [each[:, [1, 0, 3, 2, 4, 5]] for each in rows],
    "pictures swapped": lambda rows: rows[::-1],
    "not a number": lambda rows: [rows[0], torch.where(torch.arange(6) == 2, float("nan"), rows[1])],
}


@pytest.mark.parametrize("name", WRONG)
def test_differences(name: str) -> None:
    decoded = trained(0)
    rows = non_max_suppression(decoded, CONF, IOU)
    assert min(map(len, rows)) > 20
    same = compared(decoded, filled(rows))
    assert (same.rounding, same.unmatched, same.pixels, same.score) == (True, 0, 0, 0)
    assert not compared(decoded, filled(WRONG[name](rows))).rounding


@pytest.mark.parametrize(
    "options",
    [
        {"conf": 0.31},
        {"conf": 0.29},
        {"iou": 0.5},
        {"iou": 0.4},
        {"agnostic": True},
        {"multi_label": True},
        {"max_det": 40},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_another_suppression(options: dict, seed: int) -> None:
    decoded = trained(seed)
    rows = non_max_suppression(rounded(decoded, seed), **({"conf": CONF, "iou": IOU} | options))
    assert not compared(decoded, filled(rows)).rounding


def test_no_boxes() -> None:
    decoded = trained(0) * torch.tensor([1, 1, 1, 1, 0, 1, 1, 1])
    nothing = torch.zeros(2, MAX_DET, 6)
    assert compared(decoded, nothing).rounding
    some = filled([torch.tensor([[1.0, 1, 9, 9, 0.9, 0]]), torch.zeros(0, 6)])
    assert not compared(decoded, some).rounding


def test_many_boxes_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts it comes out the same."""
    decoded = barely_trained(3)
    rows = non_max_suppression(rounded(decoded, 3), CONF, IOU)
    whole = compared(decoded, filled(rows))
    monkeypatch.setattr("exporters.suppressed.AT_ONCE", 100)
    assert compared(decoded, filled(rows)) == whole
