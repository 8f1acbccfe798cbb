"""Everything random about sample `i` of epoch `e`: a pure function of (seed, e, i), drawn before any pixel is read.

A run's plans have one shape, so that they stack into a batch of arrays: `LAYERS` pictures to blend (the second is empty
without mixup), each of `TILES` tiles, or `NINE` where mosaics of nine may occur (all but the first are empty without
mosaic). Lengths are fractions of the output, so that one plan serves every output size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from utils.errors import UserError

LAYERS, TILES, NINE = 2, 4, 9
_WORD = 2**64 - 1
_ORDER, _PLAN, _SIZE, _BATCHES = range(4)  # independent streams of one (seed, epoch)
_COLUMNS, _SHARED = 24, 8  # draws of each layer, and of the whole picture
_SOURCES = [0, 1, 2, 3, 19, 20, 21, 22, 23]  # columns of a layer's draws
_CELLS = np.array([8, 4, 5, 6, 7, 9, 10, 11, 12])  # the middle one first
_LIMITS = {"degrees": 180.0, "shear": 60.0, "perspective": 0.001}  # the others end at 1


@dataclass(frozen=True)
class Augment:
    """Hyper-parameters of the augmentation, under their YOLOv5 names. Zero switches a transform off.

    `hsv_*`: half-width of a gain about 1. `degrees`, `shear`: largest angle either way, degrees. `translate`: largest
    shift, fraction of the output. `scale`: half-width of a factor about 1. `perspective`: largest coefficient, 1/pixel.
    `flipud`, `fliplr`, `mosaic`, `mixup`: probabilities. `mosaic9`: probability that a mosaic is of nine pictures
    instead of four. A value out of range is a UserError.
    """

    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1
    scale: float = 0.5
    shear: float = 0.0
    perspective: float = 0.0
    flipud: float = 0.0
    fliplr: float = 0.5
    mosaic: float = 1.0
    mosaic9: float = 0.0
    mixup: float = 0.0
    copy_paste: float = 0.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value, limit = getattr(self, name), _LIMITS.get(name, 1.0)
            if not 0 <= value <= limit:
                raise UserError(f"hyper-parameter {name}={value} is out of range; give a value from 0 to {limit:g}")
        if self.scale == 1:
            raise UserError("hyper-parameter scale=1 would shrink pictures to nothing; give a value below 1")
        if self.copy_paste:
            raise UserError("hyper-parameter copy_paste needs polygons, and labels here are boxes; set it to 0")


@dataclass(frozen=True)
class Plan:
    """What to draw into one output picture, or, with a leading batch axis on every field, into several.

    Attributes:
        sources: (LAYERS, T) int64 picture numbers, -1 where there is no tile; [0, 0] is the sample's own picture.
        quadrants: (LAYERS, T) int64: 0 to 3 = top left, top right, bottom left, bottom right of the mosaic's centre;
            4 to 12 = the cells of a mosaic of nine, row by row, where the first tile has the middle one, 8;
            -1 = the picture alone, centred, or no tile.
        centre: (LAYERS, 2) mosaic centre x, y (of nine: the middle cell's), in outputs, on a canvas of two by two.
        angle: (LAYERS,) rotation, radians.
        scale: (LAYERS,) factor.
        shear: (LAYERS, 2) angles x, y, radians.
        perspective: (LAYERS, 2) coefficients x, y, 1/pixel.
        shift: (LAYERS, 2) where the canvas's centre goes, x, y, in outputs.
        flip: (2,) bool: left-right, up-down.
        hsv: (3,) gains of hue, saturation and value.
        ratio: () weight of the first layer; 1 without mixup.
    """

    sources: np.ndarray
    quadrants: np.ndarray
    centre: np.ndarray
    angle: np.ndarray
    scale: np.ndarray
    shear: np.ndarray
    perspective: np.ndarray
    shift: np.ndarray
    flip: np.ndarray
    hsv: np.ndarray
    ratio: np.ndarray


def stack(plans: list[Plan]) -> Plan:
    """One plan whose fields have a leading axis of length `len(plans)`."""
    return Plan(**{f.name: np.stack([getattr(plan, f.name) for plan in plans]) for f in fields(Plan)})


def cut(plan: Plan, part: slice) -> Plan:
    """Some of the plans of a stack, stacked."""
    return Plan(**{f.name: getattr(plan, f.name)[part] for f in fields(Plan)})


def _generator(seed: int, epoch: int, stream: int, i: int = 0) -> np.random.Generator:
    """Counter-based, so that any sample's draws are found without making the draws before it."""
    key = np.array([seed & _WORD, epoch & _WORD], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, i, stream, 0], dtype=np.uint64)))


def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The epoch's permutation of the `n` pictures: (n,) int64."""
    return _generator(seed, epoch, _ORDER).permutation(n)


