"""From a layout YAML to modules. Every key is a constructor argument of the block it names; nothing is evaluated."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models import yolov5_format
from models.more_blocks import ACTIVATIONS, BLOCKS, repeated, set_activation
from utils.config.safe_yaml import load_yaml
from utils.errors import UserError, nearest

FOLDER = Path(__file__).parent
MAX_LAYERS = 1000
MAX_ANCHORS = 100  # a map
MAX_OPTION = 10_000  # a description may come with a stranger's checkpoint: nothing in it asks for much


@dataclass(frozen=True)
class Layout:
    """The layers below the detection head, and where the head reads.

    `sources[i]` are the layers that layer `i` reads (-1: the pictures). `channels` and `strides` describe the maps the
    head reads at `outputs`; `anchors` holds widths and heights in pixels, one list a map. Sides of pictures are
    multiples of `max_stride`.
    """

    modules: tuple[nn.Module, ...]
    sources: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]
    channels: tuple[int, ...]
    strides: tuple[float, ...]
    anchors: tuple[tuple[float, ...], ...]
    max_stride: int


def find(cfg: str | Path) -> Path:
    """The YAML that `cfg` means: a path, or a name in this folder with or without `.yaml`. UserError if neither."""
    path = Path(cfg)
    named = os.sep not in str(cfg)  # with a folder it means that file alone
    for candidate in (path, *((FOLDER / path, FOLDER / f"{path}.yaml") if named else ())):
        if candidate.is_file():
            return candidate
    known = [file.stem for file in FOLDER.glob("*.yaml")]
    where = f"not a file and not in {FOLDER}" if named else "no such file"
    raise UserError(f"--cfg {cfg}: {where}; {nearest(path.stem, known)}")


def read(cfg: str | Path) -> dict[str, Any]:
    """The whole description of a network as plain values: `name`, `layout`, `depth`, `width`, `layers`, `detect`.

    `cfg` names a size's YAML (`layout`, `depth`, `width`), whose layout lies beside it or in layouts/, or one in
    YOLOv5's own format (`backbone`, `head`).
    """
    file = find(cfg)
    content = load_yaml(file)
    if yolov5_format.is_such(content):
        return yolov5_format.translate(file.stem, content)
    size = _mapping(file, content, required=("layout", "depth", "width"))
    shared = next((p for p in (file.parent, FOLDER / "layouts") if (p / f"{size['layout']}.yaml").is_file()), None)
    if shared is None:
        known = [p.stem for p in (FOLDER / "layouts").glob("*.yaml")]
        raise UserError(f"{file}: no layout '{size['layout']}' beside it; {nearest(str(size['layout']), known)}")
    path = shared / f"{size['layout']}.yaml"
    spec = _mapping(path, load_yaml(path), required=("layers", "detect"))
    return {"name": file.stem, **size, **spec}


def load(spec: dict[str, Any], channels: int = 3) -> Layout:
    """Build the layers of a description, as `read` gives it, for `channels` input channels.

    Raises UserError, naming network and layer, for anything the schema does not know.
    """
    _mapping("network", spec, ("name", "layout", "depth", "width", "layers", "detect"), ("activation",))
    for key in ("depth", "width"):
        if type(spec[key]) not in (int, float) or not 0 < spec[key] < math.inf:
            raise UserError(f"{spec['name']}.yaml: {key} is {spec[key]!r}; give a number over 0")
    return _assemble(spec, float(spec["depth"]), float(spec["width"]), channels)


def largest_stride(spec: dict[str, Any]) -> int:
    """Of how many pixels the sides of pictures must be multiples for a description's network."""
    with torch.device("meta"):
        return load(spec).max_stride


