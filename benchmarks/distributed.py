"""What several processes gain, and what they tell one another: `python -m benchmarks.distributed`.

Epochs as train.py trains them, with one thread a process, of 1, 2 and 4 processes that share each batch; on as many
GPUs as there are, and of two processes on one GPU. The numbers of processes take turns, --rounds times; figures are
medians. Of each step: how long a process waited for the slowest, how long gradients and statistics were under way, and
how many bytes it sent, beside the least that a sum of the gradients over all processes needs. Flags of train.py may be
added; --epochs is the number of epochs that count in a round, after one that does not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks import machine
from benchmarks.stages import Watch
from benchmarks.throughput import epoch
from training import launch, options, start
from training.session import Session
from utils.console.log import progress
from utils.device import synchronize

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "distributed.json"
FLAGS = "--data mask.yaml --cfg yolov5n --imgsz 224 --batch-size 16 --nbs 16 --epochs 2 --hyp yolov5 --optim adamw"
CHILD = "BENCHMARK_OUT"  # in the environment of a measured process: where its figures go


class Calls:
    """What a process spends in the calls of its `Ranks` from now on, and the bytes it sends there.

    Attributes:
        waited: seconds in agreements, which end when the slowest process gets there.
        exchanged: seconds in exchanges of gradients and statistics, which begin right after.
        together: seconds in all that is done between the last backward pass and the optimizer, these included.
    """

    def __init__(self, run: Session) -> None:
        self.run, self.device, self.call = run, run.device, run.ranks._call
        self.waited = self.exchanged = self.together = 0.0
        self.sent = 0
        run.ranks._call = self._timed_call
        if run.parts is not None:
            self.put_together = run.parts.put_together
            run.parts.put_together = self._timed_step

    def end(self) -> None:
        """Count no more."""
        self.run.ranks._call = self.call

    def _timed_call(self, function: Callable, *args: Any, **given: Any) -> None:
        seconds = self._seconds(lambda: self.call(function, *args, **given))
        if function is dist.all_reduce:
            self.waited += seconds
        else:
            self.exchanged += seconds
            self.sent += sent(function, *args)

    def _timed_step(self, *args: Any) -> None:
        self.together += self._seconds(lambda: self.put_together(*args))

    def _seconds(self, act: Callable[[], None]) -> float:
        synchronize(self.device)
        begin = time.perf_counter()
        act()
        synchronize(self.device)
        return time.perf_counter() - begin


def sent(function: Callable, _: torch.Tensor, own: torch.Tensor, *__: Any) -> int:
    """Bytes that a process sends to others: shares of `own` to each of them, or all of it round a ring."""
    size, world = own.numel() * own.element_size(), dist.get_world_size()
    return size * (world - 1) // world if function is dist.all_to_all_single else size * (world - 1)


def child(words: Sequence[str], out: Path) -> None:
    """Train as one of the processes that a launcher has started, or alone; the first one writes the figures."""
    torch.set_num_threads(1)
    asked = options.parse(words, "python -m benchmarks.distributed", "")[0]
    rounds = asked.run.epochs
    asked.run.epochs += 1  # the first one warms up
    with launch.ranks_of(asked) as ranks:
        run = start.prepare(asked, ranks=ranks)
        run.is_cycle_end = lambda: False  # no snapshots
        ranks.begin_training()
        watch = Watch(run)
        epoch(run, watch)
        calls, steps = Calls(run), run.progress.step
        ranks.agree()  # begin together
        seconds = sum(epoch(run, watch) for _ in range(rounds))
        calls.end()
        steps = run.progress.step - steps
        shares = [calls.waited / seconds, calls.exchanged / seconds, calls.together / seconds, calls.sent / steps]
        every = ranks.gather([seconds, *shares])
        if ranks.first:
            means = [statistics.fmean(column) for column in zip(*every, strict=True)]
            names = ("share_waiting", "share_exchanging", "share_between_backward_and_step", "bytes_sent_a_step")
            weights = sum(weight.numel() * weight.element_size() for weight in run.model.parameters())
            figures = {
                "images_per_s": len(run.data.train_index) * rounds / max(row[0] for row in every),
                **dict(zip(names, means[1:], strict=True)),
                "least_bytes_a_step": 2 * weights * (ranks.world - 1) / ranks.world,
                "steps": steps,
                "exchanged_by": "nobody" if ranks.world == 1 else "NCCL" if ranks.device.type == "cuda" else "Gloo",
            }
            out.write_text(json.dumps(figures))


def measure(count: int, words: Sequence[str]) -> dict[str, Any]:
    """The figures of one round of `count` processes. Raises RuntimeError with what they printed where they fail."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        agent = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
        env = os.environ | {"OMP_NUM_THREADS": "1", CHILD: str(out)}
        line = [sys.executable, *agent, "-m", "benchmarks.distributed", *words]
        done = subprocess.run(line, check=False, cwd=ROOT, env=env, text=True, capture_output=True)
        if done.returncode or not out.is_file():
            raise RuntimeError(f"{count} processes ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
        return json.loads(out.read_text())


def study(counts: Sequence[int], words: Sequence[str], rounds: int) -> dict[str, Any]:
    """The medians of each number of processes, which take turns; each rate also as a multiple of the first's."""
    found: dict[int, list[dict[str, Any]]] = {count: [] for count in counts}
    for _ in progress(range(rounds), desc="rounds"):
        for count in counts:
            found[count].append(measure(count, words))
    table = {str(count): medians(each) for count, each in found.items()}
    alone = next(iter(table.values()))["images_per_s"]
    for row in table.values():
        row["times_the_first"] = row["images_per_s"] / alone
    return table


def medians(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure the median, of the rate all values too."""
    middle = {k: statistics.median(row[k] for row in each) if k != "exchanged_by" else v for k, v in each[0].items()}
    return middle | {"all_images_per_s": [row["images_per_s"] for row in each]}


def default_counts(device: str) -> list[int]:
    """1, 2, 4 processes on CPUs; on GPUs as many as there are, but at least two."""
    if device == "cpu" or not torch.cuda.is_available():
        return [1, 2, 4]
    there = max(torch.cuda.device_count(), 2)
    return [1 << power for power in range(there.bit_length())]


def show(table: dict[str, Any]) -> None:
    """The figures as lines."""
    print("processes  images/s  times  waiting  exchanging  MB sent a step (least)  by")
    for count, row in table.items():
        least, bytes_sent = row["least_bytes_a_step"] / 1e6, row["bytes_sent_a_step"] / 1e6
        print(
            f"{count:>9}  {row['images_per_s']:8.1f}  {row['times_the_first']:5.2f}  {row['share_waiting']:7.1%}  "
            f"{row['share_exchanging']:10.1%}  {bytes_sent:14.3f} ({least:5.3f})  {row['exchanged_by']}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; or be one of the processes that are measured."""
    if CHILD in os.environ:
        child(sys.argv[1:] if argv is None else argv, Path(os.environ[CHILD]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed", description=__doc__.splitlines()[0])
    parser.add_argument("--processes", help="numbers of processes, such as 1,2,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto", help="auto: the GPUs, else the CPU; or cpu")
    parser.add_argument("--out", type=Path, default=OUT)
    given, others = parser.parse_known_args(argv)
    counts = [int(n) for n in given.processes.split(",")] if given.processes else default_counts(given.device)
    words = [*FLAGS.split(), "--device", given.device, *others]
    table = study(counts, words, given.rounds)
    show(table)
    on_gpu = given.device != "cpu" and torch.cuda.is_available()
    settings = {"flags": " ".join(words), "rounds": given.rounds, "threads_a_process": 1}
    machine.write(given.out, {"by_processes": table, "settings": settings}, "cuda" if on_gpu else "cpu")
    return 0


if __name__ == "__main__":
    sys.exit(main())
