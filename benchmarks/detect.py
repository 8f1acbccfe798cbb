"""detect.py end to end: a folder of pictures and a 720p video, annotated output included, beside the network alone.

    python -m benchmarks.detect --weights yolov5n.pt --pictures path/to/images --out detect.json [--peer path/to/yolov5]

Each round runs every contestant as a process of its own, in turn, and takes the pictures a second between two sizes of
the job, so that the start of a process does not count. `--peer` names a checkout with a `detect.py` of the same flags.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks import machine
from data.pictures import SUFFIXES, decode
from predict.films import Film
from predict.model import Model, load

ROOT = Path(__file__).resolve().parents[1]
FEW = 0.2  # the small job, as a share of the whole


def make(folder: Path, pictures: list[Path], count: int, frames: int) -> dict[str, tuple[Path, int, Path, int]]:
    """Small and whole job of each kind: (source, pictures) twice."""
    jobs = {}
    for part, share in (("few", FEW), ("all", 1.0)):
        (folder / part).mkdir(parents=True)
        for number, picture in enumerate(islice(cycle(pictures), round(count * share))):
            (folder / part / f"{number:05d}{picture.suffix}").write_bytes(picture.read_bytes())
        film = Film(folder / f"{part}.mp4", 30)
        for number, picture in enumerate(islice(cycle(pictures[:60]), round(frames * share))):
            film.write(cv2.resize(decode(picture), (1280, 720)), number / 30)
        film.close()
    few, rest = round(count * FEW), round(frames * FEW)
    jobs["pictures"] = (folder / "few", few, folder / "all", count)
    jobs["video"] = (folder / "few.mp4", rest, folder / "all.mp4", frames)
    return jobs


def seconds(command: list[str], source: Path, scratch: Path) -> float:
    """How long one run takes."""
    flags = ["--source", str(source), "--project", str(scratch), "--device", "cpu"]
    start = time.perf_counter()
    subprocess.run([*command, *flags], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def network_alone(model: Model, size: int, batch: int, pictures: Counter[tuple[int, int]]) -> float:
    """Pictures a second of the network alone, all boxes decoded: batches of the shapes that detection makes of these.

    pictures: how many there are of each height and width.
    """
    shapes: Counter[tuple[int, ...]] = Counter()
    for (height, width), count in pictures.items():
        shapes[model.prepare(np.zeros((height, width, 3), np.uint8), size).image.shape] += count
    taken = 0.0
    with torch.inference_mode():
        for shape, count in shapes.items():
            images = torch.zeros((batch, *shape)).contiguous(memory_format=torch.channels_last)
            model.network(images)
            start = time.perf_counter()
            model.network(images)
            taken += (time.perf_counter() - start) * count / batch
    return shapes.total() / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures to take from")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=Path, help="a YOLOv5 checkout, or its detect.py")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "detect.json")
    args = parser.parse_args()
    common = ["--weights", str(Path(args.weights).resolve()), "--imgsz", str(args.size)]
    contestants = {"anneal": [sys.executable, str(ROOT / "detect.py"), *common, "--batch-size", str(args.batch)]}
    if args.peer:
        script = args.peer / "detect.py" if args.peer.is_dir() else args.peer
        contestants["peer"] = [args.peer_python, str(script), *common]
    files = sorted(file for file in args.pictures.rglob("*") if file.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as scratch:
        jobs = make(Path(scratch) / "jobs", files, args.count, args.frames)
        model = load(args.weights, "cpu")
        sides = {"pictures": Counter(decode(file).shape[:2] for file in files), "video": Counter({(720, 1280): 1})}
        alone = {kind: partial(network_alone, model, args.size, args.batch, sides[kind]) for kind in jobs}
        results = measure(jobs, contestants, alone, args.rounds, Path(scratch))
    machine.write(args.out, results)
    print(f"pictures a second: {results}")


def measure(
    jobs: dict, contestants: dict[str, list[str]], alone: dict[str, Callable[[], float]], rounds: int, scratch: Path
) -> dict[str, dict[str, float]]:
    """Pictures a second: the median over rounds, in which the contestants and the network alone take turns.

    Ratios are formed round by round: a machine shared with others is slower in some.
    """
    found: dict[str, dict[str, float]] = {}
    for kind, (few, few_count, whole, count) in jobs.items():
        rates: dict[str, list[float]] = {name: [] for name in (*contestants, "network alone")}
        for turn in range(rounds):
            for name, command in contestants.items():
                out = scratch / f"{name}{turn}"
                took = [seconds(command, source, out) for source in (few, whole)]
                rates[name].append((count - few_count) / max(took[1] - took[0], 1e-9))
            rates["network alone"].append(alone[kind]())
        found[kind] = {name: statistics.median(values) for name, values in rates.items()}
        for name, text in (("peer", "times the peer"), ("network alone", "share of the network alone")):
            if name in rates:
                ratios = [ours / theirs for ours, theirs in zip(rates["anneal"], rates[name], strict=True)]
                found[kind] |= {
                    text: statistics.median(ratios),
                    f"{text}, least": min(ratios),
                    f"{text}, most": max(ratios),
                }
    return found


if __name__ == "__main__":
    main()
