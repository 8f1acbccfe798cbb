"""Where the sources of a data YAML are: as written, or where a set that came from elsewhere has them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from data.lists import ELSEWHERE, SEPARATORS
from utils.config.safe_yaml import place
from utils.console.log import one_line
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")


def find_root(file: Path, content: dict[Any, Any]) -> Path:
    """The folder that sources are relative to: `path` from here or from the YAML, whichever holds the pictures.

    Without `path` it is the YAML's folder, else the current one. Where neither has the pictures, but the YAML's folder
    has, or one beside it with the last name of `path`, that one, with a warning; else the one that exists.
    """
    path = content.get("path") or ""
    if not isinstance(path, str):
        raise UserError(f"{place(file, 'path')}: 'path' is {path!r}; give one folder")
    bases = (Path.cwd(), file.parent) if path else (file.parent, Path.cwd())
    roots = [absolute(base / os.path.expanduser(path)) for base in bases]
    first = str(_entries(content, "train")[0])
    holding = [root for root in roots if os.path.exists(root / first)]
    existing = [root for root in roots if os.path.exists(root)]
    if path and not holding and "sample" not in content:
        beside = (file.parent / SEPARATORS.split(path.rstrip("\\/"))[-1], file.parent)  # the same set, brought here
        here = next((absolute(base) for base in beside if _holds(base, content)), None)
        if here is not None:
            what = "holds no such pictures" if existing else "does not exist"
            LOGGER.warning("%s: 'path' %s %s; using %s", place(file, "path"), one_line(path), what, here)
            return here
    return (holding + existing + roots)[0]


def _holds(root: Path, content: dict[Any, Any]) -> bool:
    """Whether every training and validation source lies below `root`."""
    entries = [entry for key in ("train", "val") for entry in _entries(content, key)]
    named = any(Path(str(entry)).name for entry in entries)  # not only `.`, which is everywhere
    return named and all(isinstance(entry, str) and entry and _written(root, entry) for entry in entries)


def find_sources(file: Path, content: dict[Any, Any], key: str, root: Path, *, must_exist: bool) -> tuple[Path, ...]:
    """The folders and lists under a key. UserError where one is no path, no list, or must exist and does not."""
    found = []
    for entry in _entries(content, key):
        if not isinstance(entry, str) or not entry:
            raise UserError(f"{place(file, key)}: '{key}' holds {entry!r}; give folders or .txt lists")
        path = _written(root, entry)
        if path is None:
            path = _brought_here(root, file, entry)
            if path is not None:
                LOGGER.warning("%s: '%s' does not exist; using %s", place(file, key), one_line(entry), path)
        if path is None:
            path = absolute(root / os.path.expanduser(entry))
            what = f"'{key}' names {path}, which {'is a broken link' if os.path.islink(path) else 'does not exist'}"
            if must_exist:
                raise UserError(f"{place(file, key)}: {what}; correct it or 'path', or give --data with another YAML")
            LOGGER.warning("%s: %s: left out", place(file, key), what)
        if os.path.isfile(path) and path.suffix != ".txt":
            raise UserError(f"{place(file, key)}: '{key}' names {path}, neither a folder nor a .txt list; correct it")
        found.append(path)
    return tuple(found)


def _written(root: Path, entry: str) -> Path | None:
    """A source as it is written; or, as some sites have it, as seen from a folder below; or with the other slashes."""
    for text in (entry, entry.removeprefix("../"), entry.replace("\\", "/")):
        path = absolute(root / os.path.expanduser(text))
        if os.path.exists(path):
            return path
    return None


def _brought_here(root: Path, file: Path, entry: str) -> Path | None:
    """A source whose path is of another machine, or begins with the set's own folder: the longest end of it here.

    An end that is only `images` says too little.
    """
    parts = [part for part in SEPARATORS.split(entry) if part not in ("", ".", "..")]
    if not ELSEWHERE.match(entry) and parts[:1] not in ([root.name], [file.parent.name]):
        return None
    ends = [Path(*parts[k:]) for k in range(1, len(parts))]
    candidates = (base / end for end in ends if end.name != "images" or end.parent.name for base in (root, file.parent))
    return next((absolute(path) for path in candidates if os.path.exists(path)), None)


def _entries(content: dict[Any, Any], key: str) -> list[Any]:
    return content[key] if isinstance(content[key], list) else [content[key]]


def absolute(path: str | Path) -> Path:
    """A path with `~` and `..` written out; links are not followed."""
    return Path(os.path.abspath(os.path.expanduser(path)))
