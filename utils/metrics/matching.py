"""Which detection gets which ground truth: candidate pairs and greedy assignment, without a loop over pictures."""

from __future__ import annotations

import torch
from torch import Tensor

PAIRS_AT_ONCE = 1 << 20  # bounds the memory that crowded pictures need


def flatten(rows: list[Tensor], columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """One (n_i, columns) tensor a picture to all rows (n, columns) and the picture of each (n,) int64."""
    counts = torch.tensor([len(r) for r in rows], dtype=torch.int64, device=device)
    table = torch.cat([r.reshape(-1, columns) for r in rows] or [torch.zeros(0, columns)]).to(device)
    return table, torch.repeat_interleave(torch.arange(len(rows), device=device), counts)


def coco_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of matching rows of (n, 4) corner boxes: (n,) float64.

    The operations and their order are those of the COCO tools, which hold boxes as corner and size, so that equal
    overlaps are equal here exactly where they are equal there.
    """
    a, b = a.double(), b.double()
    a_size, b_size = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a_size + a[:, :2], b_size + b[:, :2])
    side = high - low
    inter = side[:, 0] * side[:, 1]
    union = a_size[:, 0] * a_size[:, 1] + b_size[:, 0] * b_size[:, 1] - inter
    return torch.where((side > 0).all(1), inter / union, torch.zeros_like(inter))


def overlapping_pairs(
    boxes: Tensor, groups: Tensor, others: Tensor, other_groups: Tensor, minimum: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of the same group with IoU of at least `minimum`.

    boxes (n, 4) with groups (n,) in any order; others (m, 4) with other_groups (m,) ascending. Returns row of `boxes`,
    row of `others`, IoU: (p,) each, listed by the first, then by falling IoU, then by the higher row of the second.
    """
    start = torch.searchsorted(other_groups, groups)
    count = torch.searchsorted(other_groups, groups, right=True) - start
    found = []
    for part in _parts(count):
        first = torch.repeat_interleave(part, count[part])
        run_start = torch.repeat_interleave(count[part].cumsum(0) - count[part], count[part])
        second = start[first] + torch.arange(len(first), device=first.device) - run_start
        iou = coco_iou(boxes[first], others[second])
        keep = iou >= minimum
        found.append((first[keep], second[keep], iou[keep]))
    first, second, iou = (torch.cat(column).flip(0) for column in zip(*found, strict=True))
    order = iou.argsort(descending=True, stable=True)
    order = order[first[order].argsort(stable=True)]
    return first[order], second[order], iou[order]


def _parts(count: Tensor) -> list[Tensor]:
    """Rows with at least one pair, cut where their pairs pass a multiple of the bound."""
    rows = count.nonzero().squeeze(1)
    total = count[rows].cumsum(0)
    pieces = int(total[-1]) // PAIRS_AT_ONCE if len(rows) else 0
    cuts = torch.arange(1, pieces + 1, device=count.device) * PAIRS_AT_ONCE
    return list(rows.tensor_split(torch.searchsorted(total, cuts).cpu()))


def assign(proposer: Tensor, holder: Tensor, rank: Tensor, holders: int) -> Tensor:
    """One-to-one assignment over candidate pairs: indices of the pairs chosen, ascending.

    proposer (p,): equal ones adjacent, each one's preferred pair first. holder (p,) in [0, holders). rank (p,): of two
    pairs with one holder the lower wins; no ties. Where every holder ranks the proposers alike this is the greedy
    assignment in that order: all propose at once, a holder keeps its best, whoever lost proposes next. A round drops
    every pair that can no longer win, so rounds are few and no loop runs over pictures or boxes.
    """
    alive = torch.arange(len(proposer), device=proposer.device)
    while True:
        held, order, who = holder[alive], rank[alive], proposer[alive]
        leads = torch.ones_like(who, dtype=torch.bool)
        leads[1:] = who[1:] != who[:-1]
        best = torch.full((holders,), torch.iinfo(torch.int64).max, device=who.device)
        best.scatter_reduce_(0, held[leads], order[leads], "amin")
        keep = order <= best[held]
        if bool(keep.all()):
            return alive[leads]
        alive = alive[keep]
