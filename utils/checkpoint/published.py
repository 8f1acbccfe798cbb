"""Published YOLOv5 checkpoints: the module object itself, pickled, in half precision. Read as data, never run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint import inert
from utils.checkpoint.archive import Archive

MAX_NUMBERS = 1 << 30  # in all weights together; the largest published network has 0.14e9
MAX_DEPTH = 32
MAX_ENTRIES = 100_000
MAX_NAME = 200  # characters of an entry's name
MAX_CLASSES = 10_000


def weights_of(archive: Archive, content: Any) -> dict[str, Any]:
    """The weights of a published checkpoint: `{"ema": state dict, "classes": int, "names": tuple}`.

    Of an open archive and its structure as `inert.read` gave it. Where the file has them: `described`, its network in
    YOLOv5's own format, and `network`, the name of that. Entries have their published names (`model.0.conv.weight`);
    floating-point ones are float32. Raises UserError for a file that is damaged, asks for anything that a network does
    not need, or holds no network.
    """
    found = [content.get(key) for key in ("ema", "model")] if type(content) is dict else []
    network = next((value for value in found if type(value) is inert.Inert), None)
    if network is None:
        raise archive.refused("it holds neither a run of this trainer nor a published network")
    walk = _Walk(archive)
    records = walk.run(network)
    storages = {
        storage: torch.frombuffer(archive.storage(storage.key), dtype=storage.dtype)
        for storage in {record.storage for record in records.values()}
    }
    ema = {name: _tensor(storages[record.storage], record) for name, record in records.items()}
    ema = {name: value for name, value in ema.items() if not name.endswith(".anchor_grid")}  # of versions before 6
    names = _names(_state(network).get("names"))
    described = _state(network).get("yaml")
    classes = described.get("nc") if type(described) is dict else None
    if type(classes) is not int or not 0 < classes <= MAX_CLASSES:
        classes = len(names)
    if len(names) != classes:
        names = tuple(f"class{i}" for i in range(classes))
    return {"ema": ema, "classes": classes, "names": names, **_description(_state(network), walk.activations)}


def _description(state: dict[Any, Any], activations: set[str]) -> dict[str, Any]:
    """What a network says of itself: plain values alone. {} where it says nothing that can be used.

    `activations`: those its modules have. Versions before 6.2 did not say another one than SiLU in the description.
    """
    described, file = state.get("yaml"), state.get("yaml_file")
    if type(described) is not dict or not _is_plain(described):
        return {}
    others = activations - {"SiLU", "Identity"}
    if others and "activation" not in described:
        if len(activations - {"Identity"}) > 1:
            return {}
        described = described | {"activation": f"nn.{others.pop()}"}
    base = file.replace("\\", "/").rsplit("/", 1)[-1] if type(file) is str else ""
    named = re.fullmatch(r"[\w.-]{1,100}\.ya?ml", base, re.ASCII)
    return {"described": described} | ({"network": Path(base).stem} if named else {})


def _activation(module: inert.Inert) -> str:
    """`LeakyReLU(0.1)` of a note of such a module."""
    kind, slope = module.name.rsplit(" ", 1)[-1].rsplit(".", 1)[-1], _state(module).get("negative_slope")
    return f"{kind}({slope})" if type(slope) is float else kind


def _is_plain(value: Any, depth: int = 0) -> bool:
    if depth > MAX_DEPTH:
        return False
    if type(value) is dict:
        return all(type(key) is str and _is_plain(item, depth + 1) for key, item in value.items())
    if type(value) in (list, tuple):
        return all(_is_plain(item, depth + 1) for item in value)
    return value is None or type(value) in (str, int, float, bool)


class _Walk:
    """Collects the entries of a network's state dict, by the names that torch gives them, up to limits."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.entries = self.numbers = 0
        self.records: dict[str, inert.TensorRecord] = {}
        self.activations: set[str] = set()

    def run(self, network: inert.Inert) -> dict[str, inert.TensorRecord]:
        self.visit(network, "", 0)
        if not self.records:
            raise self.archive.refused("its network has no weights")
        return self.records

    def visit(self, module: inert.Inert, prefix: str, depth: int) -> None:
        self.limit(depth > MAX_DEPTH)
        state = _state(module)
        hidden = state.get("_non_persistent_buffers_set")
        hidden = hidden if type(hidden) is set else set()
        for group, without in (("_parameters", set()), ("_buffers", hidden)):
            for name, record in self.entries_of(state, group):
                if type(record) is inert.TensorRecord and name not in without:
                    self.add(f"{prefix}{name}", record)
        for name, child in self.entries_of(state, "_modules"):
            if type(child) is inert.Inert:
                if name == "act":
                    self.activations.add(_activation(child))
                self.visit(child, f"{prefix}{name}.", depth + 1)

    def add(self, name: str, record: inert.TensorRecord) -> None:
        self.numbers += math.prod(record.size)
        self.limit(len(name) > MAX_NAME or not record.storage.count or self.numbers > MAX_NUMBERS)
        self.records[name] = record

    def entries_of(self, state: dict[Any, Any], group: str) -> Iterator[tuple[str, Any]]:
        entries = state.get(group)
        for name, value in entries.items() if type(entries) is dict else ():
            self.entries += 1
            self.limit(self.entries > MAX_ENTRIES)
            if type(name) is str:
                yield name[:MAX_NAME], value

    def limit(self, exceeded: bool) -> None:
        if exceeded:
            raise self.archive.refused("its network is larger, deeper or emptier than any published one")


def _state(module: inert.Inert) -> dict[Any, Any]:
    return module.state if type(module.state) is dict else {}


def _tensor(numbers: Tensor, record: inert.TensorRecord) -> Tensor:
    view = numbers.as_strided(record.size, record.stride, record.offset)
    dtype = torch.float32 if view.is_floating_point() else view.dtype
    return view.to(dtype, copy=True, memory_format=torch.contiguous_format)


def _names(value: Any) -> tuple[str, ...]:
    """Class names, of a list or a dictionary from class numbers; () for anything else."""
    if type(value) is dict and set(value) == set(range(len(value))):
        value = [value[i] for i in range(len(value))]
    if type(value) is not list or len(value) > MAX_CLASSES or not all(type(name) is str for name in value):
        return ()
    return tuple("".join(c if c.isprintable() else "?" for c in name[:MAX_NAME]) for name in value)
