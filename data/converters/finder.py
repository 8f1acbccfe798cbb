"""The one rule by which an annotation finds its picture; where that is not certain, it is no picture but an error."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from data.converters.source import Record
from data.converters.split_names import split_of
from data.files import FOREIGN
from data.pictures import SUFFIXES
from data.walk import walk
from utils.errors import UserError

# of pictures in other formats too: a set was often converted after it was annotated
_ALL_SUFFIXES = (*SUFFIXES, ".avif", ".dng", ".gif", ".heic", ".heif", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".tga")


class Unusable(Exception):
    """A picture that has to be left out. The text says why; `reason` is what is counted."""

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text


class PictureFinder:
    """Finds pictures below `roots`.

    1. The path as given, relative to the record's folders: its own folder, else exactly one of the others.
    2. Else that path below any folder, if exactly one picture has it.
    3. Else the one picture with that base name; letter case, URL-encoding, Unicode form, folders and suffix set aside.
       A folder that is the annotation's own, or in the path, and that holds pictures but not this one, lacks it.

    Where several pictures fit, UserError names them. Nothing outside the roots is ever read.
    """

    def __init__(self, roots: Sequence[Path], named: bool = False) -> None:
        """`named`: the roots are folders of pictures, whose own names may say a part too, as train2017 does."""
        self.roots = [Path(os.path.abspath(root)) for root in roots]
        self._named = named
        self._by_key: dict[str, list[Path]] = defaultdict(list)
        found = {Path(file) for root in self.roots for file in walk(root)}
        found -= {file for file in found if file.name.startswith("._")}  # what macOS leaves beside others
        for file in sorted(file for file in found if file.name.lower().endswith(SUFFIXES)):
            self._by_key[_key(file.name)].append(file)
        self.foreign = Counter(file.suffix.lower() for file in found if file.suffix.lower() in FOREIGN)  # not read
        self._folders = {file.parent for files in self._by_key.values() for file in files}

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def all(self) -> set[Path]:
        """Every picture."""
        return {file for files in self._by_key.values() for file in files}

    def find(self, record: Record) -> tuple[Path, bool]:
        """The record's picture, and whether the path itself led to it. Raises Unusable, or UserError for several."""
        given = record.picture.strip()
        if not given and not record.stem:
            raise Unusable("it names no picture")
        if "\0" in given or not _is_text(given):
            raise Unusable(f"its picture {given!r} has no valid file name", "no valid file name")
        exact = self._as_given(record, given) if given else []
        same = self._by_key.get(_key(_base(given)), []) if given else []
        if record.shared and len(several := self._of_split(record, same)) > 1:
            return self._only(record, several), False
        if exact:
            return self._only(record, exact), True
        by_name = [file for file in same if _ends_with(file, given)]
        by_name = by_name or self._nearest(record, self._of_split(record, self._in_its_folder(record, given, same)))
        if not by_name and record.stem and _key(record.stem) != _key(_base(given)):
            by_name = self._namesakes(record)
        if by_name:
            return self._only(record, by_name), False
        if given and all(self._inside(folder / _slashes(given)) is None for folder in (*record.folders, *self.roots)):
            place = f"{self.roots[0].name}/"
            raise Unusable(f"its picture {_short(given)} lies outside {place}", "its picture lies outside the folder")
        raise Unusable(f"its picture {_short(given or record.stem)} is missing", "its picture is missing")

    def namesake(self, record: Record, picture: Path) -> Path | None:
        """Another picture that fits the annotation file's own name or place better; None where none does."""
        if not record.stem:
            return None
        if same_name(record.stem, picture.name):
            beside = [file for file in self._by_key[_key(record.stem)] if file.parent == record.folders[0]]
            return None if picture in beside else next(iter(beside), None)
        return next(iter(self._namesakes(record)), None)

    def _namesakes(self, record: Record) -> list[Path]:
        return self._nearest(record, self._of_split(record, self._by_key.get(_key(record.stem), [])))

    def _as_given(self, record: Record, given: str) -> list[Path]:
        """Pictures at the path itself: that of the record's own folder, else all."""
        found: list[Path] = []
        plain = "/" not in _slashes(given)
        for number, folder in enumerate((*record.folders, *self.roots)):
            names = dict.fromkeys((given, _slashes(given), unquote(_slashes(given))))
            files = (file for name in names if (file := self._inside(folder / name)) and os.path.isfile(file))
            file = next(files, None)
            if file is not None and number == 0:
                return [file]
            if file is not None and file not in found:
                found += self._of_split(record, [file]) if plain else [file]
        return found

    def _in_its_folder(self, record: Record, given: str, files: list[Path]) -> list[Path]:
        """Where the path leads into a folder that is there, the files below it; else all."""
        parent = _slashes(given).rpartition("/")[0]
        folders = {self._inside(folder / parent) for folder in (*record.folders, *self.roots)} if parent else set()
        known = {folder for folder in folders if folder and (folder in self._folders or os.path.isdir(folder))}
        return [file for file in files if any(file.is_relative_to(one) for one in known)] if known else files

    def _nearest(self, record: Record, files: list[Path]) -> list[Path]:
        """Those below the first of the record's folders that has any, all where none has.

        An annotation file of one picture whose own folder holds pictures is of one of these.
        """
        own = [folder for folder in record.folders if folder in self._folders] if record.stem else []
        for folder in own or record.folders:
            deep = not own or folder == own[0]
            below = [file for file in files if (file.is_relative_to(folder) if deep else file.parent == folder)]
            if below:
                return below
        return [] if own else files

    def _of_split(self, record: Record, files: list[Path]) -> list[Path]:
        """Without those in the folder of another part of the split: names may repeat from part to part."""
        if record.split is None:
            return files
        return [file for file in files if self.split(file) in (None, record.split)]

    def split(self, file: Path) -> str | None:
        """The part of a published split that the picture's folders say."""
        root = next(root for root in self.roots if file.is_relative_to(root))
        return split_of(file.relative_to(root.parent if self._named else root))

    def _inside(self, path: Path) -> Path | None:
        """The path without `..`, if it lies below a root and can be a file name at all."""
        path = Path(os.path.normpath(path))
        return path if any(path != root and path.is_relative_to(root) for root in self.roots) else None

    def _only(self, record: Record, files: list[Path]) -> Path:
        if len(files) == 1:
            return files[0]
        shown = ", ".join(str(file) for file in files[:3]) + (", ..." if len(files) > 3 else "")
        what = f"{len(files)} pictures fit {_short(record.picture or record.stem)} ({shown})"
        remedy = "name their folder with --images, or convert the parts one by one"
        raise UserError(f"{record.where}: {what}; {remedy}")


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _base(given: str) -> str:
    """The last part of a path or an address, its URL-encoding undone."""
    if re.match(r"[a-z][a-z0-9+.-]+://", given, re.IGNORECASE):
        given = urlsplit(given).path or given
    return _slashes(unquote(given)).rstrip("/").rpartition("/")[2]


def _key(name: str) -> str:
    """A base name with letter case, URL-encoding, Unicode form and a picture's suffix set aside."""
    name = unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(name)).casefold()).strip()
    suffix = next((suffix for suffix in _ALL_SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


def same_name(one: str, other: str) -> bool:
    """Whether two base names are one but for letter case, URL-encoding, Unicode form and suffix."""
    return _key(one) == _key(other)


def is_own(record: Record, picture: Path) -> bool:
    """Whether an annotation file has the name of a picture and its place: beside it, or the same below its folder."""
    return bool(record.stem) and picture.parent == record.folders[0] and same_name(record.stem, picture.name)


def _ends_with(file: Path, given: str) -> bool:
    """Whether a file's path ends with the whole path given, one of several parts."""
    parts = [part for part in _slashes(given).split("/") if part not in ("", ".")]
    return 1 < len(parts) <= len(file.parts) and list(file.parts[-len(parts) :]) == parts


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(name: str) -> str:
    return repr(name if len(name) <= 200 else f"{name[:200]}...")
