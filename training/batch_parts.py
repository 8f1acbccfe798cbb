"""A batch in parts, on one process or several: what each part adds, kept apart and put together in the parts' order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import torch
from torch import Tensor, nn

from data.batch import Batch
from data.dealing import Dealing, deal
from training.batch_statistics import BatchStatistics
from training.meter import LossMeter
from utils.ranks import Ranks


class Parts:
    """The gradients, loss terms and BatchNorm statistics of a step's parts, and what they come to.

    Whoever passes a part computes the same for it, and all is added up in the parts' order: N processes end with the
    bits of one that passes each batch in N parts.
    """

    def __init__(self, model: nn.Module, dealing: Dealing, ranks: Ranks) -> None:
        self.dealing, self.ranks = dealing, ranks
        self.owner = [rank for rank in range(ranks.world) for _ in deal(dealing.parts, rank, ranks.world).mine]
        self.parameters = list(model.parameters())
        length = sum(parameter.numel() for parameter in self.parameters)
        length = ceil(length / ranks.world) * ranks.world
        self.gradients = self.parameters[0].new_zeros((len(dealing.mine), length), requires_grad=False)
        self.terms = torch.zeros_like(self.gradients[:, :3])
        self.statistics = BatchStatistics(model)
        self.drop()

    def drop(self) -> None:
        """Forget what the step has so far."""
        self.gradients.zero_()
        self.terms.zero_()
        self.statistics.drop()
        self.passes: list[int] = []  # which part each pass is of, of all processes, as one alone would make them
        self.pictures = self.instances = 0

    @contextmanager
    def passing(self, batch: Batch) -> Iterator[None]:
        """Forward and backward of a part inside add to what that part has."""
        self._point_gradients_at(self.gradients[self._place(batch)])
        with self.statistics.of_a_pass():
            yield

    def count(self, terms: Tensor, part: Batch) -> None:
        """Add the loss terms (3,) of a part."""
        self.terms[self._place(part)] += terms * len(part)

    def close(self, batch: Batch, at_once: int) -> None:
        """A batch is done, of which each process made passes of at most `at_once` pictures."""
        places = range(batch.dealt.pictures)
        for part in range(self.dealing.parts):
            self.passes += [part] * ceil(len(places[part :: self.dealing.parts]) / at_once)
        self.pictures += batch.dealt.pictures
        self.instances += batch.instances

    @torch.no_grad()
    def put_together(self, meter: LossMeter, step: int) -> None:
        """Leave the sum of all parts' gradients in the parameters, fold the statistics, and count the terms.

        Raises what `Ranks.agree` raises, with nothing changed.
        """
        self.ranks.agree()
        counts = [self.owner.count(rank) for rank in range(self.ranks.world)]
        total = self.ranks.sum_rows(self.gradients, counts)
        meter.add_sums(self.ranks.rows(self.terms, counts).cumsum(0)[-1], self.pictures, self.instances, step)
        owners = [self.owner[part] for part in self.passes]
        counts = [owners.count(rank) for rank in range(self.ranks.world)]
        self.statistics.fold(self.ranks.rows(self.statistics.table(), counts)[_order(owners)])
        self.drop()
        self._point_gradients_at(total)

    def _place(self, batch: Batch) -> int:
        return batch.part.number - self.dealing.mine.start

    def _point_gradients_at(self, flat: Tensor) -> None:
        """Have each trainable parameter's gradient be its share of `flat`, in the parameter's own layout."""
        start = 0
        for parameter in self.parameters:
            if parameter.requires_grad:
                parameter.grad = flat.as_strided(parameter.shape, parameter.stride(), flat.storage_offset() + start)
            start += parameter.numel()


def _order(owners: list[int]) -> list[int]:
    """Where each pass is among all of them by rank, each rank's in its own order; `owners`: the passes' ranks."""
    by_rank = sorted(range(len(owners)), key=owners.__getitem__)  # stable
    return sorted(range(len(owners)), key=by_rank.__getitem__)
