"""The run as its last optimizer step left it, to go back to where memory runs out in the next one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from training.session import Session


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
        run.drop_gradient()
        self.put_statistics_back()
        run.meter, run.progress = copy.deepcopy(self.meter), replace(self.place)

    @torch.no_grad()
    def put_statistics_back(self) -> None:
        """BatchNorm's, as `keep` saw them."""
        for kept, live in zip(self.kept, self.live, strict=True):
            torch._foreach_copy_(live, kept)
