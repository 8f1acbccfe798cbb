"""Train a detector: `python train.py --data mask.yaml --lr-policy sgdr`.

Reads top to bottom: main, fit, train_one_epoch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from utils.console.signals import begin_imports, end_imports

if __name__ == "__main__":
    begin_imports()

from data.shared import Shared
from training import exit_codes, folder, launch, options, start
from training.memory import halve_on_out_of_memory
from training.report import NoReport, Report, pass_on_warnings
from training.session import Session
from training.trunk import is_trunk_end, keep_trunk
from training.validate import close_cycle, finish, validate
from utils.console import log
from utils.console.signals import StopRequest, sigterm_as_interrupt
from utils.metrics import Metrics
from utils.ranks import ALONE

LOGGER = logging.getLogger("anneal")


def main(argv: Sequence[str] | None = None, shared: Shared | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 when disk or memory refused, 2 for a mistake, 128 + signal.

    `shared` holds the data that earlier runs of this process read.
    """
    log.setup()
    resume, run, ranks = "", None, ALONE
    try:
        asked, _ = options.parse(argv, "train.py", "Train a detector; see README.md.")
        if count := launch.processes(asked.run):
            return launch.launch(count, argv)
        with sigterm_as_interrupt(), launch.ranks_of(asked) as ranks:
            resume = asked.run.resume
            run = start.resume(asked, shared, ranks) if resume else start.new(asked, shared, ranks)
            with (
                folder.take(run.folder, not resume, ranks),
                StopRequest(ranks.world > 1) as stop,
                run.saver.writer,
            ):
                fit(run, stop)
        for error in run.saver.errors.values():
            LOGGER.error(error)
        return 1 if run.saver.errors else 0
    except exit_codes.CAUSES as error:
        return exit_codes.exit_code_for(error, run, resume, ranks)


def fit(run: Session, stop_request: StopRequest) -> Metrics | None:
    """Train every epoch that is left, keeping the best weights, and validate those at the end."""
    report = Report(run) if run.ranks.first else NoReport()
    report.start()
    run.ranks.begin_training()
    with report:
        while not run.is_over():
            while not run.epoch_is_complete():
                with halve_on_out_of_memory(run):
                    train_one_epoch(run, report, stop_request)
            metrics = validate(run, stop_request)
            report.epoch(metrics)
            run.end_epoch(metrics)
            pass_on_warnings(run)
            run.handle_stop_request(stop_request)
    if run.progress.epoch < run.epochs:
        LOGGER.info(f"stopped early: no better epoch in the last {run.options.run.patience} (--patience)")
    metrics = finish(run, report, stop_request)
    report.hints(metrics)
    LOGGER.info(f"weights, tables and pictures are in {run.folder}")
    return metrics


def train_one_epoch(run: Session, report: Report | NoReport, stop_request: StopRequest) -> None:
    """From where the epoch stands to its end: the gradient of every batch, and a step for every full group of them."""
    run.begin_epoch()
    batches = run.data.train.epoch(run.progress.epoch, start=run.progress.batch)
    for batch in report.watch(batches):
        batch = batch.to(run.device, non_blocking=True)
        for part in run.parts_of(batch):
            run.count(run.gradient(part), part)
        run.close_batch(batch)
        if run.group_is_complete():
            run.step()
            report.step()
            if run.is_cycle_end():
                close_cycle(run, report)
            if is_trunk_end(run):
                keep_trunk(run)
            run.handle_stop_request(stop_request, save=run.save_is_due())


if __name__ == "__main__":
    end_imports()
    sys.exit(main())
