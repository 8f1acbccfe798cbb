"""What a YOLO tree states beside its labels: class names and the split, in data.yaml, darknet's obj.data or lists."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from data.converters.json_files import head
from data.converters.shapes import number
from data.converters.split_names import split_name
from data.lists import read_lines
from data.pictures import SUFFIXES
from utils.config.safe_yaml import load_yaml
from utils.errors import UserError

NAMES_FILES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt", "classes.names", "labels.names")


@dataclass
class Config:
    """Class names, `entries` (split, folder or list as written) of `file`, whether labels are poses, what to tell."""

    file: Path | None = None
    names: tuple[str, ...] | None = None
    entries: list[tuple[str, str]] = field(default_factory=list)
    poses: bool = False
    notes: list[str] = field(default_factory=list)


def find_config(source: Path, files: Iterable[Path]) -> Config:
    """What the files of a tree state; `source` may be the data YAML or the obj.data itself.

    Raises:
        UserError: two files that state different class names.
    """
    files = list(files)
    if source.is_file():
        near = [source]
    else:
        near = [file for file in files if len(file.relative_to(source).parts) <= 2 and is_config(file)]
    stated = [_read_yaml(file) if file.suffix.lower() in (".yaml", ".yml") else _read_data(file) for file in near]
    config = _agreed(stated) if stated else Config()
    lists = [(file, _lines(file)) for file in files if is_names(file)]
    plain = [Config(file, tuple(lines)) for file, lines in lists if lines]
    if config.names is None and plain:
        config.names = _agreed(plain).names
    elif any(one.names != config.names for one in plain):
        config.notes.append(f"class lists that differ from {config.file.name}, whose names are used")
    if not config.entries and not source.is_file():
        texts = sorted(source.glob("*.txt"))
        config.entries = [(part, file.name) for file in texts if (part := split_name(file.stem)) and is_list(file)]
        config.file = config.file or source / "lists"
    return config


def is_config(file: Path) -> bool:
    """Whether a file is a data YAML or darknet's obj.data, by its name and beginning."""
    suffix, text = file.suffix.lower(), head(file)
    keys = {line.partition(":" if suffix != ".data" else "=")[0].strip(" '\"") for line in text.splitlines()}
    wanted = ("names",) if suffix in (".yaml", ".yml") else ("train", "valid", "names") if suffix == ".data" else ()
    return any(key in keys for key in wanted)


def is_names(file: Path) -> bool:
    """Whether a file lists class names, by its own name; a picture's labels may be called so too."""
    named = file.name.lower() in NAMES_FILES or file.suffix.lower() == ".names"
    return named and not rows_in(head(file))


def rows_in(text: str) -> bool:
    """Whether text begins with a row of YOLO: a class number and at least four numbers."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return bool(re.fullmatch(r"\d+(\.0*)?([\s,]\s*[-+]?\d*[.,]?\d+([eE][-+]?\d+)?){4,}", first))


def is_list(file: Path) -> bool:
    """Whether a text file names pictures, one a line."""
    first = next((line.strip() for line in head(file).splitlines() if line.strip()), "")
    return PurePosixPath(first.replace("\\", "/")).suffix.lower() in SUFFIXES


def _agreed(stated: list[Config]) -> Config:
    first = stated[0]
    for other in stated[1:]:
        if None not in (first.names, other.names) and other.names != first.names:
            raise UserError(f"{first.file} and {other.file} state different names; remove the wrong one")
    return next((one for one in stated if one.entries), first)


def _read_yaml(file: Path) -> Config:
    """Values as they are written: a class called 007 or yes stays that."""
    load_yaml(file)  # checks that it is plain and bounded
    content: dict[str, Any] = yaml.load(file.read_text("utf-8-sig"), Loader=yaml.BaseLoader) or {}
    config = Config(file, poses="kpt_shape" in content)
    names = content.get("names")
    if isinstance(names, dict):
        indices = [number(key) for key in names]
        if any(index is None or index < 0 or index != int(index) or index > 99_999 for index in indices):
            raise UserError(f"{file}: the keys of 'names' are class numbers from 0; correct them")
        given = dict(zip(map(int, indices), names.values(), strict=True))
        names = [given.get(index, f"class {index}") for index in range(max(given, default=-1) + 1)]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(f"{file}: 'names' must be a list of class names, or a mapping from class number to name")
    config.names = tuple(name.strip() for name in names)
    if (nc := number(content.get("nc"))) is not None and nc != len(names):
        config.notes.append(f"{file.name} states nc {nc:g} but {len(names)} names; the names are used")
    base = content.get("path") or ""
    for key in ("train", "val", "valid", "test"):
        value = content.get(key)
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, str) and entry.strip():
                config.entries.append((split_name(key), str(PurePosixPath(base) / entry.strip())))
    return config


def _read_data(file: Path) -> Config:
    """darknet: `train = data/train.txt`, `valid = ...`, `names = data/obj.names`."""
    pairs = [line.partition("=") for line in _lines(file)]
    config = Config(file)
    for key, _, value in pairs:
        split = split_name(key)
        if split and value.strip():
            config.entries.append((split, value.strip()))
        elif key.strip().casefold() == "names" and value.strip():
            names = located(value.strip(), file.parent)
            config.names = tuple(_lines(names)) if names and names.is_file() else None
    return config


def _lines(file: Path) -> list[str]:
    lines = [line.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for _, line in read_lines(file)]
    return [line for line in lines if not line.startswith("#")]


def located(entry: str, *roots: Path) -> Path | None:
    """What an entry leads to: as written from a root, else the longest end of it that is there below one.

    Exporters write `../train/images`, or the paths of the machine that they ran on.
    """
    parts = PurePosixPath(entry.replace("\\", "/")).parts
    if "\0" in entry:
        return None
    if not parts:  # "."
        return roots[0]
    tails = [PurePosixPath(*parts[start:]) for start in range(len(parts))]
    usable = [tail for tail in tails if not tail.is_absolute() and ".." not in tail.parts]
    return next((root / tail for tail in usable for root in roots if (root / tail).exists()), None)


def splits(config: Config, root: Path, pictures: list[Path]) -> tuple[dict[Path, set[str]], list[tuple[str, str]]]:
    """The splits that name each picture, and a line for every entry or listed picture that is not there."""
    found, lost = defaultdict(set), []
    names = {picture.relative_to(root).as_posix(): picture for picture in pictures}
    by_name = defaultdict(list)
    for picture in pictures:
        by_name[picture.name].append(picture)
    for split, entry in config.entries:
        path = located(entry, config.file.parent, root)
        if path is None:
            lost.append((config.file.name, f"it names {entry!r} for {split}, which is not there"))
        elif path.is_dir():
            for picture in pictures:
                if picture.is_relative_to(path):
                    found[picture].add(split)
        else:
            missing = 0
            for listed in _listed(path, names, by_name):
                missing += listed is None
                if listed:
                    found[listed].add(split)
            if missing:
                lost.append((path.name, f"{missing} listed pictures are not there"))
    return found, lost


def _listed(file: Path, names: dict[str, Path], by_name: dict[str, list[Path]]) -> Iterator[Path | None]:
    """The picture of each line: that whose path is the longest end of the line's, else the only one of its name."""
    for line in _lines(file):
        parts = PurePosixPath(line.replace("\\", "/")).parts
        tails = ("/".join(parts[start:]) for start in range(len(parts)))
        picture = next((names[tail] for tail in tails if tail in names), None)
        alike = by_name.get(parts[-1], []) if parts else []
        yield picture or (alike[0] if len(alike) == 1 else None)
