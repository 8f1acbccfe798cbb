"""A model in three lines of Python: `model = load("best.pt"); results = model("a.jpg"); results.show()`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.letterbox import Letterbox, batch_shape, letterbox, undo
from data.store import fitted, fitted_into, resized
from exporters import ExportedDetector, is_exported, open_exported
from exporters.metadata import MAX_SIDE
from models import Detector
from models.fused import FusedDetect, fuse
from models.load import Ensemble, load_ensemble
from predict.inputs import pictures_of
from predict.results import Results
from utils import device as devices
from utils.errors import UserError, nearest
from utils.memory import InParts, MemoryErrors
from utils.nms import non_max_suppression

PAD = 0.5  # strides of grey around a picture, as in validation


def load(weights: str | Path | Sequence[str | Path], device: torch.device | str | None = None) -> Model:
    """The model of a checkpoint, of several as one ensemble, or of an exported file, on the GPU where there is one.

    UserError where a file is missing or is not what it says.
    """
    paths = [weights] if isinstance(weights, str | Path) else list(weights)
    network, state = load_network(paths, default_device(device))
    return Model(network, network.names, state.get("size") or state.get("imgsz") or 640)


def load_network(
    paths: Sequence[str | Path], device: torch.device
) -> tuple[Detector | Ensemble | ExportedDetector, dict[str, Any]]:
    """What finds the boxes, and what is known of it: the first checkpoint's dictionary.

    Of an exported file that is `imgsz`, its longer side; `size`, height and width; `rect`, whether it takes others.
    UserError as for `load`.
    """
    exported = [path for path in paths if is_exported(path)]
    if not exported:
        network, state = load_ensemble(paths, device)
        return fuse(network), state
    if len(paths) > 1:
        raise UserError(f"{exported[0]}: an ensemble is of checkpoints alone; give one exported file, or checkpoints")
    network = ExportedDetector(open_exported(paths[0], device))
    size = network.exported.size
    return network, {"imgsz": max(size), "size": size, "rect": network.exported.dynamic}


def default_device(device: torch.device | str | None) -> torch.device:
    """The device asked for; where none is, the GPU or else the CPU."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return device if isinstance(device, torch.device) else devices.select_device(device)


@dataclass(frozen=True)
class Prepared:
    """A picture as the network takes it, (3, H, W) uint8, and the way back to its own pixels."""

    image: np.ndarray
    box: Letterbox


class Pictures(list[Prepared]):
    """Some of one shape."""

    def parts(self, size: int) -> list[list[Prepared]]:
        """Lists of at most `size`, in order."""
        return [self[i : i + size] for i in range(0, len(self), size)]


