"""Runs killed at any moment and resumed: `python -m benchmarks.faults --kills 200`.

Real training in processes of their own, ended by SIGKILL at instants spread over the whole run, a fifth of them moved
into the next save. The runs close mosaics, thaw layers, have rates of their own, averages, and cycles or a kept trunk;
`--help` shows their flags. After each kill the checkpoint must load; once resumed to its end, the run must be the
uninterrupted one to the bit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import machine
from benchmarks.killing import RUN, Case, begin, kill_and_resume, workers
from data.sample import render
from utils.console.log import progress

PICTURES = 11  # in batches of 2 they are 6, accumulated by 4 to a full group and a tail: 2 steps an epoch
FLAGS = "--imgsz 64 --batch-size 2 --nbs 8 --epochs 4 --warmup-epochs 0.5 --single-cls --device cpu --dtype fp32"
PHASES = "--hyp yolov5 --lr0 0.003 --close-mosaic 1 --freeze 2 --freeze-epochs 1 --lr-scale head=0.5"
POLICIES = (  # of even and odd cases: a cycle, or the trunk, ends inside an epoch
    "--lr-policy sgdr --lr-arg cycles=2 --average cycles",
    "--lr-policy wsd --lr-arg decay=0.4 --average swa --average-from 0.3",
)
SAVE_STEPS = (1, 3)  # of even and odd cases: nearly always close to a save; with more to do again
COUNTED = {
    "kills": "kills",
    "fresh": "before the first checkpoint: started anew",
    "in_save": "in the middle of writing a checkpoint",
    "finished": "after the last save: nothing to resume",
    "fallbacks": "resumed from the generation before",
}


def reference(folder: Path, words: Sequence[str]) -> float:
    """A run that nothing interrupts. Returns the seconds from its first step on."""
    folder.mkdir()
    process = begin(folder, words)
    start = time.perf_counter()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError((folder / "console.txt").read_text())
    return time.perf_counter() - start


def prepare(folder: Path) -> list[tuple[str, ...]]:
    """Draw the data, write the layout; returns the command line of each kind of run."""
    render(folder / "faces", seed=0, train=PICTURES, val=4)
    data, cfg = folder / "faces.yaml", folder / "narrow.yaml"
    data.write_text(f"path: {folder / 'faces'}\ntrain: images/train\nval: images/val\nnames: [bare, masked, wrong]\n")
    cfg.write_text("layout: yolov5\ndepth: 0.33\nwidth: 0.0625\n")
    words = ("--data", str(data), "--cfg", str(cfg), "--workers", "0", "--noplots", "--exist-ok")
    words += (*FLAGS.split(), *PHASES.split())
    kinds = zip(POLICIES, SAVE_STEPS, strict=True)
    return [(*words, *policy.split(), "--save-steps", str(steps)) for policy, steps in kinds]


def study(kills: int, folder: Path, *, parallel: int = 2, seed: int = 0) -> dict[str, Any]:
    """Kill and resume `kills` runs in `folder`, `parallel` at a time; returns the counts and what differed."""
    lines = prepare(folder)
    wholes = [folder / f"whole{steps}" for steps in SAVE_STEPS]
    random = np.random.default_rng(seed)
    with workers(parallel) as pool:
        seconds = list(pool.map(reference, wholes, lines))  # as many at once as later
        cases = []
        for number in range(kills):
            kind, share = number % len(lines), (number + random.random()) / kills
            timing = (share * seconds[kind], seconds[kind], seed)
            cases.append(Case(number, folder / f"case{number}", lines[kind], *timing, wholes[kind] / RUN))
        found = list(progress(pool.map(kill_and_resume, cases), desc="kills", total=kills, unit="run"))
    total = sum((counts for counts, _ in found), Counter())
    return {
        "runs": kills,
        **{name: total[name] for name in COUNTED},
        "identical": sum(not differing for _, differing in found),
        "different": {number: lines[:5] for number, (_, lines) in enumerate(found) if lines},
        "kills_by_steps_done": {step: total[f"step {step}"] for step in range(9)},
        "seconds_uninterrupted": [round(value, 2) for value in seconds],
        "settings": {
            "flags": f"{FLAGS} {PHASES}",
            "policies": POLICIES,
            "save_steps": SAVE_STEPS,
            "seed": seed,
            "parallel": parallel,
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, print its table and write it. Returns 1 where a run ended as another."""
    kinds = f"Flags of every run: {PHASES}; of half of them each: {POLICIES[0]}, or {POLICIES[1]}"
    about = {"description": __doc__.splitlines()[0], "epilog": kinds}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", **about)
    parser.add_argument("--kills", type=int, default=200, help="runs to kill; a third of them twice")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/faults.json"))
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # as in the runs
    with tempfile.TemporaryDirectory() as folder:
        results = study(options.kills, Path(folder), parallel=options.parallel, seed=options.seed)
    rows = {"runs": "runs", **COUNTED, "identical": "ended identical to the uninterrupted run"}
    for name, text in rows.items():
        print(f"{results[name]:6d}  {text}")
    print(f"{len(results['different']):6d}  ended different")
    for number, lines in results["different"].items():
        print(f"        run {number}: {'; '.join(lines)}")
    print("kills by optimizer steps done:", *(f"{k}: {n}" for k, n in results["kills_by_steps_done"].items()))
    machine.write(options.out, results)
    return 1 if results["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
