"""What a run leaves in its folder: settings, tables, pictures, TensorBoard events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import numpy as np
import yaml

import optimizers
from data.batch import Batch
from schedulers import plot as schedule_plot
from schedulers.range_test import plot_range_test, write_csv
from training import hints, phases
from training.session import Session
from utils import plots
from utils.console import log
from utils.console.log import progress
from utils.device import memory_gb
from utils.files.atomic import spared, write_atomic
from utils.metrics import Metrics
from utils.metrics.confusion import ConfusionMatrix
from utils.observers import PICTURED_BATCHES, boxes_of
from utils.tracker import METRICS, VAL_LOSSES, CyclesCsv, RateLog, ResultsCsv, TensorBoard

LOGGER = logging.getLogger("anneal")
READ_EVERY = 10  # batches between two looks at the device


class Report:
    """Writes the files of one run. `Session` knows nothing of it."""

    def __init__(self, run: Session) -> None:
        self.run = run
        self.folder = run.folder
        self.names = run.data.names
        self.pictures = not run.options.run.noplots
        self.results = ResultsCsv(run.folder / "results.csv", len(run.optimizer.param_groups))
        self.results.keep_until(run.progress.epoch)
        self.cycles = CyclesCsv(run.folder / "cycles.csv")
        self.cycles.keep_until(run.progress.cycles + 1)
        self.rates = RateLog(run.folder / "lr.csv", run.progress.step, run.steps_before)
        run.saver.before_save[run.folder / "lr.csv"] = self.rates.flush
        self.board = TensorBoard(run.folder, purge_step=run.progress.epoch)

    def start(self) -> None:
        """Before the first step: settings, the groups' table, the schedule and the labels as pictures."""
        run, options = self.run, self.run.options.to_dict()
        for name, part in (("opt.yaml", "run"), ("hyp.yaml", "hyp")):
            text = yaml.safe_dump(options[part], sort_keys=False, allow_unicode=True)
            path = self.folder / name
            write = partial(write_atomic, path, text)
            if not run.saver.attempt(path, write):
                run.saver.retry_at_save[path] = write
        if run.range_test is not None:
            with spared(self.folder / "lr_find.*"):
                write_csv(run.range_test, self.folder / "lr_find.csv")
                plot_range_test(run.range_test, self.folder / "lr_find.png")
        if not any(map(len, run.data.val.index.labels)):
            what = f"{run.data.dataset.file}: 'val' has no boxes, so epochs cannot be scored"
            LOGGER.warning(f"{what}; best.pt holds the last epoch's weights, and --patience has no effect")
        # the table shows the decay that --wd-norm comes to; a resumed run keeps the rates of the step done last
        run.schedule.apply(max(run.progress.step - 1, 0))
        for line in optimizers.describe_groups(run.optimizer):
            LOGGER.info(line)
        with spared(f"{self.folder}/lr.png, labels.png"):
            self._picture_start()

    def _picture_start(self) -> None:
        run = self.run
        if self.pictures:
            curve = schedule_plot.curve(run.schedule, run.options.run.lr_policy)
            schedule_plot.plot(self.folder / "lr.png", [curve], now=run.progress.step or None)
            labels = run.data.train_index.labels
            rows = np.concatenate([labels[i] for i in range(len(labels))])
            plots.labels(rows, self.names, self.folder / "labels.png")

    def watch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass an epoch's batches through, under a progress bar that reads the device rarely."""
        run, place = self.run, self.run.progress
        done = place.batch * run.data.train.batch_size
        title = f"epoch {place.epoch + 1}/{run.epochs}"
        with progress(desc=title, total=len(run.data.train_index), initial=done, unit="img") as bar:
            for batch in batches:
                if place.epoch == 0 and place.batch < PICTURED_BATCHES and self.pictures:
                    self._picture(batch, f"train_batch{place.batch}.jpg")
                size = batch.images.shape[-1]
                yield batch
                bar.update(len(batch.images))
                if place.batch % READ_EVERY == 0 or place.batch == len(run.data.train):
                    losses = "box {:.4f}  obj {:.4f}  cls {:.4f}".format(*run.losses())
                    state = f"{memory_gb(run.device):.2f} GB  {losses}  {run.meter.instances} inst.  {size} px"
                    bar.set_description(f"{title}  {state}")

    def step(self) -> None:
        """The rates and momenta that the step just done was taken with, to lr.csv."""
        self.rates.append(self.run.progress.step - 1, self.run.optimizer)

    def _picture(self, batch: Batch, name: str) -> None:
        with spared(self.folder / name):
            plots.pictures(batch.images.cpu(), boxes_of(batch), self.names, self.folder / name)
            self.board.picture(name.removesuffix(".jpg"), self.folder / name, self.run.progress.epoch)

    def epoch(self, metrics: Metrics | None) -> None:
        """One row of results.csv for the epoch that ended, and the same to TensorBoard."""
        run = self.run
        number, rates = run.progress.epoch, run.rates()
        row: dict[str, float] = {"epoch": number}
        row |= zip(("train/box_loss", "train/obj_loss", "train/cls_loss"), run.losses(), strict=True)
        row |= scores(metrics)
        row |= {f"x/lr{i}": lr for i, (lr, _) in enumerate(rates)}
        run.saver.attempt(self.results.path, lambda: self.results.append(row))
        momenta = {f"x/momentum{i}": m for i, (_, m) in enumerate(rates)}
        self.board.add_scalars({k: v for k, v in (row | momenta).items() if k != "epoch"}, number)
        losses = "  ".join(f"{n} {row[f'train/{n}_loss']:.4f}" for n in ("box", "obj", "cls"))
        found = "" if metrics is None else f"  mAP50 {metrics.map50:.4f}  mAP50-95 {metrics.map:.4f}"
        LOGGER.info(f"epoch {number + 1}/{run.epochs}  {losses}{found}  lr {rates[1][0]:.3g}")

    def cycle(self, number: int, metrics: Metrics | None) -> None:
        """One row of cycles.csv for the learning-rate cycle that ended with the step just done."""
        step = self.run.progress.step
        row = {"cycle": number, "step": step, "epoch": step / self.run.steps_per_epoch, **scores(metrics)}
        self.run.saver.attempt(self.cycles.path, lambda: self.cycles.append(row))
        found = "" if metrics is None else f"  mAP50 {metrics.map50:.4f}"
        LOGGER.info(f"cycle {number} ended at step {step}{found}  weights/cycle{number}.pt")

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *_: object) -> None:
        """results.png, as far as the run has come, an interrupted one's too."""
        if self.pictures and self.results.rows():
            marks = [row["epoch"] for row in self.cycles.rows()]
            with spared(self.folder / "results.png"):
                changes = phases.marks(self.run.options.run)
                plots.results(self.folder / "results.csv", self.folder / "results.png", marks, changes)

    def end(self, metrics: Metrics | None, matrix: ConfusionMatrix) -> None:
        """After the last epoch: the curves and the confusion matrix."""
        if self.pictures and metrics is not None:
            with spared(f"{self.folder}/*_curve.png, confusion_matrix.png"):
                plots.curves(metrics, self.names, self.folder)
                plots.confusion(matrix.matrix, self.names, self.folder / "confusion_matrix.png")
        if self.pictures:
            for path in sorted(self.folder.glob("*.png")) + sorted(self.folder.glob("val_batch*.jpg")):
                self.board.picture(path.stem, path, max(self.run.progress.epoch - 1, 0))
        self.board.close()

    def hints(self, metrics: Metrics | None) -> None:
        """What the curves say about the next run."""
        for line in hints.of_run(self.run, self.results.rows(), metrics):
            LOGGER.info(f"hint: {line}")


class NoReport:
    """What the processes leave that do not write the run's folder: nothing."""

    def __enter__(self) -> NoReport:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def watch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches."""
        return batches

    def _nothing(self, *_: object) -> None:
        pass

    start = step = epoch = cycle = end = hints = _nothing


def pass_on_warnings(run: Session) -> None:
    """Have the first process print what only others had to warn of, with the rank."""
    held = run.ranks.gather(log.held_warnings())
    for rank, lines in enumerate(held if run.ranks.first else []):
        for line in dict.fromkeys(lines):
            if line not in log.said_warnings():
                LOGGER.warning(f"rank {rank}: {line}")


def scores(metrics: Metrics | None) -> dict[str, float]:
    """The validation columns of results.csv and cycles.csv; NaN where there was no validation."""
    if metrics is None:
        return dict.fromkeys((*METRICS, *VAL_LOSSES), float("nan"))
    found = (metrics.precision, metrics.recall, metrics.map50, metrics.map, *metrics.losses.tolist())
    return dict(zip((*METRICS, *VAL_LOSSES), found, strict=True))
