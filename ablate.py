"""Compare policies, optimizers, any option, by repeated runs: `python ablate.py --lr-policy linear,sgdr --seeds 3`.

Reads top to bottom: main, execute.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from utils.console.signals import begin_imports, end_imports

if __name__ == "__main__":
    begin_imports()

import ablation.report
from ablation import estimate, hparams, options, runner, study, tables
from ablation.progress import Screen
from ablation.ray_pool import RayWorkerPool
from ablation.study import Study
from ablation.view import FAILED, FINISHED
from ablation.worker_pool import LocalWorkerPool
from utils.console import log
from utils.console.signals import StopRequest
from utils.console.wording import command, counted
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 where runs failed, 2 for a mistake, 128 + signal."""
    log.setup()
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if argv[:1] == ["report"]:
            return report(argv[1:])
        asked = options.parse(argv)
        command = "" if asked.resume else shlex.join(["python", "ablate.py", *argv])
        planned = study.plan(asked.definition, asked.folder, command)
        if asked.study.dry_run:
            return estimate.print_estimate(planned, asked.device, asked.study)
        planned.look_at_data()
        workers = pool(asked, planned)
        with study.hold(planned.folder) as held, StopRequest() as stop_request:
            planned.save()
            workers.keep(held)
            return execute(planned, workers, stop_request, asked.study.retry_failed)
    except UserError as error:
        LOGGER.error(str(error))
        return 2
    except OSError as error:  # a folder that cannot be made, a full disk
        what = error.filename or "the study"
        LOGGER.error(f"{what}: {error.strerror or error}; make room or choose another --project")
        return 1
    except KeyboardInterrupt:
        LOGGER.warning("stopped before the first run; nothing was started")
        return 130


def pool(asked: options.Asked, planned: Study) -> runner.WorkerPool:
    """The workers: on this machine, or on a Ray cluster. Raises UserError."""
    demand = asked.study.demand(asked.device)
    if asked.study.ray:
        return RayWorkerPool(asked.study.ray, demand, planned.folder, planned.data)
    return LocalWorkerPool(demand, planned.folder / "workers.log")


def execute(planned: Study, workers: runner.WorkerPool, stop_request: StopRequest, retry_failed: bool) -> int:
    """Do what is left of the study, then write its tables and report, finished or not. Returns the exit code."""
    todo = runner.runs_left(planned, retry_failed)
    LOGGER.info(f"{planned.folder}: {counted(len(planned.cells), 'run')}, {len(todo)} to do, {workers.size} at once")
    try:
        runner.StudyRunner(planned, workers, Screen(planned), stop_request, todo).run()
    finally:
        workers.close()
    states = summarise(planned)
    if stop_request.stop:
        LOGGER.warning(f"stopped; continue with: {command('ablate.py', '--resume', planned.folder)}")
        return 128 + stop_request.stop
    if states[FAILED]:
        what = f"{states[FAILED]} of {counted(len(planned.cells), 'run')} failed"
        LOGGER.warning(f"{what}; try again with --retry-failed")
    undone = len(planned.cells) - states[FAILED] - states[FINISHED]
    if undone:
        left = f"{undone} of {counted(len(planned.cells), 'run')} {'is' if undone == 1 else 'are'} left"
        LOGGER.warning(f"{left}; continue with: {command('ablate.py', '--resume', planned.folder)}")
    return 1 if states[FAILED] or undone else 0


def summarise(planned: Study) -> Counter[str]:
    """Write tables, hyper-parameters for TensorBoard and the report. Returns how many runs stand how."""
    tables.write(planned)
    view = planned.view()
    hparams.write(view)
    ablation.report.write(view)
    LOGGER.info(f"tables and report are in {planned.folder}; curves: tensorboard --logdir {planned.folder}")
    return Counter(run.status for run in view.runs)


def report(words: Sequence[str]) -> int:
    """`ablate.py report STUDY`: the tables and the report anew, of what the runs' folders hold now."""
    if len(words) != 1 or words[0].startswith("-"):
        raise UserError("report: give the folder of one study, such as: python ablate.py report runs/ablate/exp")
    summarise(study.opened(Path(words[0])))
    return 0


if __name__ == "__main__":
    end_imports()
    sys.exit(main())
