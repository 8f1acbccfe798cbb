"""What saving costs: epochs with the best and the last checkpoint written at their start, against epochs without.

    python -m benchmarks.saving [--data mask.yaml] [--imgsz 224] [--rounds 12]

The two kinds of epoch alternate in one run, so that a drift of the machine meets both; the figure is the ratio of their
medians. Saves are written aside while the epoch trains, as in a run; what they cost is in the epoch's time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from training import options, start
from training.session import Session
from utils.log import progress

OUT = Path(__file__).parent / "results" / "saving.json"


def epoch(run: Session, number: int, saving: bool) -> tuple[float, float]:
    """Seconds of one epoch of training, and those of it for which training waited for the saves."""
    begin = time.perf_counter()
    if saving:
        run.write({run.best: run.weights(), run.last: run.state()})
    waited = time.perf_counter() - begin
    for batch in run.data.train.epoch(number):
        batch = batch.to(run.device)
        loss, terms = run.criterion(run.forward(batch), batch.targets)
        run.scaler.scale(loss).backward()
        run.count(terms, batch)
        if run.group_is_complete():
            run.step()
    run.losses()  # waits for the device
    run.progress.batch = 0
    return time.perf_counter() - begin, waited


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saving", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mask.yaml")
    parser.add_argument("--cfg", default="yolov5n")
    parser.add_argument("--imgsz", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(argv)
    words = (
        f"--data {given.data} --cfg {given.cfg} --imgsz {given.imgsz} --nbs 16 --optim adamw --device {given.device}"
    )
    asked, _ = options.parse(words.split(), "saving", "")
    run = start.prepare(asked)
    times: dict[bool, list[float]] = {True: [], False: []}
    waits = []
    with tempfile.TemporaryDirectory() as folder, run.writer:
        run.folder = Path(folder)
        (run.folder / "weights").mkdir()
        run.model.train()
        epoch(run, 0, saving=True)  # warm-up
        for number in progress(range(1, 2 * given.rounds + 1), desc="epochs"):
            saving = number % 2 == (number // 2) % 2  # A B B A: neither is always second
            seconds, waited = epoch(run, number, saving)
            times[saving].append(seconds)
            waits += [waited] if saving else []
            run.writer.wait()
    with_saves, without = statistics.median(times[True]), statistics.median(times[False])
    figures = {
        "epoch_with_saves_s": with_saves,
        "epoch_without_s": without,
        "cost": with_saves / without - 1,
        "training_waited_s": statistics.median(waits),
        "all_with_s": times[True],
        "all_without_s": times[False],
    }
    machine.write(OUT, figures, run.device)
    print(f"an epoch {without:.3f} s, with saves {with_saves:.3f} s: {figures['cost']:+.1%}")
    print(f"training waited {figures['training_waited_s']:.4f} s for them")


if __name__ == "__main__":
    main()
