"""Observers of `val.evaluate`: each is called with every `val.Predictions` and leaves something in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils import plots
from utils.boxes import cxcywh_to_xyxy, label_rows
from utils.files.atomic import spared
from utils.metrics.coco_json import picture_names

PICTURED_BATCHES = 3


class TextLabels:
    """Writes detections as label files, one a picture: class, cx, cy, w, h normalised and, with `scores`, the score.

    A picture without a detection gets an empty file.
    """

    def __init__(self, folder: Path, files: Sequence[str], shapes: np.ndarray, scores: bool = False) -> None:
        self.folder, self.names, self.shapes, self.scores = folder, picture_names(files), shapes, scores
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, result: Any) -> None:
        for i, found in zip(result.batch.indices.tolist(), result.boxes, strict=True):
            text = label_rows(found, self.shapes[i].tolist(), self.scores)
            (self.folder / f"{self.names[i]}.txt").write_text(text)


class Pictures:
    """Draws the first batches, labels and detections over `conf`: val_batch0_labels.jpg, val_batch0_pred.jpg, ..."""

    pictured = PICTURED_BATCHES  # whose images it needs

    def __init__(self, folder: Path, names: Sequence[str], conf: float = 0.25) -> None:
        self.folder, self.names, self.conf, self.seen = folder, names, conf, 0

    def __call__(self, result: Any) -> None:
        if self.seen < PICTURED_BATCHES:
            images, stem = result.batch.images.cpu(), f"val_batch{self.seen}"
            labels = boxes_of(result.batch)
            found = [rows[rows[:, 4] > self.conf][:, [0, 1, 2, 3, 5, 4]].cpu().numpy() for rows in result.letterboxed]
            for boxes, name in ((labels, f"{stem}_labels.jpg"), (found, f"{stem}_pred.jpg")):
                with spared(self.folder / name):
                    plots.pictures(images, boxes, self.names, self.folder / name)
        self.seen += 1


def boxes_of(batch: Any) -> list[np.ndarray]:
    """Targets of a `Batch` for `plots.pictures`: one (k, 5) array a picture, x1, y1, x2, y2 in its pixels, class."""
    height, width = batch.images.shape[-2:]
    targets: Tensor = batch.targets.cpu()
    corners = cxcywh_to_xyxy(targets[:, 2:]) * targets.new_tensor([width, height, width, height])
    rows = torch.cat((corners, targets[:, 1:2]), 1).numpy()
    return [rows[targets[:, 0].numpy() == i] for i in range(len(batch.images))]
