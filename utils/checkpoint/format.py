"""Checkpoints: one dictionary of tensors and plain values, written whole or not at all, read without running anything.

The layout is documented in docs/checkpoint.md. The file is that of `torch.save`, a zip archive of uncompressed members;
the CRC-32 of each member is the checksum.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from utils.checkpoint import inert, published, release
from utils.checkpoint.archive import Archive, Damaged
from utils.errors import UserError
from utils.files.atomic import atomic_file, previous

LOGGER = logging.getLogger("anneal")
FORMAT, VERSION = "anneal", 1


def save(path: str | Path, state: dict[str, Any], *, keep_previous: bool = False) -> None:
    """Write `state` to `path` durably: a temporary file, flushed, renamed over the old one.

    With `keep_previous` the old generation stays beside it (`utils.files.atomic.previous`). Raises OSError where the
    disk refuses; the old file is then still whole. TypeError for anything but tensors and plain values.
    """
    content = plain({"format": FORMAT, "version": VERSION, **state})
    with atomic_file(path, keep_previous=keep_previous) as file:
        sink = _Sink(file)
        torch.save(content, sink)
        if sink.error is not None:
            raise sink.error


def plain(value: Any) -> Any:
    """The same in dictionaries, lists, tuples, plain values and tensors alone; TypeError for anything else."""
    if isinstance(value, Tensor):
        return value.detach()  # of a parameter: the tensor
    if isinstance(value, dict):  # the OrderedDict of a state dict, too
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise TypeError(f"a checkpoint holds tensors and plain values, not {type(value).__name__}")


class _Sink:
    """The file that `torch.save` writes to. It keeps the first OSError, which torch would turn into its own error."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.error = file, None

    def write(self, data: bytes | memoryview) -> int:
        if self.error is None:
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        pass  # that is `atomic_file`'s, once all is written


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU. A damaged file falls back to its previous generation, with a warning.

    Raises UserError for a missing, damaged, foreign or newer file.
    """
    return _with_fallback(Path(path), _read)


def facts(path: str | Path) -> dict[str, Any]:
    """The plain values of a checkpoint, without its tensors: milliseconds, whatever its size.

    A damaged structure falls back as `load` does. Raises UserError for a missing, damaged or foreign file.
    """
    return _with_fallback(Path(path), _read_facts)


def load_weights(path: str | Path) -> dict[str, Any]:
    """What is needed to use a network: this trainer's own checkpoint, or a published YOLOv5 one.

    The dictionary has `ema` (state dict), `classes` and `names`; only one of ours has `cfg`, `imgsz`, `data`. Nothing
    is fetched: the error for a published checkpoint that is not there, such as `yolov5s.pt`, names its address.
    Raises UserError as `load` does, and for a file without such weights.
    """
    if not os.path.lexists(path) and (error := release.missing(str(path))):
        raise error
    return _with_fallback(Path(path), _read_weights)


def _with_fallback(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read(path)
    except Damaged as error:
        older = previous(path)
        if not older.is_file():
            raise
        state = read(older)
        LOGGER.warning(f"{error}; using the version before it, {older.name}")
        return state


def _read(path: Path) -> dict[str, Any]:
    with Archive(path) as archive:
        return _load(path, _structure(archive))


def _read_facts(path: Path) -> dict[str, Any]:
    with Archive(path, checksums=False) as archive:
        content = _structure(archive)
    return {key: value for key, value in content.items() if not isinstance(value, inert.TensorRecord | inert.Inert)}


def _read_weights(path: Path) -> dict[str, Any]:
    with Archive(path) as archive:
        content = inert.read(archive)
        if not _is_ours(content):
            return published.weights_of(archive, content)
        state = _load(path, content)
    weights = state.get("ema") or state.get("model")
    sound = isinstance(weights, dict) and all(isinstance(value, Tensor) for value in weights.values())
    classes, names = state.get("classes"), state.get("names")
    sound = sound and type(classes) is int and isinstance(names, list | tuple) and len(names) == classes
    if not sound or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: holds no weights with their classes and names; give a last.pt or best.pt")
    return state | {"ema": weights}


def _structure(archive: Archive) -> dict[str, Any]:
    content = inert.read(archive)
    if not _is_ours(content):
        raise UserError(f"{archive.path}: not a checkpoint of this trainer; give a last.pt or best.pt that it wrote")
    return content


def _is_ours(content: Any) -> bool:
    return type(content) is dict and content.get("format") == FORMAT


def _load(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The dictionary itself, by torch, once what it asks for is known to be harmless and its version is ours."""
    version = content.get("version")
    if type(version) is not int or version > VERSION:
        found = f"version {str(version)[:40]}, newer than the {VERSION} this program reads"
        raise UserError(f"{path}: checkpoint {found}; update the program")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no narrower class for what it cannot read
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise Damaged(f"{path}: not a readable checkpoint ({reason}); use another file") from error
