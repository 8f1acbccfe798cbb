"""Index time and memory against the number of pictures.

    python -m benchmarks.memory [--counts 1000 10000 100000] [--size 64] [--out benchmarks/results/memory.json]

The sets are made up: small JPEGs, hard links to 16 files, each with a label file of its own of up to eight boxes. Each
count is measured in a process of its own: seconds to index cold (no cache file) and again with it; what the process
grew by for the index, for each way, and at the peak; what it grew by in training on pictures that are not kept; and the
bytes that pictures take where they are kept, at `--size` and, worked out from their shapes, at 640.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks import machine
from data.index import Index, build_index
from data.loader import TrainLoader
from data.plan import Augment
from data.store import ImageStore, fitted, open_store

KINDS = 16  # distinct pictures
BATCHES = 50


def make(folder: Path, count: int) -> None:
    """`count` pictures and label files below `folder`."""
    rng = np.random.default_rng(0)
    for part in ("kinds", "images", "labels"):
        (folder / part).mkdir(parents=True)
    for k in range(KINDS):
        small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        shape = (96, 72) if k % 2 else (72, 96)
        cv2.imwrite(str(folder / "kinds" / f"{k}.jpg"), cv2.resize(small, shape, interpolation=cv2.INTER_CUBIC))
    for i in range(count):
        os.link(folder / "kinds" / f"{i % KINDS}.jpg", folder / "images" / f"{i:07}.jpg")
        rows = np.hstack((rng.integers(0, 3, (i % 9, 1)), rng.uniform(0.2, 0.4, (i % 9, 4)))).tolist()
        text = "".join(f"{kind:.0f} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for kind, x, y, w, h in rows)
        (folder / "labels" / f"{i:07}.txt").write_text(text)


def resident_bytes() -> int:
    """What this process holds of main memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def train(index: Index, size: int) -> None:
    """Some batches of pictures that are decoded as they are needed."""
    store = ImageStore(index, size, "none")
    loader = TrainLoader(index, store, augment=Augment(), batch_size=16, size=size, seed=0, workers=1)
    for _ in zip(range(BATCHES), loader.epoch(0), strict=False):
        pass


def measure(folder: Path, count: int, size: int) -> dict[str, Any]:
    """One count, in a process of its own, which has done the same with a few pictures before."""
    train(build_index([folder / "few" / "images"], 3, root=folder), size)
    before, seconds, held = resident_bytes(), {}, {}
    for name in ("cold", "cached"):
        index = None
        start = time.perf_counter()
        index = build_index([folder / "all" / "images"], 3, root=folder)
        seconds[name] = round(time.perf_counter() - start, 3)
        gc.collect()
        held[name] = resident_bytes() - before
        held[f"peak_{name}"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    indexed = resident_bytes()
    train(index, size)
    trained = resident_bytes() - indexed
    at_640 = sum(h * w for h, w in (fitted(int(h), int(w), 640) for h, w in index.shapes[:KINDS])) / KINDS
    kept = open_store(index, size, "device", torch.device("cpu"), workers=2)
    return {
        "pictures": count,
        "index_s": seconds,
        "index_bytes": held,
        "index_bytes_a_picture": {name: round(value / count) for name, value in held.items()},
        "training_without_keeping_bytes": trained,
        "resident_bytes": {f"at {size} px": 4 * kept.pixels.numel(), "at 640 px": round(4 * at_640 * count)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.counts[0], options.size)))
        return
    results = []
    for count in options.counts:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "few", 4 * KINDS)
            make(Path(folder) / "all", count)
            words = ["--one", folder, "--counts", str(count), "--size", str(options.size)]
            command = [sys.executable, "-m", "benchmarks.memory", *words]
            results.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        print(json.dumps(results[-1], indent=2), flush=True)
    if options.out:
        machine.write(options.out, results)


if __name__ == "__main__":
    main()
