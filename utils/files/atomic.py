"""Writing files so that a crash at any moment leaves either the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

LOGGER = logging.getLogger("anneal")
STALE = 3600.0  # seconds after which a temporary file can only be that of a killed process


@contextlib.contextmanager
def spared(what: Path | str) -> Iterator[None]:
    """For what a run can do without: where the disk refuses it, that is said, and the run goes on."""
    try:
        yield
    except OSError as error:
        LOGGER.warning(f"{what}: could not be written ({error.strerror or error}); continuing without it")


def previous(path: Path | str) -> Path:
    """Where `keep_previous` of `write_atomic` leaves the generation before: `last.pt` -> `last.previous.pt`."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_atomic(path: Path | str, data: bytes | memoryview | str, *, keep_previous: bool = False) -> None:
    """Put `data` (text as UTF-8) at `path`, durably and all at once.

    The data goes to a temporary file in the same folder, is flushed to the disk and renamed over the old file; then the
    folder is flushed. With `keep_previous` the old file stays as `previous(path)`; at every moment at least one of the
    two is whole. The folder must exist. Raises OSError (disk full, not permitted) with the old content untouched
    and the temporary file gone.
    """
    data = data.encode() if isinstance(data, str) else data
    with atomic_file(path, keep_previous=keep_previous) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: Path | str, *, keep_previous: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which comes to `path` as `write_atomic` says when the block ends, unless it raises."""
    path = Path(path)
    _remove_stale(path)
    temporary = _temporary(path)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep_previous and path.exists():
            _keep(path)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")


def _remove_stale(path: Path) -> None:
    """Clear what processes killed in the middle of writing `path` left behind."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(path.parent):
            ours = entry.name.startswith(f".{path.name}.") and entry.name.endswith(".tmp")
            if ours and (entry.path == str(_temporary(path)) or time.time() - entry.stat().st_mtime > STALE):
                os.unlink(entry.path)


def _keep(path: Path) -> None:
    """Give the current file its second name; it keeps its first until the new content is renamed over it."""
    temporary = _temporary(previous(path))
    try:
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)
        os.replace(temporary, previous(path))
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
