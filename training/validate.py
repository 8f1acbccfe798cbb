"""Validation as a part of training: after an epoch, and at the end with pictures of the best weights."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence

import torch
from torch import nn

import val
from data.batch import Batch
from training import layers
from training.averages import estimate_statistics
from training.best import best_weights
from training.report import NoReport, Report
from training.session import Session
from utils.console.signals import StopRequest
from utils.console.wording import counted
from utils.metrics import Metrics
from utils.metrics.confusion import ConfusionMatrix
from utils.metrics.table import table
from utils.observers import Pictures

LOGGER = logging.getLogger("anneal")


def validate(run: Session, stop_request: StopRequest) -> Metrics | None:
    """Metrics of the EMA weights on the validation pictures; None with --noval before the last epoch."""
    run.check()
    take_evaluation_weights(run, stop_request)
    if run.options.run.noval and run.progress.epoch + 1 < run.epochs:
        return None
    return evaluate(run, run.ema.model, [lambda _: run.handle_stop_request(stop_request)])


def evaluate(run: Session, model: nn.Module, observers: Sequence[val.Observer] = ()) -> Metrics:
    """`val.evaluate` on the run's validation pictures, in its number format, by all of its processes."""
    how = {"criterion": run.criterion, "dtype": run.dtype, "ranks": run.ranks}
    return val.evaluate(model, run.data.val, observers=observers, **how)


def take_evaluation_weights(run: Session, stop_request: StopRequest) -> None:
    """At the end of an epoch: in place of an EMA, the weights that an optimizer which averages itself evaluates.

    BatchNorm's statistics are estimated for them on pictures of the next epoch, so that a resume finds them too.
    """
    if not hasattr(run.optimizer, "evaluation_weights"):
        return
    model, place = run.ema.model, run.progress.epoch
    model.load_state_dict(run.model.state_dict())
    weights = run.optimizer.evaluation_weights()
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            model.get_parameter(name).copy_(weights.get(parameter, parameter))
    frozen = layers.frozen_norms(run.model, run.options.run, place)
    estimate_statistics(model, pictures(run, place + 1, stop_request), run.device, run.dtype, kept=frozen)


def pictures(run: Session, epoch: int, stop_request: StopRequest) -> Iterator[Batch]:
    """An epoch's batches as a forward pass takes them, for statistics; a stop is heard between them."""
    for batch in run.data.train.undealt().epoch(epoch):
        yield from batch.parts(run.at_once)
        run.handle_stop_request(stop_request)


def close_cycle(run: Session, report: Report | NoReport) -> None:
    """At the bottom of a learning-rate cycle: keep the EMA weights as cycle{k}.pt and validate them.

    Such snapshots are worth an ensemble: Snapshot Ensembles, arXiv 1704.00109. The cycle is counted once and has its
    row, with no figures where memory runs out in the validation: training needs none, and goes on.
    """
    run.progress.cycles += 1
    run.last_step.keep(run)  # what memory that runs out from here on goes back to
    number = run.progress.cycles
    run.write({run.folder / "weights" / f"cycle{number}.pt": run.weights()})
    try:
        metrics = evaluate(run, run.ema.model)
    except torch.OutOfMemoryError as error:
        run.ranks.report(error)
        LOGGER.warning(f"cycle {number}: out of memory in its validation; cycles.csv has no figures for it")
        metrics = None
    report.cycle(number, metrics)


def finish(run: Session, report: Report | NoReport, stop_request: StopRequest) -> Metrics | None:
    """Validate the best weights there are once more, with every picture, and mark the run as finished."""
    model = run.ema.model
    best = run.ranks.share(lambda: best_weights(run))
    if best is not None:
        model = copy.deepcopy(model)
        model.load_state_dict(best["ema"])
    matrix = ConfusionMatrix(run.data.classes)
    observers = [matrix, lambda _: run.handle_stop_request(stop_request)]
    if run.ranks.first and not run.options.run.noplots:
        observers.append(Pictures(run.folder, run.data.names))
    metrics = evaluate(run, model, observers)
    report.end(metrics, matrix)
    which, best_epoch = run.progress.epoch if best is None else best["epoch"], run.progress.best_epoch
    others = "" if which == best_epoch else f", whose weights were not kept: the figures are of epoch {which}'s"
    unmeasured = "" if metrics.instances else " (none could be measured)"
    place = f"best epoch {best_epoch} of {run.progress.epoch}{unmeasured}{others}"
    LOGGER.info(f"{place}\n{table(metrics, run.data.names)}")
    finish_average(run, stop_request)
    run.progress.finished = True
    run.save()
    return metrics


def finish_average(run: Session, stop_request: StopRequest) -> None:
    """With --average: the mean of the weights as average.pt, its BatchNorm statistics of training pictures, validated.

    The pictures are those of the epoch after the last, so that a resume finds them too.
    """
    if not run.average.count:
        if run.average.points:
            LOGGER.warning(f"--average {run.options.run.average}: nothing was averaged, the run ended before it began")
        return
    model = copy.deepcopy(run.ema.model)
    model.load_state_dict(run.average.mean)
    frozen = layers.frozen_norms(run.model, run.options.run, run.progress.epoch - 1)
    seen = estimate_statistics(model, pictures(run, run.epochs, stop_request), run.device, run.dtype, kept=frozen)
    metrics = evaluate(run, model)
    path = run.folder / "weights" / "average.pt"
    run.write({path: run.weights() | {"averaged": run.average.count, "ema": model.state_dict()}})
    what = f"average of {counted(run.average.count, 'state')}, statistics of {counted(seen, 'picture')}"
    LOGGER.info(f"{what}: mAP50 {metrics.map50:.4f}  mAP50-95 {metrics.map:.4f}  weights/average.pt")
