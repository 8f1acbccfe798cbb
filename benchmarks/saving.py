"""What saving costs: epochs with the best and the last checkpoint written at their start, against epochs without.

    python -m benchmarks.saving [--data mask.yaml] [--imgsz 224] [--rounds 12]

The two kinds of epoch alternate in one run, so that a drift of the machine meets both. Saves are written aside while
the epoch trains, as in a run. Whole epochs vary by more than a save costs; so the time of each batch, from one to
the next, is compared with that of the same batch in the epochs without, by medians. The figure is the sum of these
differences and of what training waited for the copies, over an epoch without saves.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from training import options, start
from training.session import Session
from utils.console.log import progress

OUT = Path(__file__).parent / "results" / "saving.json"


def epoch(run: Session, number: int, saving: bool) -> tuple[float, list[float]]:
    """Seconds that training waited for the saves, and those of each batch of the epoch from then on."""
    clock = time.perf_counter()
    if saving:
        run.write({run.best: run.weights(), run.last: run.state()})
    now = time.perf_counter()
    waited, each = now - clock, []
    for batch in run.data.train.epoch(number):
        run.count(run.gradient(batch.to(run.device)), batch)
        run.close_batch(batch)
        if run.group_is_complete():
            run.step()
            run.losses()  # waits for the device
        each.append(-now + (now := time.perf_counter()))
    run.progress.batch = 0
    return waited, each


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saving", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mask.yaml")
    parser.add_argument("--cfg", default="yolov5n")
    parser.add_argument("--imgsz", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(argv)
    words = f"--data {given.data} --cfg {given.cfg} --imgsz {given.imgsz} --device {given.device} "
    words += "--hyp yolov5 --nbs 16 --optim adamw"
    run = start.prepare(options.parse(words.split(), "saving", "")[0])
    figures = measure(run, given.rounds)
    machine.write(OUT, figures, run.device)
    print(f"an epoch {figures['epoch_without_s']:.3f} s; saving costs {figures['cost']:+.1%} of it")
    print(f"training waited {figures['waited_s']:.4f} s, then lost {figures['lost_s']:.4f} s while they were written")


def measure(run: Session, rounds: int) -> dict[str, Any]:
    """The figures of so many epochs of each kind."""
    times: dict[bool, list[list[float]]] = {True: [], False: []}
    waits = []
    with tempfile.TemporaryDirectory() as folder, run.saver.writer:
        run.folder = Path(folder)
        (run.folder / "weights").mkdir()
        run.model.train()
        epoch(run, 0, saving=True)  # warm-up
        for number in progress(range(1, 2 * rounds + 1), desc="epochs"):
            saving = number % 2 == (number // 2) % 2  # A B B A: neither is always second
            waited, each = epoch(run, number, saving)
            times[saving].append(each)
            waits += [waited] if saving else []
            run.saver.writer.wait()
    return compared(waits, times[True], times[False])


def compared(waits: list[float], saving: list[list[float]], without: list[list[float]]) -> dict[str, Any]:
    """The figures: `saving` and `without` hold, for each epoch of their kind, the seconds of its batches."""
    with_saves, plain = ([statistics.median(place) for place in zip(*kind, strict=True)] for kind in (saving, without))
    waited, lost = statistics.median(waits), sum(with_saves) - sum(plain)
    whole = [statistics.median(map(sum, kind)) for kind in (saving, without)]
    return {
        "epoch_without_s": sum(plain),
        "waited_s": waited,
        "lost_s": lost,
        "cost": (waited + lost) / sum(plain),
        "cost_by_whole_epochs": (whole[0] + waited) / whole[1] - 1,
        "batches_with_s": with_saves,
        "batches_without_s": plain,
        "epochs_of_each_kind": len(saving),
    }


if __name__ == "__main__":
    main()