def rectangle_order(seed: int, epoch: int, aspect: np.ndarray, batch: int) -> np.ndarray:
    """A permutation (n,) whose runs of `batch` have like aspect ratios; the runs are shuffled, a short one comes last.

    `aspect`: (n,) height over width.
    """
    n = len(aspect)
    shuffled = order(seed, epoch, n)
    ranked = shuffled[np.argsort(aspect[shuffled], kind="stable")]
    rng = _generator(seed, epoch, _BATCHES)
    full, rest = divmod(n, batch)
    cut = int(rng.integers(full + 1)) * batch  # the short run is not always the tallest pictures
    short, ranked = ranked[cut : cut + rest], np.delete(ranked, slice(cut, cut + rest))
    return np.concatenate((ranked.reshape(full, batch)[rng.permutation(full)].ravel(), short))


def batch_size_px(seed: int, epoch: int, batch: int, size: int, stride: int = 32) -> int:
    """Side of a multi-scale batch in pixels: a multiple of `stride`, uniform from 0.5 to 1.5 `size`.

    One stride only where `size` is no more: a lone picture of that side has one place, which BatchNorm cannot train on.
    """
    low, high = max(min(2, size // stride), math.ceil(0.5 * size / stride), 1), math.floor(1.5 * size / stride)
    return stride * int(_generator(seed, epoch, _SIZE, batch).integers(low, max(low, high) + 1))


def plan(seed: int, epoch: int, i: int, n: int, augment: Augment, first: int | None = None) -> Plan:
    """The plan of sample `i` of `epoch`, over `n` pictures.

    `first` is the sample's own picture, `order(seed, epoch, n)[i]` where it is not given (a loader looks it up once an
    epoch). All draws are always made, in one order, so that no hyper-parameter changes what another one draws.
    """
    found = plans(seed, epoch, (i,), n, augment, order(seed, epoch, n)[i] if first is None else first)
    return Plan(**{f.name: getattr(found, f.name)[0] for f in fields(Plan)})


def plans(seed: int, epoch: int, samples: Sequence[int], n: int, augment: Augment, first: np.ndarray | int) -> Plan:
    """The plans of several samples, stacked: each as `plan` has it. `first`: (B,) the samples' own pictures."""
    uniform, ratio = _draws(seed, epoch, samples)
    unit = uniform[:, : LAYERS * _COLUMNS].reshape(-1, LAYERS, _COLUMNS)
    shared = uniform[:, LAYERS * _COLUMNS :]
    either = 2 * unit - 1

    sources = np.minimum((unit[..., _SOURCES if augment.mosaic9 else slice(4)] * n).astype(np.int64), n - 1)
    sources[:, 0, 0] = first
    quadrants = np.argsort(unit[..., 4:8], axis=-1)
    if augment.mosaic9:
        nine = shared[:, 6:8, None] < augment.mosaic9
        sources[..., TILES:][~nine[..., 0]] = -1
        four = np.full((len(unit), LAYERS, NINE), -1)
        four[..., :TILES] = quadrants
        quadrants = np.where(nine, _CELLS, four)
    alone = unit[..., 8] >= augment.mosaic
    sources[alone, 1:] = quadrants[alone] = -1
    mixed = shared[:, 0] < augment.mixup
    sources[~mixed, 1] = -1
    return Plan(
        sources=sources,
        quadrants=quadrants,
        centre=0.5 + unit[..., 9:11],
        angle=np.radians(either[..., 11] * augment.degrees),
        scale=1 + either[..., 12] * augment.scale,
        shear=np.radians(either[..., 13:15] * augment.shear),
        perspective=either[..., 15:17] * augment.perspective,
        shift=0.5 + either[..., 17:19] * augment.translate,
        flip=shared[:, 1:3] < (augment.fliplr, augment.flipud),
        hsv=1 + (2 * shared[:, 3:6] - 1) * (augment.hsv_h, augment.hsv_s, augment.hsv_v),
        ratio=np.where(mixed, ratio, 1.0),
    )


def _draws(seed: int, epoch: int, samples: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The draws of each sample: (B, LAYERS _COLUMNS + _SHARED) uniform ones, and (B,) weights of a first layer.

    One generator is set to each sample's place in turn: to make another takes ten times as long.
    """
    generator = _generator(seed, epoch, _PLAN)
    state = generator.bit_generator.state
    uniform, ratio = np.empty((len(samples), LAYERS * _COLUMNS + _SHARED)), np.empty(len(samples))
    for place, sample in enumerate(samples):
        state["state"]["counter"][1] = sample
        generator.bit_generator.state = state
        generator.random(out=uniform[place])
        ratio[place] = generator.beta(32.0, 32.0)  # last: it takes a varying number of draws
    return uniform, ratio
