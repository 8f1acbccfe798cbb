"""What a loader asks for, whoever draws it: by threads on the host, or at once on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from data.plan import Plan, stack

AHEAD = 2  # batches in the making while one is in use
T = TypeVar("T")


class Store(Protocol):
    """Pictures at the training size; `ImageStore` is one."""

    shapes: np.ndarray  # (N, 2) height and width of `store[i]`

    def __getitem__(self, i: int) -> np.ndarray: ...


class Labelled(Protocol):
    """What an `Index` gives: N paths, (N, 2) original shapes and N arrays (k, 5) of labels, and a digest of them."""

    files: Sequence[str]
    fingerprint: str
    shapes: np.ndarray
    labels: Sequence[np.ndarray]

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Shares:
    """How a dealt batch is shared out: here are parts `first`, `first + 1`, ... of these `sizes`, in this order.

    `elsewhere`: how many pictures other processes draw; the loss needs their labels too.
    """

    first: int
    sizes: tuple[int, ...]
    elsewhere: int


@dataclass(frozen=True)
class Request:
    """A batch to be made.

    Attributes:
        indices: (B,) int64 picture numbers; of a mosaic, its first tile's.
        height, width: of the batch, pixels.
        size: to what a source's longest side is resized before the plan's own scale, pixels.
        plan: place in the batch to its plan; None = pictures are letterboxed as they are. Places from B on are those of
            pictures drawn elsewhere.
        plans: the same for all places at once, stacked, where that is quicker.
        shares: of a batch that is dealt.
    """

    indices: np.ndarray
    height: int
    width: int
    size: int
    plan: Callable[[int], Plan] | None = None
    plans: Callable[[], Plan] | None = None
    shares: Shares | None = None

    @property
    def elsewhere(self) -> range:
        """Places of the pictures that are drawn elsewhere."""
        here = len(self.indices)
        return range(here, here + (self.shares.elsewhere if self.shares else 0))

    def stacked(self) -> Plan:
        """The plans of all places."""
        if self.plans:
            return self.plans()
        if self.plan is None:
            raise ValueError("a letterboxed batch has no plans")
        return stack([self.plan(place) for place in range(self.elsewhere.stop)])


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The same items, each drawn from its source while `count` of those before it are still to be taken."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.pop(0)
    yield from waiting
