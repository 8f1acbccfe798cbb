from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.boxes import box_iou
from utils.metrics.confusion import ConfusionMatrix


def test_a_picture_worked_by_hand():
    matrix = ConfusionMatrix(2)
    a, b, c = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0], [50.0, 50.0, 60.0, 60.0]
    truth = torch.tensor([[0, *a], [1, *b], [1, *c]])
    found = torch.tensor(
        [
            [*a, 0.9, 0],  # right
            [0.0, 0.0, 10.0, 9.0, 0.95, 1],  # surer, but overlaps a less: nothing is left for it
            [*b, 0.8, 0],  # the place is right, the class is not
            [*c, 0.2, 1],  # not sure enough: c is missed
        ]
    )
    matrix.update([found], [truth])
    #                                    true 0, 1, background
    assert matrix.matrix.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_pictures_do_not_meet():
    here, there = torch.tensor([[0.0, 0, 10, 10, 0.9, 0]]), torch.tensor([[0, 0.0, 0, 10, 10]])
    matrix = ConfusionMatrix(1)
    matrix.update([here, torch.zeros(0, 6)], [torch.zeros(0, 5), there])
    assert matrix.matrix.tolist() == [[0, 1], [1, 0]]


def greedy(found, truth, classes, conf, iou) -> torch.Tensor:
    """Pairs taken one by one, the highest overlap first."""
    counts = torch.zeros(classes + 1, classes + 1, dtype=torch.int64)
    found = found[found[:, 4] > conf]
    overlap = box_iou(found[:, :4].double(), truth[:, 1:].double())
    rows, columns = set(range(len(found))), set(range(len(truth)))
    for cell in overlap.flatten().argsort(descending=True, stable=True).tolist():
        i, j = divmod(cell, len(truth))
        if overlap[i, j] >= iou and i in rows and j in columns:
            rows.remove(i)
            columns.remove(j)
            counts[int(found[i, 5]), int(truth[j, 0])] += 1
    for i in rows:
        counts[int(found[i, 5]), classes] += 1
    for j in columns:
        counts[classes, int(truth[j, 0])] += 1
    return counts


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.integers(0, 12), st.integers(0, 12))
def test_equals_pairs_taken_one_by_one(seed, n, m):
    generator = torch.Generator().manual_seed(seed)

    def boxes(count):
        corner = torch.rand(count, 2, generator=generator) * 20
        return torch.cat((corner, corner + 10 + torch.rand(count, 2, generator=generator) * 10), 1)

    kinds = torch.randint(0, 3, (n + m, 1), generator=generator).float()
    found = torch.cat((boxes(n), torch.rand(n, 1, generator=generator), kinds[:n]), 1)
    truth = torch.cat((kinds[n:], boxes(m)), 1)
    matrix = ConfusionMatrix(3, conf=0.3, iou=0.4)
    matrix.update([found], [truth])
    assert torch.equal(matrix.matrix, greedy(found, truth, 3, 0.3, 0.4))
    assert torch.equal(matrix.matrix.sum(0)[:3], torch.bincount(truth[:, 0].long(), minlength=3))
