"""Time of `evaluate_boxes` against pycocotools on the same boxes: `python -m benchmarks.metrics`.

pycocotools is timed twice: as it comes (four ranges of area), and cut down to what is computed here (all areas). Both
timings leave out the reading of its input; ours is timed from the list of tensors to the metrics. Seconds are those of
the processor, one thread each, so that other load on the machine does not count.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from benchmarks import machine
from benchmarks.detections import pictures
from utils.console.log import progress
from utils.metrics import evaluate_boxes
from utils.metrics.coco_json import CocoJson

OUT = Path(__file__).parent / "results" / "metrics.json"
CASES = {  # pictures, classes, detections a picture, boxes a picture
    "5,000 pictures, 80 classes, 50 detections": (5000, 80, 50, 7),
    "5,000 pictures, 3 classes, 50 detections": (5000, 3, 50, 5),
}


def reference(predictions: list[Tensor], targets: list[Tensor], classes: int, plain: bool) -> tuple[Callable, list]:
    """A function that runs pycocotools, and the list it leaves its two mAPs in."""
    names, files = [str(c) for c in range(classes)], [f"{i}.jpg" for i in range(len(targets))]
    collected = CocoJson(files, np.full((len(targets), 2), 640), names)
    for i, (found, truth) in enumerate(zip(predictions, targets, strict=True)):
        collected.add(i, found, truth)
    truth = COCO()
    truth.dataset = {k: getattr(collected, k) for k in ("images", "annotations", "categories")}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(collected.detections), "bbox")
    evaluation.params.maxDets = [1, 10, 300]
    if plain:
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    maps: list[float] = []

    def run() -> None:
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval["precision"][..., 0, -1]
        maps[:] = [float(p[p > -1].mean()) for p in (precision[0], precision)]

    return run, maps


def seconds(call: Callable, repeat: int = 1) -> float:
    """The best of `repeat` timings."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def measure(name: str) -> dict[str, Any]:
    count, classes, found, truth = CASES[name]
    predictions, targets = pictures(count, classes, found, truth)
    metrics = evaluate_boxes(predictions, targets, classes)
    row = {"case": name, "ours_s": seconds(lambda: evaluate_boxes(predictions, targets, classes), repeat=3)}
    for key, plain in (("pycocotools_s", False), ("pycocotools_all_areas_s", True)):
        with contextlib.redirect_stdout(io.StringIO()):
            run, maps = reference(predictions, targets, classes, plain)
            row[key] = seconds(run)
    row |= {"times_faster": row["pycocotools_s"] / row["ours_s"]}
    row |= {"times_faster_all_areas": row["pycocotools_all_areas_s"] / row["ours_s"]}
    row |= {"map50": metrics.map50, "map": metrics.map}
    row |= {"largest_difference": max(abs(metrics.map50 - maps[0]), abs(metrics.map - maps[1]))}
    return row


def main() -> None:
    torch.set_num_threads(1)
    rows = [measure(name) for name in progress(list(CASES), desc="metrics")]
    machine.write(OUT, rows)
    for row in rows:
        print(
            f"{row['case']}: {row['ours_s']:.2f} s, pycocotools {row['pycocotools_s']:.1f} s "
            f"({row['times_faster']:.0f} times), all areas alone {row['pycocotools_all_areas_s']:.1f} s "
            f"({row['times_faster_all_areas']:.0f} times), mAPs differ by {row['largest_difference']:.1e}"
        )


if __name__ == "__main__":
    sys.exit(main())
