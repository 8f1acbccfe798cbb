"""Boxes of exported files beside their checkpoint's: formats, NMS inside or not, fixed or free sizes, batches.

python -m benchmarks.exports --weights best.pt --pictures path/to/images --out exports.json
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import exporters
from benchmarks import machine
from data.pictures import SUFFIXES, decode
from exporters.check import Difference, compare
from exporters.formats import Export
from exporters.pictures import batch_of
from models.load import load_detector
from utils.console.log import progress

FORMATS = ("onnx", "torchscript", "openvino")
SIZES = ((320, 320), (416, 640))
BATCHES = (1, 3, 8)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--pictures", required=True, help="folder")
    parser.add_argument("--few", type=int, default=48, help="pictures of every case but one, which takes all")
    parser.add_argument("--out", required=True)
    options = parser.parse_args(argv)
    files = sorted(file for file in Path(options.pictures).iterdir() if file.suffix.lower() in SUFFIXES)
    pictures = [decode(file) for file in files]
    rows = [row for weights in options.weights for row in measure(weights, pictures, options.few)]
    machine.write(Path(options.out), {"pictures": len(files), "cases": rows})


def measure(weights: str, pictures: Sequence[np.ndarray], few: int) -> Iterator[dict[str, Any]]:
    """A row a case: the largest differences over its pictures."""
    detector = load_detector(weights)
    for nms, fixed in itertools.product((False, True), (None, *itertools.product(BATCHES, SIZES))):
        batch, size = fixed or (1, SIZES[0])
        facts = exporters.Metadata(detector.names, 32, size, batch, dynamic=fixed is None, nms=nms)
        cases = itertools.product(BATCHES, SIZES) if fixed is None else [fixed]
        with tempfile.TemporaryDirectory() as folder:
            made: dict[str, Path] = {}
            for name in FORMATS:
                form = exporters.get(name)
                made[name] = Path(folder) / f"m{form.suffix}"
                form.write(Export(detector, facts, torch.device("cpu"), made=dict(made)), made[name])
            opened = {name: exporters.open_exported(path) for name, path in made.items()}
            for count, sides in cases:
                chosen = pictures if fixed is None and (count, sides) == (max(BATCHES), SIZES[0]) else pictures[:few]
                for name, exported in opened.items():
                    case = {"weights": Path(weights).name, "format": name, "nms": nms, "dynamic": fixed is None}
                    case |= {"batch": count, "size": list(sides), "pictures": len(chosen)}
                    yield case | _largest(detector, exported, chosen, count, sides)


def _largest(
    detector: Any, exported: Any, pictures: Sequence[np.ndarray], count: int, size: tuple[int, int]
) -> dict[str, Any]:
    found: list[Difference] = []
    for at in progress(range(0, len(pictures), count), desc=f"{exported.path.name} {count} x {size}"):
        found.append(compare(detector, exported, batch_of(pictures[at : at + count], count, size)))
    return {
        "boxes": sum(each.boxes for each in found),
        "pixels": max(each.pixels for each in found),
        "score": max(each.score for each in found),
        "unmatched": sum(each.unmatched for each in found),
    }


if __name__ == "__main__":
    main()
