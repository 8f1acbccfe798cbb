"""Milliseconds to draw one training picture on one core: with OpenCV, and with the batched renderer on the CPU.

    python -m benchmarks.render [--sizes 320 640] [--rounds 15] [--out benchmarks/results/render.json]

The pictures are made up: 4:3 and 3:4, as large as the output, with texture and eight labels each. Time is the core's,
so that what else runs does not count. A figure is the mean over 32 plans; of the rounds, the fastest and the median are
told. The batched renderer draws batches of 16, as it is and, with `--compile`, compiled; its work on the host, plans,
matrices and labels, is told alone too, since that is what the host does for a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks import machine
from data.device import DeviceBatches, fused
from data.letterbox import letterbox
from data.pixels import Resident
from data.plan import Augment, Plan, plan, plans
from data.render import render
from data.render_batch import render_batch
from data.request import Request

PLANS, BATCH = 32, 16
CASES = {
    "mosaic": Augment(),
    "mosaic, no colour": Augment(hsv_h=0, hsv_s=0, hsv_v=0),
    "mosaic, rotated": Augment(degrees=10, shear=5),
    "mosaic, perspective": Augment(degrees=10, perspective=0.0005),
    "mosaic, mixup": Augment(mixup=1),
    "mosaic of nine": Augment(mosaic9=1),
    "alone": Augment(mosaic=0),
}


def pictures(size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Textured pictures (h, w, 3) whose longest side is `size`, and their labels (8, 5)."""
    rng = np.random.default_rng(0)
    shapes = [(size, size * 3 // 4) if k % 2 else (size * 3 // 4, size) for k in range(PLANS)]
    images = [cv2.resize(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), shape[::-1]) for shape in shapes]
    labels = [np.hstack((rng.integers(0, 3, (8, 1)), rng.uniform(0.3, 0.6, (8, 4)))) for _ in shapes]
    return images, labels


def measure(task: Callable[[int], object], rounds: int, tasks: int = PLANS) -> dict[str, float]:
    """All plans in `tasks` calls of `task(i)`, several times: milliseconds a plan."""
    times = []
    for _ in range(rounds + 1):
        start = time.thread_time()
        for i in range(tasks):
            task(i)
        times.append((time.thread_time() - start) / PLANS * 1e3)
    return {"fastest_ms": min(times[1:]), "median_ms": statistics.median(times[1:])}


class Labelled(list):
    """Pictures with what a store and an index have."""

    def __init__(self, images: list[np.ndarray], labels: list[np.ndarray]) -> None:
        super().__init__(images)
        self.labels, self.shapes = labels, np.array([image.shape[:2] for image in images])


def measure_batches(size: int, rounds: int, compiled: bool) -> dict[str, dict[str, float]]:
    """The batched renderer's cases at one output size."""
    data = Labelled(*pictures(size))
    maker = DeviceBatches(data, Resident(data, torch.device("cpu"), workers=1), workers=0)
    maker.render = fused() if compiled else render_batch
    found = {}
    for name in ("mosaic", "mosaic, perspective", "mosaic, mixup", "alone"):
        requests = [request(name, at, size) for at in range(0, PLANS, BATCH)]
        if not compiled:
            found[f"batched, {name}: host"] = measure(lambda i, r=requests: maker._prepare(r[i]), rounds, len(requests))
        found[f"batched{', compiled' * compiled}, {name}"] = measure(
            lambda i, r=requests: list(maker.make([r[i]])), max(1, rounds // 5), len(requests)
        )
    return found


def of(name: str, i: int) -> Plan:
    return plan(0, 0, i, PLANS, CASES[name], first=i)


def batch_of(name: str, at: int) -> Plan:
    return plans(0, 0, range(at, at + BATCH), PLANS, CASES[name], first=np.arange(at, at + BATCH))


def request(name: str, at: int, size: int) -> Request:
    """A batch, as a loader asks for it."""
    numbers = np.arange(at, at + BATCH)
    return Request(numbers, size, size, size, lambda k: of(name, at + k), partial(batch_of, name, at))


def measure_size(size: int, rounds: int) -> dict[str, dict[str, float]]:
    """All cases at one output size."""
    images, labels = pictures(size)
    out = np.empty((3, size, size), np.uint8)
    found = {"plan only": measure(lambda i: plan(0, 0, i, PLANS, CASES["mosaic"], first=i), rounds)}
    for name in CASES:
        plans = [of(name, i) for i in range(PLANS)]
        found[name] = measure(lambda i, plans=plans: render(plans[i], images, labels, size, size, size, out), rounds)
    found["letterbox"] = measure(lambda i: letterbox(images[i], images[i].shape[:2], out), rounds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[320, 640])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--compile", action="store_true", help="also the batched renderer compiled")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    results = {}
    for size in options.sizes:
        results[str(size)] = measure_size(size, options.rounds) | measure_batches(size, options.rounds, False)
        if options.compile:
            results[str(size)] |= measure_batches(size, options.rounds, True)
    for size, cases in results.items():
        print(f"{size} px: ms per picture, one core (fastest, median of {options.rounds} rounds)")
        for name, figures in cases.items():
            print(f"  {name:40}{figures['fastest_ms']:8.3f}{figures['median_ms']:8.3f}")
    if options.out:
        machine.write(options.out, results)


if __name__ == "__main__":
    main()
