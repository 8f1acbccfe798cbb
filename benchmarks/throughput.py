"""Images a second, end to end and of the bare step: `python -m benchmarks.throughput --data D --cfg C --out F.json`.

End to end is a whole epoch as train.py trains it, through its own `train_one_epoch`: loading, augmentation, forward,
loss, backward, optimizer, EMA. The bare step is the same function on one batch that lies on the device already. The
two and a validation alternate in one process, so that a drift of the machine meets all; figures are medians over
--epochs rounds, after a round that does not count. A further epoch, in which the device is waited for after every
stage, tells each stage's share. Every flag of train.py may be added but those that resume and save.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import val
from benchmarks import machine
from benchmarks.rates import Utilisation, matrix_rate, step_flops
from benchmarks.stages import OneBatch, Watch, timed
from train import train_one_epoch
from training import options, start
from training.exit_codes import OUT_OF_MEMORY
from training.memory import halve_on_out_of_memory
from training.meter import LossMeter
from training.session import Session
from utils.config import option
from utils.console import log
from utils.console.signals import StopRequest
from utils.device import dtype_name, memory_gb, synchronize
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
PROFILED = 6  # batches in a trace
IDLE = ("resume", "force", "save_period", "save_steps", "nosave")  # flags of train.py


@dataclass
class Measuring:
    """The measurement; --epochs is the number of its rounds."""

    out: str = option("", "JSON file for the figures")
    profile: str = option(
        "", "folder for a trace of some batches (TensorBoard, Perfetto, chrome://tracing); bare: trace", const="trace"
    )


def epoch(run: Session, watch: Watch) -> float:
    """Train one epoch; its seconds, the device's work included."""
    synchronize(run.device)
    begin = time.perf_counter()
    while not run.epoch_is_complete():
        with halve_on_out_of_memory(run):
            train_one_epoch(run, watch, StopRequest())
    synchronize(run.device)
    seconds = time.perf_counter() - begin
    run.progress.epoch += 1
    run.progress.batch = 0
    run.meter = LossMeter(run.device)
    return seconds


def bare(run: Session, watch: Watch, fixed: OneBatch) -> float:
    """An epoch of the fixed batch; the run's place and data stay."""
    data, place = run.data, run.progress
    run.data, run.progress = dataclasses.replace(data, train=fixed), dataclasses.replace(place)
    try:
        return epoch(run, watch)
    finally:
        run.data, run.progress = data, place


def validation(run: Session) -> float:
    """Seconds of one validation, as after an epoch."""
    begin = time.perf_counter()
    val.evaluate(run.ema.model, run.data.val, criterion=run.criterion, dtype=run.dtype)
    return time.perf_counter() - begin


def shares(run: Session, watch: Watch) -> dict[str, float]:
    """Each stage's share of an epoch."""
    with timed(run, watch) as clock:
        epoch(run, watch)
    total = sum(clock.seconds.values())
    return {stage: clock.seconds[stage] / total for stage in clock.seconds}


def trace(run: Session, watch: Watch, folder: str) -> None:
    """Write a trace of some batches of an epoch."""
    plan = torch.profiler.schedule(wait=1, warmup=1, active=PROFILED, repeat=1)
    handler = torch.profiler.tensorboard_trace_handler(folder)
    with torch.profiler.profile(schedule=plan, on_trace_ready=handler, record_shapes=True) as profiler:
        watch.before = profiler.step
        epoch(run, watch)
    watch.before = lambda: None
    LOGGER.info(f"a trace is in {folder}")


