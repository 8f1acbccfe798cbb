"""What an exported file says of itself: written as text, and read from anybody without running anything."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from utils.errors import UserError

MAX_CHARACTERS = 1 << 20  # of one entry
MAX_CLASSES = 10_000
MAX_NAME = 200  # characters of a class's name
MAX_SIDE = 16_384
MAX_BATCH = 4096
MAX_PIXELS = 1 << 27  # of all pictures of a fixed number and size, since a file is run once when it is opened
STRIDES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MAX_MAPS, MAX_ANCHORS = 16, 100


@dataclass(frozen=True)
class Metadata:
    """What is said of an exported file.

    size: height, width it was exported at. batch: pictures it was exported for. dynamic: it takes any number of
    pictures, of any size in multiples of `stride`. conf, iou, max_det: of the NMS inside, where `nms` is on. device: of
    what kind it was made on. maps: the stride and the anchors a cell of each; those of YOLOv5 where none are said.
    """

    names: tuple[str, ...]
    stride: int
    size: tuple[int, int]
    batch: int
    dynamic: bool = False
    half: bool = False
    nms: bool = False
    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    date: str = ""
    source: str = ""
    producer: str = "Anneal"
    device: str = "cpu"
    maps: tuple[tuple[int, int], ...] = ()

    def boxes(self, size: tuple[int, ...]) -> int:
        """How many boxes there are before any NMS, of a picture of (height, width)."""
        maps = self.maps or [(step, 3) for step in STRIDES if 8 <= step <= self.stride]
        return sum(anchors * (size[0] // step) * (size[1] // step) for step, anchors in maps)

    def to_text(self) -> dict[str, str]:
        """One text an entry; names, stride and size as YOLOv5's exported files have them."""
        values = asdict(self)
        values["names"] = dict(enumerate(self.names))
        values["imgsz"] = list(values.pop("size"))
        return {key: value if isinstance(value, str) else repr(value) for key, value in values.items()}


def read_metadata(entries: Mapping[str, Any], shape: Sequence[int | None], path: object) -> Metadata:
    """The entries of a file whose input has this `shape` (B, 3, H, W), None where it is free.

    A file that YOLOv5 exported has no size, batch and NMS among its entries; its input's shape tells. Raises UserError,
    naming `path`, for entries that are missing, malformed, beyond limits, or contradict the input.
    """
    try:
        return _checked({key: _value(key, entries[key]) for key in _KINDS if key in entries}, shape)
    except _Refused as error:
        raise UserError(f"{path}: {error}; export it again") from None


class _Refused(Exception):
    pass


_TEXTS = ("date", "source", "producer", "device")
_KINDS: dict[str, tuple[type, ...]] = {
    "names": (dict, list, tuple),
    "stride": (int,),
    "imgsz": (list, tuple, int),
    "batch": (int,),
    "dynamic": (bool,),
    "half": (bool,),
    "nms": (bool,),
    "conf": (float, int),
    "iou": (float, int),
    "max_det": (int,),
    "maps": (list, tuple),
    **dict.fromkeys(_TEXTS, (str,)),
}


def _value(key: str, text: Any) -> Any:
    """An entry's plain value. Text is read as JSON or as a Python literal, never run."""
    if isinstance(text, str) and key not in _TEXTS:
        if len(text) > MAX_CHARACTERS:
            raise _Refused(f"its metadata's '{key}' is over {MAX_CHARACTERS:,} characters")
        text = _literal(text)
    if type(text) not in _KINDS[key]:
        raise _Refused(f"its metadata's '{key}' is not understood")
    return text[:MAX_NAME] if isinstance(text, str) else text


def _literal(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return None


def _checked(found: dict[str, Any], shape: Sequence[int | None]) -> Metadata:
    for key in ("names", "stride"):
        if key not in found:
            raise _Refused(f"its metadata has no '{key}'")
    found["names"] = _names(found["names"])
    if found["stride"] not in STRIDES:
        raise _Refused(f"its metadata's stride is {found['stride']}, none of {STRIDES}")
    if len(shape) != 4 or shape[1] != 3:
        raise _Refused("its input is not a batch of pictures (B, 3, H, W)")
    found["size"] = _size(found.pop("imgsz", [side or 640 for side in shape[2:]]), found["stride"])
    found.setdefault("batch", shape[0] or 1)
    free = [side is None for side in (shape[0], *shape[2:])]
    found.setdefault("dynamic", all(free))
    claimed = (found["batch"], 3, *found["size"])
    if not 1 <= found["batch"] <= MAX_BATCH:
        raise _Refused(f"its metadata's batch is {found['batch']}")
    if not found["dynamic"] and found["batch"] * found["size"][0] * found["size"][1] > MAX_PIXELS:
        raise _Refused(f"its metadata says {claimed}, over {MAX_PIXELS:,} pixels")
    if not found["dynamic"] and any(s not in (None, c) for s, c in zip(shape, claimed, strict=True)):
        raise _Refused(f"its metadata says {claimed}, but its input is {tuple(shape)}")
    if found["dynamic"] and not all(free):
        raise _Refused(f"its metadata says that any number and size is taken, but its input is {tuple(shape)}")
    for key in ("conf", "iou"):
        if not 0 <= found.get(key, 0) <= 1:
            raise _Refused(f"its metadata's {key} is not between 0 and 1")
    if not 1 <= found.get("max_det", 1) <= 1_000_000:
        raise _Refused(f"its metadata's max_det is {found['max_det']}")
    found["maps"] = _maps(found.get("maps", ()), found["stride"])
    return Metadata(**found)


def _maps(value: Any, stride: int) -> tuple[tuple[int, int], ...]:
    pairs = [tuple(pair) if type(pair) in (list, tuple) else () for pair in value[: MAX_MAPS + 1]]
    sound = len(pairs) <= MAX_MAPS and all(len(pair) == 2 and set(map(type, pair)) == {int} for pair in pairs)
    if not sound or not all(step in STRIDES and step <= stride and 0 < n <= MAX_ANCHORS for step, n in pairs):
        raise _Refused("its metadata's maps are not strides up to the largest and anchors a cell")
    return tuple(pairs)


def _names(value: Any) -> tuple[str, ...]:
    """Class names of a list, or of a dictionary from class numbers."""
    if type(value) is dict:
        numbered = {str(key): name for key, name in value.items()}
        if len(numbered) != len(value) or set(numbered) != {str(i) for i in range(len(value))}:
            raise _Refused("its class names are not numbered from 0")
        value = [numbered[str(i)] for i in range(len(value))]
    if not 1 <= len(value) <= MAX_CLASSES or not all(type(name) is str for name in value):
        raise _Refused(f"its class names are not 1 to {MAX_CLASSES:,} texts")
    return tuple("".join(c if c.isprintable() else "?" for c in name[:MAX_NAME]) for name in value)


def _size(value: Any, stride: int) -> tuple[int, int]:
    sides = [value, value] if type(value) is int else list(value)
    sound = len(sides) == 2 and all(type(side) is int and 0 < side <= MAX_SIDE for side in sides)
    if not sound or any(side % stride for side in sides):
        raise _Refused(f"its metadata's size is not two multiples of its stride {stride} up to {MAX_SIDE:,}")
    return sides[0], sides[1]
