"""Made-up detections and truth, as a half-trained network leaves them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pictures(count: int, classes: int, found: int, truth: int) -> tuple[list[Tensor], list[Tensor]]:
    """Pictures as a half-trained network leaves them: a third of the detections near a box, scores falling fast."""
    rng = np.random.default_rng(0)
    predictions, targets = [], []
    for _ in range(count):
        m = int(rng.integers(1, 2 * truth + 1))
        corner, size = rng.uniform(0, 500, (m, 2)), rng.uniform(8, 140, (m, 2))
        boxes, kind = np.concatenate((corner, corner + size), 1), rng.integers(0, classes, m)
        pick, near = rng.integers(0, m, found), rng.uniform(size=found) < 1 / 3
        stray = rng.uniform(0, 500, (found, 2))
        strays = np.concatenate((stray, stray + 50), 1)
        rows = np.where(near[:, None], boxes[pick], strays) + rng.normal(0, 5, (found, 4))
        rows[:, 2:] = np.maximum(rows[:, 2:], rows[:, :2] + 1)
        label = np.where(near, kind[pick], rng.integers(0, classes, found))
        score = rng.uniform(size=found) ** 4
        predictions.append(torch.tensor(np.column_stack((rows, score, label)), dtype=torch.float32))
        targets.append(torch.tensor(np.column_stack((kind, boxes)), dtype=torch.float32))
    return predictions, targets