def measure(run: Session, rounds: int, began: float, profile: str = "") -> dict[str, Any]:
    """All figures of a run without a folder. `began`: time.perf_counter() of the program's start."""
    run.is_cycle_end = lambda: False  # no snapshots
    watch = Watch(run)
    first = next(batches := run.data.train.epoch(0)).to(run.device)
    batches.close()
    fixed = OneBatch(first, len(run.data.train), run.data.train.batch_size)
    usage = Utilisation(run.device)
    pictures = {"end_to_end": len(run.data.train_index), "bare_step": len(fixed) * len(first.images)}
    pictures["validation"] = len(run.data.val.index)

    def end_to_end() -> float:
        with usage.measured():
            return epoch(run, watch)

    kinds: dict[str, Callable[[], float]] = {
        "end_to_end": end_to_end,
        "bare_step": lambda: bare(run, watch, fixed),
        "validation": lambda: validation(run),
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for number in log.progress(range(rounds + 1), desc="rounds"):
        for name, seconds in kinds.items():
            rate = pictures[name] / seconds()
            rates[name] += [rate] if number else []  # the first round warms up
            usage.samples = usage.samples if number else []
    middle = {name: statistics.median(each) for name, each in rates.items()}
    stages = shares(run, watch)
    if profile:
        trace(run, watch, profile)
    return {
        "images_per_s": middle,
        "ratio": middle["end_to_end"] / middle["bare_step"],
        "spread": {name: {"min": min(each), "max": max(each), "all": each} for name, each in rates.items()},
        "shares": stages,
        "epoch_s": {name: pictures[name] / middle[name] for name in kinds},
        "time_to_first_step_s": watch.first_step - began,
        "gpu_utilisation_percent": usage.mean,
        "gpu_utilisation_note": usage.why or "sampled during the end-to-end epochs",
        "peak_memory_gb": memory_gb(run.device),
        **arithmetic(run, first, middle["bare_step"]),
        "settings": {
            "dtype": dtype_name(run.dtype),
            "accumulate": run.accumulate,
            "at_once": run.at_once,
            "rounds": rounds,
        }
        | run.options.to_dict(),
    }


def arithmetic(run: Session, batch: Any, rate: float) -> dict[str, float]:
    """What the bare step computes, beside what a matrix product reaches on this device in the same format."""
    part = batch.parts(run.at_once)[0]  # what memory holds
    picture = step_flops(run, part) / len(part)
    matrix = matrix_rate(run.device, run.dtype)
    return {
        "flop_per_image": picture,
        "flops_per_s": picture * rate,
        "matrix_flops_per_s": matrix,
        "share_of_matrix_rate": picture * rate / matrix,
    }


def show(figures: dict[str, Any]) -> None:
    """The figures as lines."""
    for name, rate in figures["images_per_s"].items():
        spread = figures["spread"][name]
        print(f"{name.replace('_', ' '):20} {rate:9.1f} images/s  ({spread['min']:.1f} to {spread['max']:.1f})")
    print(f"{'end to end / bare':20} {figures['ratio']:9.3f}")
    for stage, share in figures["shares"].items():
        print(f"{stage:20} {share:9.1%} of an epoch")
    usage = figures["gpu_utilisation_percent"]
    print(f"GPU utilisation      {figures['gpu_utilisation_note'] if usage is None else f'{usage:9.1f} %'}")
    print(f"peak memory          {figures['peak_memory_gb']:9.2f} GB")
    print(f"first step after     {figures['time_to_first_step_s']:9.2f} s")
    print(
        f"arithmetic           {figures['flops_per_s'] / 1e9:9.1f} GFLOP/s, {figures['share_of_matrix_rate']:.1%} of a "
        f"matrix product's {figures['matrix_flops_per_s'] / 1e9:.1f}"
    )


def check(asked: options.Options) -> None:
    """Raise UserError for flags that would do nothing here."""
    for name in IDLE:
        if name in asked.given:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} would do nothing: a measurement resumes and saves no run; leave it out")


def make_room(measuring: Measuring) -> None:
    """The folders of what will be written; raises OSError before anything is measured for nothing."""
    out = Path(measuring.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if measuring.out and out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), measuring.out)
    if measuring.profile:
        Path(measuring.profile).mkdir(parents=True, exist_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write. Returns 0, or 2 for a mistake."""
    began = time.perf_counter()
    log.setup()
    try:
        name = "python -m benchmarks.throughput"
        asked, (measuring,) = options.parse(argv, name, __doc__.splitlines()[0], [Measuring])
        check(asked)
        make_room(measuring)
        rounds = asked.run.epochs
        asked.run.epochs = rounds + 3  # with the one that warms up, the timed one and the traced one
        run = start.prepare(asked)
        with tempfile.TemporaryDirectory() as folder, run.saver.writer:
            run.folder = Path(folder)
            (run.folder / "weights").mkdir()
            figures = measure(run, rounds, began, measuring.profile)
        show(figures)
        if measuring.out:
            text = json.dumps({**machine.describe(run.device), **figures}, indent=2)
            Path(measuring.out).write_text(text + "\n", encoding="utf-8")
    except UserError as error:
        LOGGER.error(str(error))
        return 2
    except OSError as error:
        LOGGER.error(f"{error.filename or 'the figures'}: {error.strerror or error}; give another --out or --profile")
        return 1
    except torch.OutOfMemoryError:
        LOGGER.error(OUT_OF_MEMORY)
        return 1
    except KeyboardInterrupt:
        LOGGER.warning("stopped: nothing was measured")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
