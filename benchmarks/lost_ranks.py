"""Ranks killed at random moments under torchrun: `python -m benchmarks.lost_ranks --kills 100 --processes 3`.

Real training of several processes under `torchrun --max-restarts`. Again and again one of them, any, is ended by
SIGKILL: half of the kills at any moment from the start of the processes on, half once they train. torchrun starts all
of them anew; the run must end by itself, and be the unbroken one to the bit.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.compare import run_differences
from benchmarks.faults import SAVE_STEPS, prepare
from benchmarks.killing import LAST, RUN, stamp
from utils.console.log import progress
from utils.files.atomic import previous

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
KILLS_A_RUN = 4  # at most: then it is left to end
TIMEOUT = 30  # seconds, --timeout of the runs
LIMIT = 20 * TIMEOUT  # seconds in which a run must get on, on a loaded machine


class Stuck(Exception):
    """A run did not get on."""


@dataclass
class Launch:
    """A run of several processes under torchrun, in `folder`."""

    folder: Path
    processes: int
    words: Sequence[str]
    agent: subprocess.Popen = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        line = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}"]
        line += ["--max-restarts=100", "--monitor-interval=0.1", str(TRAIN), *self.words, f"--timeout={TIMEOUT}"]
        with open(self.folder / "console.txt", "w") as console:
            env = os.environ | {"OMP_NUM_THREADS": "1"}
            self.agent = subprocess.Popen(
                line, cwd=self.folder, env=env, stdout=console, stderr=console, start_new_session=True
            )

    def is_over(self) -> bool:
        return self.agent.poll() is not None

    def workers(self) -> list[int]:
        """The processes that train, once all of them are there."""
        try:
            children = Path(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in children] if len(children) == self.processes else []

    def wait(self, ready: Callable[[], Any], seconds: float = LIMIT) -> bool:
        """Wait until `ready`; False where the run was over first. Raises Stuck."""
        until = time.monotonic() + seconds
        while not ready():
            if self.is_over():
                return False
            if time.monotonic() > until:
                raise Stuck
            time.sleep(0.005)
        return True

    def started_after(self, old: Sequence[int]) -> Callable[[], bool]:
        """What tells whether all processes are there, none of them of the `old` ones."""
        return lambda: bool(self.workers()) and not set(self.workers()) & set(old)

    def trains(self) -> Callable[[], bool]:
        """What tells whether processes that start now have come to train: they open lr.csv anew."""
        table = self.folder / RUN / "lr.csv"
        before = stamp(table)
        return lambda: stamp(table) not in (before, None)

    def end(self) -> None:
        """Leave none of its processes behind."""
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        self.agent.kill()
        self.agent.wait()


def unbroken(folder: Path, processes: int, words: Sequence[str]) -> tuple[float, float]:
    """A run that nobody disturbs. Returns the seconds until it trained, and those from then to its end."""
    begin = time.monotonic()
    launch = Launch(folder, processes, words)
    launch.wait(launch.trains())
    middle = time.monotonic()
    if launch.agent.wait(LIMIT) != 0:
        raise RuntimeError((folder / "console.txt").read_text())
    return middle - begin, time.monotonic() - middle


def kills(launch: Launch, most: int, seconds: tuple[float, float], random: np.random.Generator) -> Iterator[dict]:
    """Kill ranks of a run until it is over, `most` at most; what each kill met. Raises Stuck."""
    before, training = seconds
    workers: list[int] = []
    for _ in range(most):
        old, trains = workers, launch.trains()
        if not launch.wait(launch.started_after(old)):
            return
        workers, aimed = launch.workers(), random.random() < 0.5
        if aimed and not launch.wait(trains):
            return
        time.sleep(random.uniform(0, training if aimed else before))
        rank, met = int(random.integers(len(workers))), trains()
        if launch.is_over() or launch.workers() != workers:  # they are ending, or are being started again
            return
        saved = any((launch.folder / path).exists() for path in (LAST, previous(LAST)))
        os.kill(workers[rank], signal.SIGKILL)
        killed = time.monotonic()
        again = launch.wait(launch.started_after(workers))
        yield {"rank": rank, "in_training": met, "fresh": not saved, "again_s": again and time.monotonic() - killed}


def study(number: int, processes: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Kill `number` ranks in all, of runs of two kinds in turn; what was met, and what ended otherwise."""
    lines = prepare(folder)[: math.ceil(number / KILLS_A_RUN)]
    wholes = [folder / f"whole{steps}" for steps in SAVE_STEPS[: len(lines)]]
    seconds = [unbroken(whole, processes, words) for whole, words in zip(wholes, lines, strict=True)]
    random = np.random.default_rng(seed)
    found: list[dict] = []
    different: dict[int, list[str]] = {}
    runs = 0
    with progress(total=number, desc="kills") as bar:
        while len(found) < number:
            kind = runs % len(lines)
            launch = Launch(folder / f"run{runs}", processes, lines[kind])
            try:
                for met in kills(launch, min(KILLS_A_RUN, number - len(found)), seconds[kind], random):
                    found.append(met)
                    bar.update()
                launch.wait(launch.is_over)
                code = launch.agent.wait()
                wrong = run_differences(wholes[kind] / RUN, launch.folder / RUN) if code == 0 else [f"exit code {code}"]
            except Stuck:
                wrong = [f"did not get on for {LIMIT} s"]
            finally:
                launch.end()
            if wrong:
                different[runs] = [*wrong[:5], *(launch.folder / "console.txt").read_text().splitlines()[-5:]]
            runs += 1
    return {
        "runs": runs,
        "kills": len(found),
        "in_training": sum(met["in_training"] for met in found),
        "fresh": sum(met["fresh"] for met in found),
        "longest_until_started_again_s": round(max(met["again_s"] for met in found), 2),
        "kills_by_rank": Counter(met["rank"] for met in found),
        "identical": runs - len(different),
        "different": different,
        "seconds_uninterrupted": [[round(part, 2) for part in both] for both in seconds],
        "settings": {"processes": processes, "timeout": TIMEOUT, "seed": seed},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, print its table and write it. Returns 1 where a run ended as another, or not at all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lost_ranks", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/lost_ranks.json"))
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        results = study(options.kills, options.processes, Path(folder), options.seed)
    print(f"{results['kills']:6d}  kills, {results['in_training']} of them in training, {results['fresh']} before")
    print("        the first checkpoint; by rank", *(f"{k}: {n}" for k, n in sorted(results["kills_by_rank"].items())))
    print(f"{results['longest_until_started_again_s']:6.1f}  seconds at most until all were started again")
    print(f"{results['runs']:6d}  runs, {results['identical']} ended identical to the unbroken one")
    for number, lines in results["different"].items():
        print(f"        run {number}: {'; '.join(lines)}")
    machine.write(options.out, results)
    return 1 if results["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