def _mapping(where: object, value: Any, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    required = tuple(required)
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected keys and values, found {type(value).__name__}; see models/layouts/")
    known = (*required, *optional)
    for key in value:
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'; {nearest(str(key), known)}")
    for key in required:
        if key not in value:
            raise UserError(f"{where}: key '{key}' is missing; add it")
    return value


def _assemble(spec: dict[str, Any], depth: float, width: float, channels: int) -> Layout:
    file = f"{spec['layout']}.yaml"
    if not isinstance(spec["layers"], list) or not 0 < len(spec["layers"]) <= MAX_LAYERS:
        raise UserError(f"{file}: 'layers' holds no list of up to {MAX_LAYERS} layers; see models/layouts/")
    named: dict[str, int] = {}
    modules: list[nn.Module] = []
    sources: list[tuple[int, ...]] = []
    widths, strides = {-1: channels}, {-1: 1.0}
    for index, layer in enumerate(spec["layers"]):
        where = f"{file}, layer {index}"
        reads = _sources(where, layer, named, index)
        if len({strides[s] for s in reads}) > 1:
            raise UserError(f"{where}: reads maps of strides {[strides[s] for s in reads]}; they must agree")
        module = _block(where, layer, sum(widths[s] for s in reads), depth, width)
        modules.append(module)
        sources.append(reads)
        widths[index], strides[index] = module.out_channels, strides[reads[0]] * module.reduction
        if "name" in layer:
            named[str(layer["name"])] = index
    if "activation" in spec:
        _activate(file, modules, spec["activation"])
    where = f"{file}, detect"
    detect = _mapping(where, spec["detect"], required=("from", "anchors"))
    outputs = _sources(where, detect, named, len(modules))
    scales = tuple(strides[o] for o in outputs)
    return Layout(
        tuple(modules),
        tuple(sources),
        outputs,
        tuple(widths[o] for o in outputs),
        scales,
        _anchors(where, detect["anchors"], scales),
        math.ceil(max(strides.values())),
    )


def _activate(file: str, modules: list[nn.Module], activation: Any) -> None:
    """`activation: LeakyReLU(0.1)` for every convolution; nothing of it is evaluated."""
    kind, numbers = yolov5_format.call(activation)
    if kind not in ACTIVATIONS:
        raise UserError(f"{file}: unknown activation '{str(activation)[:60]}'; {nearest(kind, ACTIVATIONS)}")
    for module in modules:
        set_activation(module, kind, numbers)


def _sources(where: str, layer: Any, named: dict[str, int], index: int) -> tuple[int, ...]:
    names = layer.get("from", ["previous"]) if isinstance(layer, dict) else ["previous"]
    positions = {"previous": index - 1, **named}
    found = []
    for name in names if isinstance(names, list) else [names]:
        if type(name) is not str or name not in positions:
            raise UserError(f"{where}: 'from' names no earlier layer '{name}'; {nearest(str(name), positions)}")
        found.append(positions[name])
    return tuple(found)


def _block(where: str, layer: Any, in_channels: int, depth: float, width: float) -> nn.Module:
    name = layer.get("block") if isinstance(layer, dict) else None
    if type(name) is not str or name not in BLOCKS:
        raise UserError(f"{where}: unknown block '{name}'; {nearest(str(name), BLOCKS)}")
    parameters = list(inspect.signature(BLOCKS[name]).parameters.values())[1:]
    required = [p.name for p in parameters if p.default is p.empty]
    _mapping(where, layer, ["block", *required], ["name", "from", "repeats", *(p.name for p in parameters)])
    options = {key: value for key, value in layer.items() if key not in ("block", "name", "from")}
    kinds = {p.name: str(p.annotation) for p in parameters} | {"repeats": "int"}
    for key, value in options.items():
        _check_option(f"{where}: {key}", value, kinds[key], 0 if key in ("padding", "sides") else 1)
    if "channels" in options:
        options["channels"] = math.ceil(options["channels"] * width / 8) * 8
    if options.get("repeats", 1) > 1:
        options["repeats"] = max(round(options["repeats"] * depth), 1)
    times = 1 if any(p.name == "repeats" for p in parameters) else options.pop("repeats", 1)
    if any(type(value) is int and value > MAX_OPTION for value in (*options.values(), times)):
        raise UserError(f"{where}: asks for over {MAX_OPTION:,} of something; make it smaller")
    try:
        return repeated([BLOCKS[name](in_channels, **options) for _ in range(times)])
    except (ValueError, RuntimeError, ZeroDivisionError) as error:  # groups that do not divide the channels, say
        raise UserError(f"{where}: no such {name} can be made ({' '.join(str(error).split())[:120]})") from None


def _check_option(what: str, value: Any, kind: str, low: int) -> None:
    """Raise UserError for a value that is not of a block's annotation: int, bool, float or whole numbers."""
    several = "Sequence" in kind and "int |" not in kind
    if kind == "bool":
        sound, wanted = type(value) is bool, "true or false"
    elif kind == "float":
        sound, wanted = type(value) in (int, float) and 0 < value <= 8, "a number over 0"
    elif several:
        numbers = value if type(value) is list and 0 < len(value) <= 8 else [None]
        sound = all(type(v) is int and low <= v <= MAX_OPTION for v in numbers)
        wanted = "a list of whole numbers"
    else:
        sound = type(value) is int and value >= low
        wanted = f"a whole number of {low} or more" if low == 0 else "a whole number over 0"
    if not sound:
        raise UserError(f"{what} is {value!r}; give {wanted}")


def _anchors(where: str, anchors: Any, strides: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """The anchors of each map. A number of them means that many to be estimated, from squares to begin with.

    Where the maps run from coarse to fine and the anchors from small to large, or the reverse, they are turned round.
    """
    if type(anchors) is int and 0 < anchors <= MAX_ANCHORS:
        return tuple(tuple(2 * s * 2 ** (i // 2 / anchors) for i in range(2 * anchors)) for s in strides)
    rows = check_anchors(where, anchors, len(strides))
    areas = [math.prod(rows[i][-2:]) for i in (0, -1)]
    turned = (areas[1] - areas[0]) * (strides[-1] - strides[0]) < 0
    return rows[::-1] if turned else rows


def check_anchors(where: str, anchors: Any, maps: int) -> tuple[tuple[float, ...], ...]:
    """`anchors` as one tuple a map of widths and heights in pixels; UserError where they are not that."""
    rows = anchors if isinstance(anchors, list | tuple) else []
    pairs = [len(row) if isinstance(row, list | tuple) else 0 for row in rows]
    if len(rows) != maps or len(set(pairs)) != 1 or pairs[0] % 2 or not pairs[0]:
        raise UserError(f"{where}: anchors must be {maps} lists, each of as many widths and heights; found {anchors!r}")
    if not all(type(v) in (int, float) and 0 < v < math.inf for row in rows for v in row):
        raise UserError(f"{where}: an anchor is not a size over 0 pixels in {anchors!r}; correct it")
    return tuple(tuple(float(v) for v in row) for row in rows)
