"""Layouts as YOLOv5 writes them (`backbone` and `head`: lists of rows), said in this project's own terms.

A row is `[from, number, block, arguments]`: `from` counts layers from 0, negative from the row back; `number` repeats a
block, scaled by `depth_multiple`; the first argument of most blocks is their channels, scaled by `width_multiple`.
"""

from __future__ import annotations

import re
from typing import Any

from utils.errors import UserError, nearest

KNOWN = ("nc", "depth_multiple", "width_multiple", "anchors", "backbone", "head", "ch", "activation")
CSP = ("channels", "shortcut", "groups", "ratio")
ARGUMENTS: dict[str, tuple[str, ...]] = {  # block: what its arguments mean, in order
    "Conv": ("channels", "kernel", "stride", "padding", "groups", "dilation", "act"),
    "DWConv": ("channels", "kernel", "stride", "dilation", "act"),
    "Focus": ("channels", "kernel", "stride", "padding", "groups", "act"),
    "Bottleneck": CSP,
    "BottleneckCSP": CSP,
    "C3": CSP,
    "C3TR": CSP,
    "C3x": CSP,
    "C3Ghost": CSP,
    "CrossConv": ("channels", "kernel", "stride", "groups", "ratio", "shortcut"),
    "GhostConv": ("channels", "kernel", "stride", "groups", "act"),
    "GhostBottleneck": ("channels", "kernel", "stride"),
    "SPP": ("channels", "kernels"),
    "SPPF": ("channels", "kernel"),
    "Concat": ("dimension",),
    "nn.Upsample": ("size", "scale", "mode"),
    "nn.MaxPool2d": ("kernel", "stride", "padding"),
    "nn.ZeroPad2d": ("sides",),
    "nn.ConvTranspose2d": ("channels", "kernel", "stride", "padding"),
    "nn.Identity": (),
}
ONLY = {"dimension": 1, "mode": "nearest"}  # arguments with a single value that is read
WORDS = {"None": None, "none": None, "null": None, "True": True, "False": False}
MAX_ROWS = 1000


def is_such(content: Any) -> bool:
    """Whether a model YAML is in YOLOv5's format."""
    return isinstance(content, dict) and ("backbone" in content or "head" in content)


