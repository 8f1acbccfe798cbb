"""Running out of memory: back to the last step, and on from there with smaller parts of each batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from utils.errors import UserError
from utils.memory import halved

if TYPE_CHECKING:
    from training.session import Session

REMEDY = "give a smaller --imgsz, --cfg or --batch-size"


class LastStep:
    """The run as its last step left it, as far as the gradient of the next one changes it.

    That is: BatchNorm's statistics, the loss meter and the count of batches. `keep` is a copy of some hundred small
    tensors into memory of their own, in two multi-tensor operations; it waits for nothing.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        buffers = list(model.buffers())
        kinds = {buffer.dtype for buffer in buffers}  # a multi-tensor copy takes one dtype at a time
        self.live = [[b for b in buffers if b.dtype == kind] for kind in kinds]
        self.kept = [[torch.empty_like(b) for b in same] for same in self.live]
        self.whole = False

    @torch.no_grad()
    def keep(self, run: Session) -> None:
        """Remember the run as it is: between two steps, with no gradient."""
        for kept, live in zip(self.kept, self.live, strict=True):
            torch._foreach_copy_(kept, live)
        self.meter, self.place = copy.deepcopy(run.meter), replace(run.progress)
        self.whole = True

    def forget(self) -> None:
        """The weights are about to change: there is no going back until the next `keep`."""
        self.whole = False

    @torch.no_grad()
    def go_back(self, run: Session) -> None:
        """Drop the gradient, whose memory the copies may need, and put back what `keep` saw."""
        run.optimizer.zero_grad(set_to_none=True)
        self.put_statistics_back()
        run.meter, run.progress = copy.deepcopy(self.meter), replace(self.place)

    @torch.no_grad()
    def put_statistics_back(self) -> None:
        """BatchNorm's, as `keep` saw them."""
        for kept, live in zip(self.kept, self.live, strict=True):
            torch._foreach_copy_(live, kept)


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
        where = f"out of memory in step {run.progress.step}"
        if not run.last_step.whole:
            raise UserError(f"{where}, while the weights changed; {run.last_good()}; {REMEDY}") from error
        error.__traceback__ = None  # contextlib's own frame is in it: a circle, which would hold what did not fit
    run.last_step.go_back(run)
    run.progress.at_once = halved(run.at_once, where, REMEDY)
