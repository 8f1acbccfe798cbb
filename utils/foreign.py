"""Published YOLOv5 checkpoints: the module object itself, pickled, in half precision. Read as data, never run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils import inert
from utils.archive import Archive

MAX_BYTES = 4 << 30  # of all weights together in float32; the largest published network takes 0.6 GB
MAX_DEPTH = 32
MAX_MODULES = 20_000
MAX_NAME = 200  # characters of an entry's name
MAX_CLASSES = 10_000


def read_published(path: str | Path) -> dict[str, Any]:
    """The weights in a published checkpoint: `{"ema": state dict, "classes": int, "names": tuple}`.

    Entries have their published names (`model.0.conv.weight`); floating-point ones are float32. Raises UserError for
    a file that is damaged, asks for anything that a network does not need, or holds no network.
    """
    with Archive(path) as archive:
        return published(archive, inert.read(archive))


def published(archive: Archive, content: Any) -> dict[str, Any]:
    """As `read_published`, of an open archive and its structure as `inert.read` gave it."""
    found = [content.get(key) for key in ("ema", "model")] if type(content) is dict else []
    network = next((value for value in found if type(value) is inert.Inert), None)
    if network is None:
        raise archive.refused("it holds neither a run of this trainer nor a published network")
    records = dict(_walk(archive, network, "", 0, [0]))
    if not records:
        raise archive.refused("its network has no weights")
    if sum(4 * _count(record) for record in records.values()) > MAX_BYTES:
        raise archive.refused(f"its weights take over {MAX_BYTES:,} bytes")
    ema = {name: _tensor(archive, record) for name, record in records.items()}
    names = _names(_state(network).get("names"))
    described = _state(network).get("yaml")
    classes = described.get("nc") if type(described) is dict else None
    if type(classes) is not int or not 0 < classes <= MAX_CLASSES:
        classes = len(names)
    if len(names) != classes:
        names = tuple(f"class{i}" for i in range(classes))
    return {"ema": ema, "classes": classes, "names": names}


def _walk(
    archive: Archive, module: inert.Inert, prefix: str, depth: int, seen: list[int]
) -> Iterator[tuple[str, inert.TensorRecord]]:
    """The entries of a module's state dict, by the names that torch gives them."""
    seen[0] += 1
    if depth > MAX_DEPTH or seen[0] > MAX_MODULES or len(prefix) > MAX_NAME:
        raise archive.refused("its network is nested or named beyond all measure")
    state = _state(module)
    hidden = state.get("_non_persistent_buffers_set")
    hidden = hidden if type(hidden) is set else set()
    for group in ("_parameters", "_buffers"):
        for name, record in _entries(state, group):
            if type(record) is inert.TensorRecord and not (group == "_buffers" and name in hidden):
                yield f"{prefix}{name[:MAX_NAME]}", record
    for name, child in _entries(state, "_modules"):
        if type(child) is inert.Inert:
            yield from _walk(archive, child, f"{prefix}{name[:MAX_NAME]}.", depth + 1, seen)


def _state(module: inert.Inert) -> dict[Any, Any]:
    return module.state if type(module.state) is dict else {}


def _entries(state: dict[Any, Any], group: str) -> list[tuple[str, Any]]:
    entries = state.get(group)
    return [(k, v) for k, v in entries.items() if type(k) is str] if type(entries) is dict else []


def _count(record: inert.TensorRecord) -> int:
    count = 1
    for length in record.size:
        count *= length
    return count


def _tensor(archive: Archive, record: inert.TensorRecord) -> Tensor:
    if not record.storage.count:
        numbers = torch.empty(0, dtype=record.storage.dtype)
    else:
        numbers = torch.frombuffer(archive.storage(record.storage.key), dtype=record.storage.dtype)
    view = numbers.as_strided(record.size, record.stride, record.offset)
    return view.to(torch.float32 if view.is_floating_point() else view.dtype).clone(memory_format=torch.contiguous_format)


def _names(value: Any) -> tuple[str, ...]:
    """Class names, of a list or a dictionary from class numbers; () for anything else."""
    if type(value) is dict and set(value) == set(range(len(value))):
        value = [value[i] for i in range(len(value))]
    if type(value) is not list or len(value) > MAX_CLASSES or not all(type(name) is str for name in value):
        return ()
    return tuple("".join(c if c.isprintable() else "?" for c in name[:MAX_NAME]) for name in value)