def translate(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """The description that `models.layout.load` builds, of a network called `name`. The class count is not in it.

    Raises UserError, naming file and layer, for what is not known.
    """
    file = f"{name}.yaml"
    for key in content:
        if key not in KNOWN:
            raise UserError(f"{file}: unknown key '{str(key)[:60]}'; {nearest(str(key), KNOWN)}")
    if content.get("ch", 3) != 3:
        raise UserError(f"{file}: ch is {content['ch']!r}; pictures have 3 channels here, leave it out")
    rows = [*_rows(file, content, "backbone"), *_rows(file, content, "head")]
    if not rows:
        raise UserError(f"{file}: 'backbone' and 'head' hold no layers; see docs/models.md")
    *below, last = (_row(f"{file}, layer {i}", row) for i, row in enumerate(rows))
    if last[2] != "Detect":
        raise UserError(f"{file}: the last layer is {last[2]}, where a detector has Detect; see docs/models.md")
    read: set[int] = set()
    layers = [_layer(f"{file}, layer {i}", i, row, read) for i, row in enumerate(below)]
    anchors = _anchors_of(f"{file}, layer {len(below)}", last[3], content.get("anchors", 3))
    detect = {"from": _names(f"{file}, layer {len(below)}", len(below), last[0], read), "anchors": anchors}
    for number in read:
        layers[number]["name"] = str(number)
    scales = {"depth": content.get("depth_multiple", 1.0), "width": content.get("width_multiple", 1.0)}
    more = {"activation": content["activation"]} if content.get("activation") is not None else {}
    return {"name": name, "layout": name, **scales, "layers": layers, "detect": detect, **more}


def call(text: Any) -> tuple[str, list[float]]:
    """`nn.LeakyReLU(0.1)` as ("LeakyReLU", [0.1]); ("", []) for what is no class with numbers."""
    number = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
    form = rf"(?:torch\.)?(?:nn\.)?(\w+)(?:\(\s*(?:negative_slope\s*=\s*)?({number})?\s*(?:,?\s*inplace\s*=\s*\w+)?\))?"
    found = re.fullmatch(form, text.strip(), re.ASCII) if type(text) is str and len(text) < 100 else None
    if found is None:
        return "", []
    return found[1], [float(found[2])] if found[2] else []


def _rows(file: str, content: dict[str, Any], part: str) -> list[Any]:
    rows = content.get(part, [])
    if not isinstance(rows, list) or len(rows) > MAX_ROWS:
        raise UserError(f"{file}: '{part}' is no list of up to {MAX_ROWS} layers; see docs/models.md")
    return rows


def _row(where: str, row: Any) -> tuple[Any, int, str, list[Any]]:
    """The four parts of a row, of the types they have."""
    if not isinstance(row, list | tuple) or len(row) != 4 or type(row[2]) is not str:
        raise UserError(f"{where}: is {str(row)[:60]}; give [from, number, block, arguments]")
    source, number, block, arguments = row
    if type(number) is not int or number < 1:
        raise UserError(f"{where}: its number is {str(number)[:20]}; give a whole number over 0")
    if block != "Detect" and block not in ARGUMENTS and f"nn.{block}" not in ARGUMENTS:
        raise UserError(f"{where}: unknown block '{block[:60]}'; known: {', '.join((*ARGUMENTS, 'Detect'))}")
    if not isinstance(arguments, list | tuple):
        arguments = [arguments]
    return source, number, block, [WORDS.get(value, value) if type(value) is str else value for value in arguments]


def _layer(where: str, index: int, row: tuple[Any, int, str, list[Any]], read: set[int]) -> dict[str, Any]:
    source, number, block, arguments = row
    if block == "Detect":
        raise UserError(f"{where}: Detect is not the last layer; put it last")
    meaning = ARGUMENTS.get(block, ARGUMENTS.get(f"nn.{block}", ()))
    if len(arguments) > len(meaning):
        raise UserError(f"{where}: {block} has {len(arguments)} arguments; it takes {', '.join(meaning) or 'none'}")
    options = {key: value for key, value in zip(meaning, arguments, strict=False) if value is not None}
    for key, only in ONLY.items():
        if options.pop(key, only) != only:
            raise UserError(f"{where}: {block} with {key} {arguments[meaning.index(key)]!r}; only {only!r} is read")
    if "size" in options:
        raise UserError(f"{where}: {block} to a fixed size fits one size of picture alone; give None and a scale")
    options = {key: _value(key, value) for key, value in options.items()}
    sources = _names(where, index, source, read)
    layer: dict[str, Any] = {"block": block.removeprefix("nn."), **options}
    if number > 1:
        layer["repeats"] = number
    return layer if sources == ["previous"] else layer | {"from": sources}


def _value(key: str, value: Any) -> Any:
    """An argument by its value: 1 for true, 2.0 for 2, a lone number for a list of it."""
    if key in ("shortcut", "act"):
        return bool(value) if type(value) in (bool, int) else value
    if key in ("kernels", "sides"):
        value = [value] * (4 if key == "sides" else 1) if type(value) is int else value
        return list(value) if type(value) is tuple else value
    return int(value) if type(value) is float and value.is_integer() and key != "ratio" else value


def _names(where: str, index: int, source: Any, read: set[int]) -> list[str]:
    """The layers that a row reads, as names; their numbers are added to `read`."""
    names = []
    for number in source if isinstance(source, list | tuple) else [source]:
        place = number + index if type(number) is int and number < 0 else number
        if type(place) is not int or not (0 <= place < index or (number == -1 and index == 0)):
            raise UserError(f"{where}: reads from layer {str(number)[:20]}; give an earlier one, or -1 for that before")
        if number == -1:
            names.append("previous")
        else:
            names.append(str(place))
            read.add(place)
    return names


def _anchors_of(where: str, arguments: list[Any], stated: Any) -> Any:
    """What Detect is given: `anchors` stands for the key of that name; a number asks for as many to be estimated."""
    anchors = arguments[1] if len(arguments) > 1 else "anchors"
    anchors = stated if anchors == "anchors" else anchors
    if type(anchors) is float and anchors.is_integer():
        anchors = int(anchors)
    if type(anchors) not in (int, list, tuple):
        raise UserError(f"{where}: anchors are {str(anchors)[:40]!r}; give lists of widths and heights, or a number")
    return anchors if type(anchors) is int else [list(row) if isinstance(row, tuple) else row for row in anchors]
