"""Decoded pictures in one file on disk, so that a set larger than memory is decoded once and not at each epoch.

The file is plain: a header of 4096 bytes (JSON, filled up with spaces) that says what it holds, the pixels, and a
digest of the header at the end. It lies in `$ANNEAL_CACHE`, or in `~/.cache/anneal`, never beside the pictures, and may
be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files.atomic import STALE, atomic_file

LOGGER = logging.getLogger("anneal")
VERSION = 1
HEADER = 4096  # a page, so that the pixels begin on one


def folder() -> Path:
    """Where such files lie. UserError where that is beside a home that nobody has."""
    given = os.environ.get("ANNEAL_CACHE")
    try:
        return Path(given).expanduser() if given else Path.home() / ".cache" / "anneal"
    except RuntimeError as error:
        where = f"ANNEAL_CACHE={given}" if given else "~/.cache/anneal"
        remedy = "set ANNEAL_CACHE to a folder, or use --cache none"
        raise UserError(f"{where}: no such home folder ({error}); {remedy}") from None


def key_of(fingerprint: str, files: Sequence[str], size: int) -> str:
    """Digest of what decides the pixels: the index, the training size, and each file's path, bytes and time.

    UserError where a picture is no longer there.
    """
    digest = hashlib.sha256(f"{VERSION} {size} {fingerprint}".encode())
    for file in files:
        try:
            status = os.stat(file)
        except OSError as error:
            remedy = "restore the picture or remove it"
            raise UserError(f"{file}: cannot be read ({error.strerror}); {remedy}") from None
        digest.update(os.fsencode(file) + f"\0{status.st_size} {status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def open_pixels(key: str, count: int, fill: Callable[[Callable[[int, np.ndarray], None]], None]) -> np.ndarray:
    """(count,) uint8, read-only, mapped from the file of that `key`, which is made where it is not there or not whole.

    `fill` is called to make it, with a function that writes pixels at a place, from any thread. UserError where
    the folder cannot be written or the disk is full.
    """
    path = folder() / f"{key[:32]}.pixels"
    header = json.dumps({"anneal pixels": VERSION, "key": key, "bytes": count}).encode().ljust(HEADER)
    if not _is_whole(path, header, count):
        try:
            _make(path, header, count, fill)
        except OSError as error:
            remedy = "set ANNEAL_CACHE to another folder, or use --cache none"
            raise UserError(f"{path}: cannot be written ({error.strerror}); {remedy}") from None
    return np.memmap(path, np.uint8, "r", offset=HEADER, shape=(count,)) if count else np.zeros(0, np.uint8)


def _is_whole(path: Path, header: bytes, count: int) -> bool:
    try:
        with open(path, "rb") as file:
            found = file.read(HEADER)
            file.seek(HEADER + count)
            end = file.read(64)
    except FileNotFoundError:
        return False
    except OSError as error:
        LOGGER.info(f"{path} cannot be read ({error.strerror}): building it again")
        return False
    if found == header and end == hashlib.sha256(header).digest():
        return True
    LOGGER.info(f"{path} is incomplete: building it again")
    return False


def _sweep(where: Path) -> None:
    """Remove what runs that were killed while they made a file, of any key, left behind."""
    for part in where.glob(".*.pixels.*.tmp"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()


def _make(path: Path, header: bytes, count: int, fill: Callable[[Callable[[int, np.ndarray], None]], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    free = shutil.disk_usage(path.parent).free
    if count > free:
        remedy = "set ANNEAL_CACHE to a folder on a larger disk, or use --cache none"
        sizes = f"the pictures take {count / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise UserError(f"{path.parent}: {sizes}; {remedy}")
    with atomic_file(path) as file:
        file.write(header)
        file.flush()

        def write(at: int, pixels: np.ndarray) -> None:
            data, at = memoryview(pixels).cast("B"), HEADER + at
            while data:
                written = os.pwrite(file.fileno(), data, at)
                data, at = data[written:], at + written

        fill(write)
        file.seek(HEADER + count)
        file.write(hashlib.sha256(header).digest())
