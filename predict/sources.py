"""Which pictures, videos and streams a `--source` names, and what each is called in the results."""

from __future__ import annotations

import glob
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from data.pictures import SUFFIXES
from data.walk import walk
from predict import addresses
from predict.addresses import VIDEOS
from predict.frames import Origin
from utils.errors import UserError

KINDS = ", ".join((*SUFFIXES, *VIDEOS))


def find(source: str, base: Path | None = None) -> list[Origin]:
    """The origins that a source names, in order; each has a name of its own.

    A picture, a video, a folder with all below it, a glob, a `.txt` list of these, a `.streams` list, the number of a
    webcam, or the address of a stream, picture or video. Raises UserError where nothing is there, and for what is not
    supported.
    """
    text = str(source).strip()
    if text.lower().startswith("screen"):
        raise UserError("--source screen: the screen is not read; record it to a video first")
    if addresses.YOUTUBE.match(text):
        raise UserError(f"--source {text}: YouTube is not read; download the video first")
    if text.isdecimal():
        return [Origin(text, PurePosixPath(f"webcam{text}"), "stream")]
    if addresses.is_address(text):
        kind = addresses.kind(text)
        return [Origin(text, PurePosixPath(addresses.name(text, kind)), kind)]
    path = Path(text)
    if path.suffix.lower() == ".streams" and path.is_file():
        return _streams(path)
    files = _files(path, text)
    return [Origin(str(file), name, _kind(file)) for file, name in zip(files, _names(path, files), strict=True)]


def _streams(path: Path) -> list[Origin]:
    found: list[Origin] = []
    for line in _lines(path):
        if addresses.is_address(line):  # a file too is taken as it comes, beside the others
            found.append(Origin(line, PurePosixPath(addresses.name(line, "stream")), "stream"))
        else:
            found += find(line)
    if not found or any(origin.kind != "stream" for origin in found):
        raise UserError(f"{path}: a .streams list has a webcam's number or an address a line; correct it")
    names: list[str] = []
    for origin in found:
        stem = str(origin.name)
        more = (f"{stem}_{number}" for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([stem], more) if name not in names))
    return [Origin(origin.file, PurePosixPath(name), "stream") for origin, name in zip(found, names, strict=True)]


@contextmanager
def fetched(origins: Sequence[Origin]) -> Iterator[list[Origin]]:
    """The origins with files from servers brought here, until the end. Raises UserError where one does not come."""
    with tempfile.TemporaryDirectory(prefix="detect-") as folder:
        yield [_here(origin, Path(folder)) for origin in origins]


def _here(origin: Origin, folder: Path) -> Origin:
    if origin.kind == "stream" or not addresses.is_address(origin.file):
        return origin
    return replace(origin, file=str(addresses.fetch(origin.file, folder)), address=origin.file)


def _files(path: Path, text: str) -> list[Path]:
    if path.is_dir():
        files = sorted(_below(path))
        if files == [path]:
            raise UserError(f"--source {text}: cannot be listed; check its permissions")
    elif path.is_file():
        files = _listed(path) if path.suffix.lower() == ".txt" else [path]
    elif glob.has_magic(text):
        matches = sorted(Path(match) for match in glob.glob(text, recursive=True))
        files = [file for match in matches for file in (sorted(_below(match)) if match.is_dir() else [match])]
        files = [file for file in dict.fromkeys(files) if _kind(file)]
    else:
        raise UserError(f"--source {text}: no such file or folder")
    if not files:
        raise UserError(f"--source {text}: no picture or video there; known are {KINDS}")
    unknown = next((file for file in files if not _kind(file)), None)
    if unknown is not None:
        raise UserError(f"{unknown}: neither a picture nor a video by its suffix; known are {KINDS}")
    return files


def _below(folder: Path) -> list[Path]:
    """The pictures and videos of a folder and those below it, and the folders that cannot be listed."""
    unlisted: list[Path] = []
    files = [Path(file) for file in walk(folder, lambda error: unlisted.append(Path(error.filename)))]
    return unlisted + [file for file in files if file.name[0] != "." and _by_suffix(file.suffix.lower())]


def _listed(path: Path) -> list[Path]:
    """The files of a list: from the current folder, else from the list's own."""
    found = []
    for line in _lines(path):
        file = Path(os.path.expanduser(line))
        beside = path.parent / file
        file = beside if not file.exists() and beside.exists() else file
        found += sorted(_below(file)) if file.is_dir() else [file]
    return list(dict.fromkeys(found))


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


def _kind(file: Path) -> str:
    return "folder" if file.is_dir() else _by_suffix(file.suffix.lower())


def _by_suffix(suffix: str) -> str:
    return "picture" if suffix in SUFFIXES else "video" if suffix in VIDEOS else ""


def _names(source: Path, files: Sequence[Path]) -> list[PurePosixPath]:
    """Paths below the source's folder, or below the one that all files share; no two are alike."""
    full = [Path(os.path.abspath(file)) for file in files]
    root = os.path.abspath(source) if source.is_dir() else os.path.commonpath([file.parent for file in full])
    return [PurePosixPath(file.relative_to(root).as_posix()) for file in full]
