"""BatchNorm's statistics of each forward pass apart, to be folded into the running ones in a given order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.sync_batchnorm import SyncBatchNorm2d


def _is_local(module: nn.Module) -> bool:
    """Whether it is a BatchNorm over the pictures of one pass."""
    return isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm2d)


class BatchStatistics:
    """The running statistics of a model's BatchNorms, S values in all, and what each forward pass adds to them.

    Attributes:
        passes: (S,) of each pass since the last fold: mean and unbiased variance of its pictures, norm by norm.
    """

    def __init__(self, model: nn.Module) -> None:
        self.norms = [module for module in model.modules() if _is_local(module)]
        self.buffers = [buffer for norm in self.norms for buffer in (norm.running_mean, norm.running_var)]
        self.sizes = [buffer.numel() for buffer in self.buffers]
        self.drop()

    def drop(self) -> None:
        """Forget the passes. The buffers are taken to be as the last step left them."""
        self.passes: list[Tensor] = []
        self.before: tuple[Tensor, list[Tensor]] | None = None  # running statistics, counts of batches

    @contextmanager
    def of_a_pass(self) -> Iterator[None]:
        """Keep the statistics of the one forward pass inside. The buffers hold them until `fold` or `drop`."""
        if not self.norms:
            yield
            return
        self._remember()
        momenta = [norm.momentum for norm in self.norms]
        try:
            for norm in self.norms:
                norm.momentum = 1.0  # the old value's share is then 0
            yield
        finally:
            for norm, momentum in zip(self.norms, momenta, strict=True):
                norm.momentum = momentum
        self.passes.append(self._flat())

    def table(self) -> Tensor:
        """The passes as (passes, S)."""
        return torch.stack(self.passes) if self.passes else self._flat()[None, :][:0]

    def fold(self, passes: Tensor) -> None:
        """Move the running statistics towards each row of `passes` (P, S) in turn, by each norm's momentum."""
        if not self.norms:
            return
        running, counts = self._remember()
        each = [norm.momentum for norm in self.norms for _ in range(2)]
        momentum = torch.cat([running.new_full((n,), m) for n, m in zip(self.sizes, each, strict=True)])
        for row in passes:
            running = torch.lerp(running, row, momentum)
        for buffer, values in zip(self.buffers, running.split(self.sizes), strict=True):
            buffer.copy_(values)
        for norm, count in zip(self.norms, counts, strict=True):
            if norm.training:  # a frozen one counts nothing
                norm.num_batches_tracked.copy_(count + len(passes))
        self.drop()

    def _remember(self) -> tuple[Tensor, list[Tensor]]:
        if self.before is None:
            self.before = self._flat(), [norm.num_batches_tracked.clone() for norm in self.norms]
        return self.before

    def _flat(self) -> Tensor:
        return torch.cat(self.buffers) if self.buffers else torch.zeros(0)
