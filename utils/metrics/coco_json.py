"""Detections in the COCO results format, and the table of the COCO tools on them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

LOGGER = logging.getLogger("anneal")


@dataclass(frozen=True)
class CocoTable:
    """What the COCO tools say: their table, and the two mAPs at `max_det` detections instead of its 100."""

    text: str
    map50: float
    map: float


def picture_names(files: Sequence[str]) -> list[str]:
    """A distinct name for every picture: its file's stem, with its number where another has the same stem."""
    stems = [Path(file).stem for file in files]
    count = Counter(stems)
    return [stem if count[stem] == 1 else f"{stem}_{i:06d}" for i, stem in enumerate(stems)]


def image_ids(files: Sequence[str]) -> list[int] | list[str]:
    """COCO image ids: the stems as numbers where all are distinct numbers, as in COCO itself; else the names."""
    names = picture_names(files)
    if all(name.isascii() and name.isdecimal() for name in names) and len({int(name) for name in names}) == len(names):
        return [int(name) for name in names]
    return names


class CocoJson:
    """Collects detections and ground truth as COCO dictionaries; an observer of `val.evaluate`.

    files: the pictures of the index. shapes: (N, 2) their heights and widths. names: the classes; category ids are
    class indices. Boxes are x, y, width, height in pixels, unrounded.
    """

    def __init__(self, files: Sequence[str], shapes: np.ndarray, names: Sequence[str]) -> None:
        self.ids = image_ids(files)
        self.files, self.shapes = files, shapes
        self.categories = [{"id": i, "name": name} for i, name in enumerate(names)]
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.detections: list[dict[str, Any]] = []

    def __call__(self, result: Any) -> None:
        """Collect a `val.Predictions`."""
        for i, found, truth in zip(result.batch.indices.tolist(), result.boxes, result.targets, strict=True):
            self.add(i, found, truth)

    def add(self, i: int, found: Tensor, truth: Tensor) -> None:
        """Picture `i`: (n, 6) x1, y1, x2, y2, score, class and (m, 5) class, x1, y1, x2, y2, in its pixels."""
        height, width = (int(side) for side in self.shapes[i])
        self.images.append({"id": self.ids[i], "file_name": self.files[i], "height": height, "width": width})
        for kind, x1, y1, x2, y2 in truth.double().tolist():
            row = {"image_id": self.ids[i], "category_id": int(kind), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            facts = {"id": len(self.annotations) + 1, "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            self.annotations.append(row | facts)
        for x1, y1, x2, y2, score, kind in found.double().tolist():
            row = {"image_id": self.ids[i], "category_id": int(kind), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            self.detections.append(row | {"score": score})

    def save(self, folder: Path) -> None:
        """Write predictions.json, and annotations.json: the ground truth that it refers to."""
        truth = {"images": self.images, "annotations": self.annotations, "categories": self.categories}
        (folder / "predictions.json").write_text(json.dumps(self.detections))
        (folder / "annotations.json").write_text(json.dumps(truth, ensure_ascii=False), encoding="utf-8")

    def finish(self, folder: Path, max_det: int = 300) -> None:
        """Write the files and say what pycocotools makes of them."""
        self.save(folder)
        result = self.evaluate(max_det)
        if result is None:
            LOGGER.warning("nothing for pycocotools to compare: no detections, or no labels")
            return
        LOGGER.info(f"pycocotools:\n{result.text}")
        LOGGER.info(f"pycocotools with up to {max_det} a picture: mAP50 {result.map50:.6f}, mAP50-95 {result.map:.6f}")

    def evaluate(self, max_det: int = 300) -> CocoTable | None:
        """Run pycocotools; None where there is nothing to compare."""
        if not self.detections or not self.annotations:
            return None
        truth = {"images": self.images, "annotations": self.annotations, "categories": self.categories}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            evaluation = run_cocoeval(truth, self.detections, [1, 10, 100, max(max_det, 100)])
            evaluation.accumulate()
            printed.truncate(0)
            printed.seek(0)
            evaluation.summarize()
        precision = evaluation.eval["precision"][..., 0, -1]
        map50, mean = (float(p[p > -1].mean()) for p in (precision[0], precision))
        return CocoTable(printed.getvalue().rstrip(), map50, mean)


def run_cocoeval(truth: dict[str, Any], detections: list[dict[str, Any]], max_dets: list[int]) -> Any:
    """pycocotools' evaluation of boxes, matched but not yet accumulated."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    reference = COCO()
    reference.dataset = truth
    reference.createIndex()
    # loadRes and evaluate write into the dictionaries they are given
    found = reference.loadRes([dict(row) for row in detections])
    evaluation = COCOeval(reference, found, "bbox")
    evaluation.params.maxDets = max_dets
    evaluation.evaluate()
    return evaluation
