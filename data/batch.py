"""What flows from the loaders into the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from data.letterbox import Letterbox


@dataclass(frozen=True)
class Part:
    """Of what a batch is a part: a batch of so many `pictures` with these `targets`. `last`: no other part follows."""

    pictures: int
    targets: Tensor
    last: bool


@dataclass
class Batch:
    """Pictures and their labels.

    Attributes:
        images: (B, 3, H, W) uint8 RGB.
        targets: (N, 6) float32: place in the batch, class, cx, cy, w, h normalised to (H, W).
        indices: (B,) int64: the pictures' numbers in the index; of a mosaic, its first tile's.
        letterbox: validation only: how each picture lies in its tensor.
        part: what this is a part of; None for a whole batch.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor
    letterbox: list[Letterbox] | None = None
    part: Part | None = None

    def __len__(self) -> int:
        """Pictures."""
        return len(self.images)

    @property
    def whole(self) -> tuple[int, Tensor] | None:
        """Pictures and targets of the batch that this is a part of."""
        return None if self.part is None else (self.part.pictures, self.part.targets)

    def parts(self, size: int) -> list[Batch]:
        """The batch in parts of at most `size` pictures; itself where it is no larger.

        A part has as many rows of targets as the batch, those of other parts as padding (place -1): choosing among
        them would wait for the device.
        """
        if len(self) <= size:
            return [self]
        starts = range(0, len(self), size)
        return [self._part(slice(at, at + size), at == starts[-1]) for at in starts]

    def _part(self, cut: slice, last: bool) -> Batch:
        place = self.targets[:, :1] - cut.start
        inside = (place >= 0) & (place < cut.stop - cut.start)
        targets = torch.cat((torch.where(inside, place, -1), self.targets[:, 1:]), 1)
        letterbox = None if self.letterbox is None else self.letterbox[cut]
        return Batch(self.images[cut], targets, self.indices[cut], letterbox, Part(len(self), self.targets, last))

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The batch with its tensors on `device`."""
        move = partial(Tensor.to, device=device, non_blocking=non_blocking)
        return replace(self, images=move(self.images), targets=move(self.targets), indices=move(self.indices))


def targets_of(labels: Sequence[np.ndarray]) -> Tensor:
    """Per-picture labels (k, 5) to one (N, 6) tensor whose first column is the picture's place in the batch."""
    places = np.repeat(np.arange(len(labels)), np.array([len(label) for label in labels], dtype=np.int64))
    return targets_at(places, np.concatenate(labels) if labels else np.zeros((0, 5), np.float32))


def targets_at(places: np.ndarray, rows: np.ndarray) -> Tensor:
    """Rows (k, 5) and their places in the batch (k,) to (k, 6)."""
    return torch.from_numpy(np.concatenate((places[:, None], rows), 1, dtype=np.float32))
