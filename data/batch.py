"""What flows from the loaders into the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from data.letterbox import Letterbox
from data.request import Shares


@dataclass(frozen=True)
class Part:
    """Of what a batch is a part: of so many `pictures` with these `targets`; `number`: which part of a dealt batch."""

    pictures: int
    targets: Tensor
    number: int = 0


@dataclass(frozen=True)
class Dealt:
    """A batch that is dealt: here are parts `first`, `first + 1`, ... of these `sizes`, one behind the other.

    The whole has so many `pictures` and these `targets`, of which the first are those of the pictures here.
    """

    first: int
    sizes: tuple[int, ...]
    pictures: int
    targets: Tensor

    @classmethod
    def of(cls, shares: Shares | None, targets: Tensor) -> Dealt | None:
        """What a request's shares say, with the whole's targets; None for a batch that is not dealt."""
        if shares is None:
            return None
        return cls(shares.first, shares.sizes, sum(shares.sizes) + shares.elsewhere, targets)


@dataclass
class Batch:
    """Pictures and their labels.

    Attributes:
        images: (B, 3, H, W) uint8 RGB.
        targets: (N, 6) float32: place in the batch, class, cx, cy, w, h normalised to (H, W).
        indices: (B,) int64: the pictures' numbers in the index; of a mosaic, its first tile's.
        letterbox: validation only: how each picture lies in its tensor.
        part: what this is a part of; None for a whole batch.
        dealt: of a batch that is dealt among parts and processes: what is here, and the whole.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor
    letterbox: list[Letterbox] | None = None
    part: Part | None = None
    dealt: Dealt | None = None

    def __len__(self) -> int:
        """Pictures."""
        return len(self.images)

    @property
    def whole(self) -> tuple[int, Tensor] | None:
        """Pictures and targets of the batch that this is a part of."""
        return None if self.part is None else (self.part.pictures, self.part.targets)

    @property
    def instances(self) -> int:
        """Boxes, of the whole where this is dealt."""
        return len(self.targets if self.dealt is None else self.dealt.targets)

    def parts(self, size: int, least: int = 0) -> list[Batch]:
        """The batch in parts of at most `size` pictures; itself where it is no larger.

        A dealt batch comes in its own parts, each divided so; with empty ones behind them where these are fewer than
        `least`. A part has as many rows of targets as the batch, those of other parts as padding (place -1): choosing
        among them would wait for the device.
        """
        if self.dealt is None:
            if len(self) <= size:
                return [self]
            whole = Part(len(self), self.targets)
            return [self._part(slice(at, at + size), whole) for at in range(0, len(self), size)]
        found, start = [], 0
        for number, length in enumerate(self.dealt.sizes, self.dealt.first):
            whole, end = Part(self.dealt.pictures, self.dealt.targets, number), start + length
            found += [self._part(slice(at, min(at + size, end)), whole) for at in range(start, end, size)]
            start = end
        return found + [self._part(slice(start, start), whole)] * (least - len(found))

    def _part(self, cut: slice, whole: Part) -> Batch:
        place = self.targets[:, :1] - cut.start
        inside = (place >= 0) & (place < cut.stop - cut.start)
        targets = torch.cat((torch.where(inside, place, -1), self.targets[:, 1:]), 1)
        letterbox = None if self.letterbox is None else self.letterbox[cut]
        return Batch(self.images[cut], targets, self.indices[cut], letterbox, whole)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The batch with its tensors on `device`."""
        move = partial(Tensor.to, device=device, non_blocking=non_blocking)
        dealt = self.dealt and replace(self.dealt, targets=move(self.dealt.targets))
        moved = {"images": move(self.images), "targets": move(self.targets), "indices": move(self.indices)}
        return replace(self, **moved, dealt=dealt)


def targets_of(labels: Sequence[np.ndarray]) -> Tensor:
    """Per-picture labels (k, 5) to one (N, 6) tensor whose first column is the picture's place in the batch."""
    places = np.repeat(np.arange(len(labels)), np.array([len(label) for label in labels], dtype=np.int64))
    return targets_at(places, np.concatenate(labels) if labels else np.zeros((0, 5), np.float32))


def targets_at(places: np.ndarray, rows: np.ndarray) -> Tensor:
    """Rows (k, 5) and their places in the batch (k,) to (k, 6)."""
    return torch.from_numpy(np.concatenate((places[:, None], rows), 1, dtype=np.float32))
