"""What a step's rate costs: every policy's `Schedule.apply` on the three groups of a detector.

    python -m benchmarks.schedules [--steps 20000] [--rounds 7]

Optimizers hold plain float rates. The figure is the median over rounds of the mean time of a step, warm-up and
normalised decay included where a policy takes them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

import schedulers
from benchmarks import machine

RESULTS = Path(__file__).parent / "results" / "schedules.json"
LIMIT_US = 20.0
OPTIMIZERS = {"sgd": lambda groups: torch.optim.SGD(groups, momentum=0.937), "adamw": torch.optim.AdamW}


def make_schedule(name: str, optimizer: str, steps: int) -> schedulers.Schedule:
    """A schedule of `steps` steps, 100 an epoch, that does all a schedule can."""
    groups = [
        {"name": group, "params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.01, "weight_decay": decay}
        for group, decay in (("norm", 0.0), ("weight", 5e-4), ("bias", 0.0))
    ]
    policy = schedulers.build(name, total_steps=steps, steps_per_epoch=100, lr0=0.01)
    warm = schedulers.warmup_steps(policy, steps, 100, epochs=3)
    decay = schedulers.NormalisedDecay(0.05, batch=64, images=6400)
    return schedulers.Schedule(policy, OPTIMIZERS[optimizer](groups), warm, wd_norm=decay)


def microseconds(schedule: schedulers.Schedule, steps: int) -> float:
    """Mean time of one `apply`."""
    start = time.perf_counter()
    for step in range(steps):
        schedule.apply(step)
    return (time.perf_counter() - start) / steps * 1e6


def main() -> int:
    """Measure, print and store; 1 where a policy takes longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000, help="steps of the run")
    parser.add_argument("--rounds", type=int, default=7, help="whole runs of each")
    args = parser.parse_args()
    figures = {}
    for name in schedulers.names():
        for optimizer in OPTIMIZERS:
            schedule = make_schedule(name, optimizer, args.steps)
            rounds = [microseconds(schedule, args.steps) for _ in range(args.rounds)]
            figures[f"{name} {optimizer}"] = round(statistics.median(rounds), 2)
            print(f"{name:10s} {optimizer:6s} {figures[f'{name} {optimizer}']:6.2f} us a step")
    machine.write(RESULTS, {"microseconds of an apply, limit 20": figures})
    return int(max(figures.values()) > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
