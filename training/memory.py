"""Running out of memory: back to the last step, and on from there with smaller parts of each batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training.session import Session
from utils.errors import UserError
from utils.memory import halved

REMEDY = "give a smaller --imgsz, --cfg or --batch-size"


@contextmanager
def halve_on_out_of_memory(run: Session) -> Iterator[None]:
    """Train inside. Where memory runs out, the run is back at its last step at the exit, to be trained on from there.

    Each batch then passes in parts of half the size, whose gradients add up to the batch's: only BatchNorm, which sees
    the parts, makes a difference. Raises UserError where a part is one picture already, and where memory ran out while
    the weights were changing.
    """
    run.last_step.keep(run)
    try:
        yield
        return
    except torch.OutOfMemoryError as error:
        run.ranks.report(error)
        where = f"out of memory in step {run.progress.step}"
        if not run.last_step.whole:
            raise UserError(f"{where}, while the weights changed; {run.last_good()}; {REMEDY}") from error
        error.__traceback__ = None  # contextlib's own frame is in it: a circle, which would hold what did not fit
    run.last_step.go_back(run)
    run.progress.at_once = halved(run.at_once, where, REMEDY)
