"""Checkpoints: one dictionary of tensors and plain values, written whole or not at all, read without running anything.

The layout is documented in docs/checkpoint.md. The file is what `torch.save` writes, a zip archive of uncompressed
members; the CRC-32 of each member is the checksum.
"""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from utils.errors import UserError
from utils.files import previous, write_atomic

LOGGER = logging.getLogger("anneal")
FORMAT, VERSION = "anneal", 1


def save(path: str | Path, state: dict[str, Any], *, keep_previous: bool = False) -> None:
    """Write `state` to `path` durably: a temporary file, flushed, renamed over the old one.

    With `keep_previous` the old generation stays beside it (`utils.files.previous`). Raises OSError where the disk
    refuses; the old file is then still whole.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **state}, buffer)
    write_atomic(Path(path), buffer.getbuffer(), keep_previous=keep_previous)


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU. A damaged file falls back to its previous generation, with a warning.

    Raises UserError for a missing, damaged, foreign or newer file.
    """
    path = Path(path)
    if not path.is_file() and not previous(path).is_file():
        raise UserError(f"{path}: no such checkpoint; give the path of a last.pt or best.pt")
    try:
        return _read(path)
    except UserError as error:
        older = previous(path)
        if not older.is_file():
            raise
        state = _read(older)
        LOGGER.warning(f"{error}; going on from the generation before it, {older.name}")
        return state


def _read(path: Path) -> dict[str, Any]:
    try:
        _verify(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if isinstance(error, UserError):
            raise
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: not a readable checkpoint ({reason}); take another file") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of this trainer; take a last.pt or best.pt that it wrote")
    if not isinstance(state.get("version"), int) or state["version"] > VERSION:
        found = f"version {state.get('version')}, newer than the {VERSION} this program reads"
        raise UserError(f"{path}: checkpoint {found}; update the program")
    return state


def _verify(path: Path) -> None:
    """Check every member's checksum before anything is unpickled, and refuse archives that could inflate."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise UserError(f"{path}: member {member.filename!r} is compressed, which no checkpoint is; refused")
        broken = archive.testzip()
    if broken is not None:
        raise UserError(f"{path}: damaged, the checksum of {broken!r} does not hold")
