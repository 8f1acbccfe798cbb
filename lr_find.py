"""Learning-rate range test: `python lr_find.py --data mask.yaml --cfg yolov5n`; the flags are those of train.py."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.console.signals import begin_imports, end_imports

if __name__ == "__main__":
    begin_imports()

from schedulers.range_test import RangeTest, plot_range_test, write_csv
from training import exit_codes, options, start
from training.options import Options
from training.range_test import find_rate
from utils.config import flag, option
from utils.console import log
from utils.errors import UserError
from utils.files.folders import numbered

LOGGER = logging.getLogger("anneal")
# what the printed lines set themselves, and what only this program knows
DROPPED = {"--lr0", "--lr-policy", "--scheduler", "--cos-lr", "--lr-arg", "--project", "--name"}
DROPPED |= {"--start", "--end", "--steps", "--mode"}
IDLE = {"resume", "force", "save_period", "save_steps"}


@dataclass
class FindOptions:
    """The range test."""

    start: float = option(1e-7, "first rate")
    end: float = option(10.0, "last rate")
    steps: int = option(100, "steps from the first rate to the last, 20 or more; a step is one batch")
    mode: str = option("exp", "how the rate rises", choices=("exp", "linear"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 without a suggestion, disk or memory, 2 for a mistake."""
    log.setup()
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        about = "Learning-rate range test; see docs/schedules.md."
        asked, (find,) = options.parse(argv, "lr_find.py", about, [FindOptions])
        idle = sorted(asked.given & IDLE)
        if idle:
            raise UserError(f"{flag(idle[0])} does nothing in a range test; leave it out")
        if "project" not in asked.given:
            asked.run.project = "runs/lr_find"
        asked.hyp.lr0 = None  # the test sets the rate
        asked.given.add("lr0")  # as in the lines it prints, so that the optimizer is theirs
        result = find_rate(start.prepare(asked), find.start, find.end, find.steps, find.mode)
        for line in [result.outcome, *suggestions(result, asked, argv)]:
            LOGGER.info(line)
        keep(result, numbered(asked.run.project, asked.run.name, asked.run.exist_ok))
    except KeyboardInterrupt:
        return 130
    except exit_codes.CAUSES as error:
        return exit_codes.exit_code_for(error, None, "")
    return 0 if result.max_lr is not None else 1


def keep(result: RangeTest, folder: Path) -> None:
    """Write the table and the picture. Raises OSError that names the folder."""
    try:
        write_csv(result, folder / "lr_find.csv")
        plot_range_test(result, folder / "lr_find.png")
    except OSError as error:  # that of a full disk names nothing
        raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
    LOGGER.info(f"curve: {folder / 'lr_find.png'}, numbers: {folder / 'lr_find.csv'}")


def suggestions(result: RangeTest, asked: Options, argv: Sequence[str]) -> list[str]:
    """Ready-to-run lines of train.py for onecycle, clr and sgdr, with the other flags as they were given."""
    if result.max_lr is None:
        return []
    kept = _without(argv, DROPPED)
    line = shlex.join(["python", "train.py", *kept])
    ramping = shlex.join(["python", "train.py", *_without(kept, {"--warmup-epochs", "--lrf"})])
    return [
        f"{ramping} --lr-policy onecycle --lr0 {result.max_lr:.3g}",
        f"{ramping} --lr-policy clr --lr0 {result.max_lr:.3g} --lr-arg base_lr={result.base_lr:.3g}",
        f"{line} --lr-policy sgdr --lr0 {result.steepest:.3g}",
    ]


def _without(argv: Sequence[str], flags: set[str]) -> list[str]:
    """The command line less some flags and their values."""
    kept, dropping = [], False
    for word in argv:
        if word.startswith("--"):
            dropping = word.split("=")[0].replace("_", "-") in flags
        if not dropping:
            kept.append(word)
    return kept


if __name__ == "__main__":
    end_imports()
    sys.exit(main())
