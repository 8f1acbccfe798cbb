"""What is said, and which exit code it is, where something ends a run before its time."""

from __future__ import annotations

import logging
import signal

import torch

from training.session import Session
from utils.console.signals import Interrupted
from utils.console.wording import command
from utils.errors import UserError
from utils.ranks import ALONE, AnotherRankLeft, RankLost, Ranks

LOGGER = logging.getLogger("anneal")
OUT_OF_MEMORY = "out of memory; give a smaller --imgsz, --batch-size or --cfg, or --cache ram"
CAUSES = (UserError, OSError, torch.OutOfMemoryError, KeyboardInterrupt, Interrupted)


def exit_code_for(error: BaseException, run: Session | None, resume: str, ranks: Ranks = ALONE) -> int:
    """One line on one of `CAUSES`, with how to go on. `run`: None before it has its folder; `resume`: that option.

    Returns the exit code: 1 where disk, memory or another process refused, 2 for a mistake, 128 + signal.
    """
    level, line, code = _line(error, run, resume)
    if ranks.tells:
        LOGGER.log(level, line)
    return code


def _line(error: BaseException, run: Session | None, resume: str) -> tuple[int, str, int]:
    """How serious it is, what to say, and the exit code."""
    begun = run is not None and run.last.is_file()
    again = f"continue with: {command('train.py', '--resume', run.last)}" if begun else ""
    if isinstance(error, Interrupted):
        line = f"stopped by {error}; continue with: {command('train.py', '--resume', run.last)}"
        return logging.WARNING, line, 128 + error.signum
    if isinstance(error, KeyboardInterrupt):  # while the run had not taken over the signals
        nothing = "before the first step; " + ("the same command resumes" if resume else "nothing to resume")
        line = f"stopped; {again}" if begun else f"stopped {nothing}"
        return logging.WARNING, line, 128 + (error.args or (signal.SIGINT,))[0]
    if isinstance(error, RankLost | AnotherRankLeft):
        return logging.ERROR, f"{error}; {again or 'give the same line again'}", 1
    if isinstance(error, UserError):
        return logging.ERROR, str(error), 2
    if isinstance(error, torch.OutOfMemoryError):
        resumes = f"out of memory; {again or 'give the same line again,'} with a smaller --batch-size, or --cache ram"
        return logging.ERROR, resumes if begun or resume else OUT_OF_MEMORY, 1
    what = f"{getattr(error, 'filename', None) or 'the run'}: {getattr(error, 'strerror', None) or error}"
    if run is None and not resume:
        return logging.ERROR, f"{what}; make room or choose another --project", 1
    return logging.ERROR, f"{what}; once that is fixed, {again or 'give the same line again'}", 1
