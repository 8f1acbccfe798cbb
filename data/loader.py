"""Loaders for training and validation: which pictures make a batch, in which order and at which size."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np

from data.batch import Batch
from data.dealing import ALL, Dealing
from data.device import DeviceBatches
from data.host import HostBatches
from data.letterbox import batch_shape
from data.pixels import Pixels
from data.plan import Augment, Plan, batch_size_px, order, plan, plans, rectangle_order
from data.request import Labelled, Request, Shares, Store


def maker(index: Labelled, store: Store | Pixels, workers: int) -> HostBatches | DeviceBatches:
    """What draws the pictures of `store`: threads on the host, or the device it keeps them on or sends them to."""
    kind = DeviceBatches if isinstance(store, Pixels) else HostBatches
    return kind(index, store, workers)


class TrainLoader:
    """Augmented batches; what a batch holds is a pure function of (seed, epoch, batch).

    Args:
        index, store: the pictures' labels and their pixels; `open_store` decides where those are and who draws them.
        augment: the hyper-parameters.
        closed_from: the epoch, counted from 0, from which on there is no mosaic and no mixup; None = there is no such.
        batch_size: pictures a batch, of all processes together.
        size: side of the output in pixels.
        workers: threads; 0 prepares pictures in the caller's.
        dealing: which pictures of each batch are drawn here, see `Batch.dealt`. All processes make equally many
            batches; a last one may be short, or, for some of them, empty.
        multi_scale: draw each batch's side from 0.5 to 1.5 `size`.
        rect: batches of like aspect ratio in rectangles instead of squares; no mosaic.
        stride: what sides are multiples of where `multi_scale` or `rect` choose them.
    """

    def __init__(
        self,
        index: Labelled,
        store: Store | Pixels,
        *,
        augment: Augment,
        batch_size: int,
        size: int,
        seed: int,
        closed_from: int | None = None,
        workers: int = 2,
        dealing: Dealing = ALL,
        multi_scale: bool = False,
        rect: bool = False,
        stride: int = 32,
    ) -> None:
        self.index, self.store = index, store
        self.augment = replace(augment, mosaic=0.0) if rect else augment
        self.closed_from = closed_from
        self.batch_size, self.size, self.seed = batch_size, size, seed
        self.dealing, self.stride = dealing, stride
        self.multi_scale, self.rect = multi_scale, rect
        self.batches = maker(index, store, workers)

    def __len__(self) -> int:
        """Batches an epoch."""
        return math.ceil(len(self.index) / self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start`."""
        first = self._order(epoch)
        return self.batches.make(self._request(epoch, b, first) for b in range(start, len(self)))

    def undealt(self) -> TrainLoader:
        """The same batches, drawn here as a whole."""
        whole = copy.copy(self)
        whole.dealing = ALL
        return whole

    def augment_of(self, epoch: int) -> Augment:
        """The hyper-parameters of one epoch."""
        closed = self.closed_from is not None and epoch >= self.closed_from
        return replace(self.augment, mosaic=0.0, mosaic9=0.0, mixup=0.0) if closed else self.augment

    def _order(self, epoch: int) -> np.ndarray:
        if not self.rect:
            return order(self.seed, epoch, len(self.index))
        aspect = self.index.shapes[:, 0] / self.index.shapes[:, 1]
        return rectangle_order(self.seed, epoch, aspect, self.batch_size)

    def _request(self, epoch: int, batch: int, first: np.ndarray) -> Request:
        size = batch_size_px(self.seed, epoch, batch, self.size, self.stride) if self.multi_scale else self.size
        begin = batch * self.batch_size
        everyone = range(begin, min(begin + self.batch_size, len(first)))
        height = width = size
        if self.rect:  # all processes' pictures count, so that their batches have one shape
            shapes = self.store.shapes[first[everyone.start : everyone.stop]]
            height, width = batch_shape(shapes * (size / shapes.max(1, keepdims=True)), self.stride, 0)
        own, others = self.dealing.own(everyone), self.dealing.others(everyone)
        samples = [*chain(*own, *others)]
        chosen, here = first[samples], sum(map(len, own))
        one, all_of_them = partial(self._plan, epoch, samples, chosen), partial(self._plans, epoch, samples, chosen)
        dealt = None
        if self.dealing.parts > 1:
            dealt = Shares(self.dealing.mine.start, tuple(map(len, own)), len(everyone) - here)
        return Request(chosen[:here], height, width, size, one, all_of_them, dealt)

    def _plan(self, epoch: int, samples: Sequence[int], chosen: np.ndarray, place: int) -> Plan:
        return plan(self.seed, epoch, samples[place], len(self.index), self.augment_of(epoch), int(chosen[place]))

    def _plans(self, epoch: int, samples: Sequence[int], chosen: np.ndarray) -> Plan:
        return plans(self.seed, epoch, samples, len(self.index), self.augment_of(epoch), chosen)


class ValLoader:
    """Letterboxed pictures in one fixed order.

    With `rect`, each picture lies in its own rectangle, sides rounded up to `stride` after adding `pad` strides, and a
    batch holds pictures of one shape: what is found on a picture does not depend on those beside it. Otherwise all are
    squares of `size`. `Batch.letterbox` leads back to the originals' pixels.
    """

    def __init__(
        self,
        index: Labelled,
        store: Store | Pixels,
        *,
        batch_size: int,
        size: int,
        stride: int = 32,
        pad: float = 0.5,
        rect: bool = True,
        workers: int = 2,
    ) -> None:
        self.index, self.store = index, store
        self.batch_size, self.size, self.stride, self.pad, self.rect = batch_size, size, stride, pad, rect
        self.batches = maker(index, store, workers)
        self._requests = [request for shape in self._by_shape().items() for request in self._split(*shape)]

    def dealt(self, rank: int, world: int) -> ValLoader:
        """Every `world`th of these batches, from batch `rank` on."""
        share = copy.copy(self)
        share._requests = self._requests[rank::world]
        return share

    @property
    def order(self) -> list[int]:
        """The pictures' numbers as the batches have them."""
        return [number for request in self._requests for number in request.indices.tolist()]

    def __len__(self) -> int:
        """Batches in all."""
        return len(self._requests)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches.make(iter(self._requests))

    def _by_shape(self) -> dict[tuple[int, int], list[int]]:
        """The pictures of each shape, from the widest to the highest."""
        if not self.rect:
            return {(self.size, self.size): list(range(len(self.index)))}
        shapes = [batch_shape(shape[None], self.stride, self.pad) for shape in self.store.shapes]
        ranked = sorted(set(shapes), key=lambda shape: shape[0] / shape[1])
        found: dict[tuple[int, int], list[int]] = {shape: [] for shape in ranked}
        for place, shape in enumerate(shapes):
            found[shape].append(place)
        return found

    def _split(self, shape: tuple[int, int], places: list[int]) -> list[Request]:
        starts = range(0, len(places), self.batch_size)
        parts = [np.array(places[at : at + self.batch_size], np.int64) for at in starts]
        return [Request(part, *shape, self.size) for part in parts]