class Model:
    """Call it with pictures, as `predict.inputs` lists them. Attributes, to be set at any time:

    conf: lowest score that counts. iou: overlap from which the lesser box is dropped. classes: numbers or names of the
    classes to keep, None for all. max_det: most boxes a picture. agnostic: a box may drop one of another class.
    multi_label: a box counts once for every class over `conf`, not for its best alone.
    """

    def __init__(
        self, network: Detector | Ensemble | ExportedDetector, names: Sequence[str], size: int | tuple[int, int]
    ) -> None:
        self.network, self.class_names, self.size = network, tuple(names), size
        self.device = next(network.parameters()).device
        self._heads = [module for module in network.modules() if isinstance(module, FusedDetect)]
        self.conf, self.iou, self.max_det = 0.25, 0.45, 1000
        self.classes: Sequence[int | str] | int | str | None = None
        self.agnostic = self.multi_label = False
        self.dtype = torch.float32
        self._in_parts = InParts("out of memory in detection", "give a smaller --imgsz")

    @property
    def names(self) -> dict[int, str]:
        """The classes' names by number."""
        return dict(enumerate(self.class_names))

    def to(self, device: torch.device | str) -> Model:
        """Move it to another device; returns it. UserError for an exported file, which `load` puts where it runs."""
        device = default_device(device)
        if isinstance(self.network, ExportedDetector):
            if device == self.device:
                return self
            raise UserError(f"{self.network.exported.path}: an exported file stays where it was loaded; load it there")
        self.device = device
        self.network.to(self.device)
        if (self.dtype == torch.float16) == (self.device.type == "cpu"):
            self.float()
        return self

    def cpu(self) -> Model:
        """`to("cpu")`."""
        return self.to("cpu")

    def cuda(self, device: int = 0) -> Model:
        """`to` the GPU of that number."""
        return self.to(f"cuda:{device}")

    def half(self) -> Model:
        """Compute in float16 on a GPU, in bfloat16 on a CPU that has it; returns it. Exported files keep their own."""
        dtype = devices.half_precision(True, self.device)
        return self._in(dtype) if dtype else self

    def float(self) -> Model:
        """Compute in single precision, as it does at first; returns it."""
        return self._in(torch.float32)

    def _in(self, dtype: torch.dtype) -> Model:
        if not isinstance(self.network, ExportedDetector):
            self.network.to(torch.float32 if dtype == torch.bfloat16 else dtype)  # bfloat16 is by autocast
            self.dtype = dtype
        return self

    def eval(self) -> Model:
        """It detects always; returns it."""
        return self

    def __call__(self, source: Any, size: int | tuple[int, int] | None = None, batch_size: int = 8) -> Results:
        """The boxes of pictures of any sizes. `size`: of the longer side, or height and width (default: as trained).

        UserError for what is no picture.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size {batch_size!r}: give a whole number from 1 on")
        clock = time.perf_counter()
        pictures, files = pictures_of(source)
        prepared = [self.prepare(picture, size) for picture in pictures]
        times = Counter(load=time.perf_counter() - clock)
        found: dict[int, Tensor] = {}
        order = sorted(range(len(pictures)), key=lambda i: prepared[i].image.shape)
        while order:
            same = [i for i in order[:batch_size] if prepared[i].image.shape == prepared[order[0]].image.shape]
            found |= dict(zip(same, self.detect([prepared[i] for i in same], times), strict=True))
            order = order[len(same) :]
        milliseconds = {part: 1000 * times[part] / max(len(pictures), 1) for part in ("load", "inference", "NMS")}
        sides = [each.image.shape[1:] for each in prepared] or [(0, 0)]
        rows = [found[i].clone() for i in range(len(pictures))]  # out of inference mode, so that they may be changed
        largest = (max(height for height, _ in sides), max(width for _, width in sides))
        return Results(pictures, rows, self.class_names, files, milliseconds, largest)

    def prepare(self, picture: np.ndarray, size: int | tuple[int, int] | None = None) -> Prepared:
        """A picture (h, w, 3) uint8 RGB, resized and on grey, as `detect` takes it; may run in any thread.

        size: pixels of the longer side, or the height and width to fit into.
        """
        shape, inside = self._layout(picture.shape[:2], size)
        image = np.empty((3, *shape), np.uint8)
        return Prepared(image, letterbox(resized(picture, *inside), picture.shape[:2], image))

    def _layout(
        self, picture: tuple[int, int], size: int | tuple[int, int] | None
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """Height and width of the tensor that a picture is laid into, and those it is resized to."""
        sides = size if isinstance(size, tuple) and len(size) == 2 else (size,)
        if size is not None and not all(isinstance(side, int | np.integer) and side > 0 for side in sides):
            raise UserError(f"size {size!r}: give the pixels of the longer side, or (height, width), in whole numbers")
        if size is not None and any(side and side > MAX_SIDE for side in sides):
            raise UserError(f"size {size!r}: over {MAX_SIDE:,} pixels on a side; give a smaller one")
        exported = getattr(self.network, "exported", None)
        if exported is not None and not exported.dynamic:
            if size is not None and size != exported.size and (size, size) != exported.size:
                height, width = exported.size
                raise UserError(f"{exported.path}: takes {height} x {width} pixels alone; leave the size out")
            return exported.size, fitted_into(*picture, *exported.size)
        size = size or self.size
        inside = fitted_into(*picture, *size) if isinstance(size, tuple) else fitted(*picture, int(size))
        return batch_shape(np.array([inside]), self.network.max_stride, PAD), inside

    def detect(self, prepared: Sequence[Prepared], times: Counter[str] | None = None) -> list[Tensor]:
        """The boxes (n, 6) of pictures of one shape, in their originals' pixels, on the CPU.

        x1, y1, x2, y2, score, class by falling score. `times`: seconds by part, which grow. Pictures for which memory
        does not suffice are taken in parts; UserError where it does not for a single one.
        """
        self._check_thresholds()
        work = partial(self._detect, Counter() if times is None else times)
        return [rows for _, found in self._in_parts(work, Pictures(prepared)) for rows in found]

    @torch.inference_mode()
    def _detect(self, times: Counter[str], prepared: Sequence[Prepared]) -> list[Tensor]:
        clock = time.perf_counter()
        batch = torch.from_numpy(np.stack([each.image for each in prepared])).to(self.device)
        for head in self._heads:
            head.conf = self.conf
        mixed = torch.bfloat16 if self.dtype == torch.bfloat16 else torch.float32
        with MemoryErrors(), devices.autocast(self.device, mixed):
            decoded = self.network(devices.normalised(batch, self.dtype))[0]
        clock = _lap(self.device, times, "inference", clock)
        options = {"agnostic": self.agnostic, "multi_label": self.multi_label, "classes": self._wanted()}
        rows = non_max_suppression(decoded, self.conf, self.iou, max_det=self.max_det, **options)
        found = [each.cpu() for each in undo(rows, [each.box for each in prepared])]
        _lap(self.device, times, "NMS", clock)
        return found

    def check(self, size: int | tuple[int, int] | None = None) -> None:
        """Raise UserError for a class in `classes` that the model does not have, and a size that it does not take."""
        self._wanted()
        self._layout((self.network.max_stride,) * 2, size)

    def _check_thresholds(self) -> None:
        """Raise UserError for an attribute that was set to what no threshold can be."""
        for name in ("conf", "iou"):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
                raise UserError(f"{name} is {value!r}; set it to a number from 0 to 1")
        if not isinstance(self.max_det, int | np.integer) or self.max_det < 0:
            raise UserError(f"max_det is {self.max_det!r}; set it to a whole number from 0 on")

    def _wanted(self) -> list[int] | None:
        """The numbers of the classes to keep. UserError for one that the model does not have."""
        if self.classes is None:
            return None
        asked = [self.classes] if isinstance(self.classes, int | str) else self.classes
        numbers = []
        for each in asked:
            if each in self.class_names:
                each = self.class_names.index(each)
            if isinstance(each, np.integer | bool):
                each = int(each)
            if not isinstance(each, int) or not 0 <= each < len(self.class_names):
                raise UserError(f"class {each!r} is unknown; {nearest(str(each), self.class_names)}")
            numbers.append(each)
        return numbers


def _lap(device: torch.device, times: Counter[str], part: str, since: float) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    now = time.perf_counter()
    times[part] += now - since
    return now
