"""A model in three lines of Python: `model = load("best.pt"); results = model("a.jpg"); results.show()`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from data.letterbox import batch_shape, letterbox, undo
from data.store import fitted
from exporters import ExportedDetector, is_exported, open_exported
from models import Detector
from models.load import Ensemble, load_ensemble
from predict.inputs import pictures_of
from predict.results import Results
from utils import device as devices
from utils.errors import UserError, nearest
from utils.nms import non_max_suppression

PAD = 0.5  # strides of grey around a picture, as in validation


def load(weights: str | Path | Sequence[str | Path], device: torch.device | str | None = None) -> Model:
    """The model of a checkpoint, of several as one ensemble, or of an exported file, on the GPU where there is one.

    UserError where a file is missing or is not what it says.
    """
    paths = [weights] if isinstance(weights, str | Path) else list(weights)
    device = default_device(device)
    if len(paths) == 1 and is_exported(paths[0]):
        exported = open_exported(paths[0], device)
        return Model(ExportedDetector(exported), exported.names, exported.size)
    network, state = load_ensemble(paths, device)
    return Model(network, network.names, state.get("imgsz") or 640)


def default_device(device: torch.device | str | None) -> torch.device:
    """The device asked for; where none is, the GPU or else the CPU."""
    if device is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    return device if isinstance(device, torch.device) else devices.select_device(device)


class Model:
    """Call it with pictures, as `predict.inputs` lists them. Attributes, to be set at any time:

    conf: lowest score that counts. iou: overlap from which the lesser box is dropped. classes: numbers or names of the
    classes to keep, None for all. max_det: most boxes a picture. agnostic: a box may drop one of another class.
    """

    def __init__(
        self, network: Detector | Ensemble | ExportedDetector, names: Sequence[str], size: int | tuple[int, int]
    ) -> None:
        self.network, self.names, self.size = network, tuple(names), size
        self.device = next(network.parameters()).device
        self.conf, self.iou, self.max_det = 0.25, 0.45, 1000
        self.classes: Sequence[int | str] | int | str | None = None
        self.agnostic = False

    def __call__(self, source: Any, size: int | None = None, batch_size: int = 8) -> Results:
        """The boxes of pictures of any sizes. `size`: pixels of the longer side (default: as it was trained).

        UserError for what is no picture.
        """
        clock = time.perf_counter()
        pictures, files = pictures_of(source)
        times = {"load": time.perf_counter() - clock, "inference": 0.0, "NMS": 0.0}
        layouts = [self._layout(picture.shape[:2], size) for picture in pictures]
        found: dict[int, Tensor] = {}
        order = sorted(range(len(pictures)), key=lambda i: layouts[i])
        while order:
            shape = layouts[order[0]][0]
            same = [i for i in order[:batch_size] if layouts[i][0] == shape]
            resized = [_resized(pictures[i], *layouts[i][1]) for i in same]
            rows = self._boxes(resized, [pictures[i].shape[:2] for i in same], shape, times)
            found |= dict(zip(same, rows, strict=True))
            order = order[len(same) :]
        milliseconds = {part: 1000 * seconds / max(len(pictures), 1) for part, seconds in times.items()}
        return Results(pictures, [found[i] for i in range(len(pictures))], self.names, files, milliseconds)

    def _layout(self, picture: tuple[int, int], size: int | None) -> tuple[tuple[int, int], tuple[int, int]]:
        """Height and width of the tensor that a picture is laid into, and those it is resized to."""
        exported = getattr(self.network, "exported", None)
        if exported is not None and not exported.dynamic:
            inside = exported.size
            if size is not None and (size, size) != inside:
                raise UserError(f"{exported.path}: takes {inside[0]} x {inside[1]} pixels alone; leave size out")
            gain = min(inside[0] / picture[0], inside[1] / picture[1])
            return inside, (max(1, round(picture[0] * gain)), max(1, round(picture[1] * gain)))
        stride = int(self.network.stride.max())
        resized = fitted(*picture, self._side(size))
        return batch_shape(np.array([resized]), stride, PAD), resized

    def _side(self, size: int | None) -> int:
        return size or (self.size if isinstance(self.size, int) else max(self.size))

    @torch.inference_mode()
    def _boxes(
        self,
        resized: Sequence[np.ndarray],
        originals: Sequence[tuple[int, int]],
        shape: tuple[int, int],
        times: dict[str, float],
    ) -> list[Tensor]:
        """The boxes of pictures that go into one batch of `shape`, in the originals' pixels; `times` grows."""
        clock = time.perf_counter()
        images = np.empty((len(resized), 3, *shape), np.uint8)
        boxes = [letterbox(*each) for each in zip(resized, originals, images, strict=True)]
        batch = devices.normalised(torch.from_numpy(images).to(self.device), torch.float32)
        times["load"] += time.perf_counter() - clock
        clock = time.perf_counter()
        decoded = self.network(batch)[0]
        times["inference"] += time.perf_counter() - clock
        clock = time.perf_counter()
        options = {"agnostic": self.agnostic, "max_det": self.max_det, "classes": self._wanted()}
        rows = non_max_suppression(decoded, self.conf, self.iou, **options)
        times["NMS"] += time.perf_counter() - clock
        return [each.cpu() for each in undo(rows, boxes)]

    def _wanted(self) -> list[int] | None:
        """The numbers of the classes to keep. UserError for one that the model does not have."""
        if self.classes is None:
            return None
        asked = [self.classes] if isinstance(self.classes, int | str) else self.classes
        numbers = []
        for each in asked:
            if each in self.names:
                each = self.names.index(each)
            if not isinstance(each, int) or not 0 <= each < len(self.names):
                raise UserError(f"class {each!r} is unknown; {nearest(str(each), self.names)}")
            numbers.append(each)
        return numbers


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = max(height, width) < max(picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
