"""The lists of PASCAL VOC, ImageSets/Main/*.txt, that say which part of the split a picture is in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path, PurePosixPath

from data.converters.source import Source
from data.lists import read_lines

LISTS = ("test", "val", "train", "trainval")  # a name in several is in the first: what validates is never trained on
TWICE = "pictures listed in two parts of the split, kept for validation or test"


def base_of(folder: Path, source: Path) -> Path:
    """The nearest folder from `folder` up to `source` that has such lists; `source` where none has."""
    for base in (folder, *folder.parents):
        if base == source or any(_lists(base)):
            return base
    return source


class Published:
    """The part of each listed picture: `parts` by its path as listed, `key` of it."""

    def __init__(self, parts: dict[str, str]) -> None:
        self.parts = parts
        self._listed: dict[str, list[str]] = defaultdict(list)
        for path in parts:
            self._listed[path.rpartition("/")[2]].append(path)

    def find(self, annotation: Path) -> tuple[str | None, list[str]]:
        """The part of an annotation file's picture, and the listed paths that mean it.

        Of several listed paths of one name, cam1/0001 and cam2/0001, those that end most like the annotation's. Where
        they are in several parts, it is the one that validates.
        """
        own = key(annotation.as_posix()).split("/")
        listed = self._listed.get(own[-1], [])
        length = max((_common(own, path.split("/")) for path in listed), default=0)
        best = [path for path in listed if _common(own, path.split("/")) == length]
        return min((self.parts[path] for path in best), key=LISTS.index, default=None), best


def _common(one: list[str], other: list[str]) -> int:
    """How many parts at the end of two paths are the same."""
    same = takewhile(lambda parts: parts[0] == parts[1], zip(one[::-1], other[::-1], strict=False))
    return len(list(same))


def published(base: Path, found: Source) -> Published:
    """The part of each picture, as the lists of `base` say."""
    files = dict(_lists(base))
    if not files.keys() & set(LISTS):  # one list for each class, cat_train.txt, is all that some sets have
        files = {f"{name} of a class": file for name, file in files.items()}
    parts: dict[str, str] = {}
    for part in LISTS:
        for name, file in files.items():
            if name == part or (name.endswith(" of a class") and name.split()[0].endswith(f"_{part}")):
                for stem in _names(file):
                    here = "train" if part == "trainval" else part
                    found.counts[TWICE] += part != "trainval" and parts.get(stem, here) != here
                    parts.setdefault(stem, here)
    return Published(parts)


def key(name: str) -> str:
    """A picture's path in a list, or an annotation's, without suffix and letter case."""
    name = PurePosixPath(name.replace("\\", "/")).as_posix().casefold()
    return re.sub(r"\.(jpe?g|png|bmp|webp|tiff?|xml)$", "", name)


def _lists(base: Path) -> Iterator[tuple[str, Path]]:
    """The lists below `base` by their names, those of ImageSets/Main first."""
    seen = set()
    for folder in (*_below(base, "imagesets", "main"), *_below(base, "imagesets")):
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() == ".txt" and file.stem.lower() not in seen and file.is_file():
                seen.add(file.stem.lower())
                yield file.stem.lower(), file


def _below(base: Path, *names: str) -> list[Path]:
    """The folder of these names, in any letter case, in a list; empty where there is none."""
    found = [base]
    for name in names:
        try:
            found = [entry for folder in found for entry in folder.iterdir() if entry.name.casefold() == name]
        except OSError:
            return []
        found = [entry for entry in found if entry.is_dir()]
    return found


def _names(file: Path) -> list[str]:
    """The pictures of a list, one a line: a name, which may hold blanks, and in all lines or none -1, 0 or 1."""
    lines = [line for _, line in read_lines(file)]
    marked = [re.fullmatch(r"(.*\S)\s+(-1|0|1)", line) for line in lines]
    return [key(mark[1]) for mark in marked if mark] if all(marked) else [key(line) for line in lines]
