"""Pictures made for the tests, and a slow renderer to hold the fast one against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from data.device import DeviceBatches
from data.geometry import tile_matrices
from data.pixels import Resident
from data.plan import LAYERS, Augment, Plan, plan
from data.request import Request

STILL = Augment(
    hsv_h=0, hsv_s=0, hsv_v=0, degrees=0, translate=0, scale=0, shear=0, perspective=0, flipud=0, fliplr=0, mosaic=0
)


class Drawn(list):
    """A list of (h, w, 3) uint8 pictures with a store's interface."""

    @property
    def shapes(self) -> np.ndarray:
        return np.array([picture.shape[:2] for picture in self]).reshape(-1, 2)

    def shape(self, i: int) -> tuple[int, int]:
        return self[i].shape[:2]


class Broken(Drawn):
    """A store one of whose pictures cannot be read."""

    def __getitem__(self, i: int) -> np.ndarray:
        if i == 11:
            raise OSError("picture 11 is gone")
        return super().__getitem__(i)


@dataclass
class Labels:
    """What the loaders read of an index."""

    shapes: np.ndarray
    labels: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.shapes)


def smooth(height: int, width: int, seed: int) -> np.ndarray:
    """A picture that changes by a few levels a pixel, so that interpolation error stays small."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform((-0.06, -0.06, 0), (0.06, 0.06, 6), (3, 3))]
    return np.rint(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


def boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 5) labels inside their picture."""
    side = rng.uniform(0.02, 0.5, (count, 2))
    centre = side / 2 + rng.random((count, 2)) * (1 - side)
    return np.concatenate((rng.integers(0, 3, (count, 1)), centre, side), 1).astype(np.float32)


def collection(count: int, size: int, seed: int = 0) -> tuple[Labels, Drawn]:
    """Pictures of many shapes, longest side `size`, some without labels; their originals are twice as large."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(size // 3, size + 1, count)
    shapes = [(size, side) if tall else (side, size) for side, tall in zip(sides, rng.random(count) < 0.5, strict=True)]
    pictures = Drawn(smooth(h, w, k) for k, (h, w) in enumerate(shapes))
    labels = [boxes(k % 4, rng) for k in range(count)]
    return Labels(2 * np.array(shapes, dtype=np.int32), labels), pictures


def batched(
    plans: list[Plan],
    pictures: Drawn,
    labels: list[np.ndarray],
    height: int,
    width: int,
    size: int,
    device: str = "cpu",
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Plans drawn at once on a device: (B, 3, height, width) uint8, and each picture's labels (k, 5)."""
    pixels = Resident(pictures, torch.device(device), workers=1)
    index = Labels(np.ones((len(pictures), 2), np.int64), labels)
    numbers = np.array([what.sources[0, 0] for what in plans])
    (batch,) = DeviceBatches(index, pixels, 0).make([Request(numbers, height, width, size, plans.__getitem__)])
    targets = batch.targets.cpu().numpy()
    return batch.images.cpu().numpy(), [targets[targets[:, 0] == k, 1:] for k in range(len(plans))]


def plan_of(augment: Augment, i: int, n: int, seed: int = 0) -> Plan:
    """The `i`-th plan over `n` pictures; its own picture goes round, so that there is no end to them."""
    return plan(seed, 0, i, n, augment, first=i % n)


def slow_layers(what: Plan, pictures: Drawn, height: int, width: int, size: int) -> np.ndarray:
    """(LAYERS, height, width, 3) float: each output pixel's centre looked up in the tile that holds it, in float64."""
    sources = what.sources
    shapes = np.array([[pictures[s].shape[:2] if s >= 0 else (1, 1) for s in row] for row in sources])
    back = np.linalg.inv(tile_matrices(what, shapes, height, width, size))
    y, x = np.mgrid[:height, :width] + 0.5
    centres = np.stack((x, y, np.ones_like(x)), -1)
    layers = np.full((LAYERS, height, width, 3), 114.0)
    for at in np.ndindex(*sources.shape):
        if sources[at] < 0:
            continue
        picture = pictures[sources[at]].astype(np.float64)
        h, w = picture.shape[:2]
        found = centres @ back[at].T
        found = found[..., :2] / found[..., 2:]
        inside = ((found >= 0) & (found < (w, h))).all(-1)
        spot = (found[inside] - 0.5).clip(0, (w - 1, h - 1))
        low = np.minimum(np.floor(spot), (max(w - 2, 0), max(h - 2, 0))).astype(int)
        (fx, fy), (x0, y0) = (spot - low).T[..., None], low.T
        x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
        above = picture[y0, x0] * (1 - fx) + picture[y0, x1] * fx
        below = picture[y1, x0] * (1 - fx) + picture[y1, x1] * fx
        layers[at[0]][inside] = above * (1 - fy) + below * fy
    return layers
