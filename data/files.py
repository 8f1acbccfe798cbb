"""Which pictures the sources name, and where each one's labels are."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.lists import Moved, read_lines
from data.pictures import SUFFIXES
from data.walk import walk
from utils.errors import UserError

FOREIGN = (".avif", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".psd")  # pictures, but not ours
# what lies beside pictures and is none: labels, lists, descriptions, caches
_COMPANIONS = ("", ".cache", ".csv", ".data", ".db", ".ini", ".json", ".md", ".names", ".npy", ".npz", ".txt", ".xml")
_COMPANIONS += (".yaml", ".yml")
_NO_LABELS = ("classes.txt", "labels.txt", "notes.txt", "readme.txt", "train.txt", "val.txt", "valid.txt", "test.txt")
_IMAGES, _LABELS = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"


@dataclass
class Found:
    """Pictures (absolute paths, by source and sorted, each once), what to tell of the rest, and how many were left out.

    names: of each picture, the number of its source and its path within that, which stay when the source is moved.
    """

    files: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    skipped: int = 0

    def skip(self, message: str) -> None:
        """Count a picture that cannot be used, and the reason."""
        self.messages.append(message)
        self.skipped += 1


def find_pictures(sources: Sequence[Path], root: Path) -> Found:
    """All pictures of folders (searched to any depth) and `.txt` lists.

    A list has one path a line, relative to `root`, or to its own folder where it begins with `./`. Hidden files and
    folders (a leading dot) are passed over. UserError where a source does not exist or cannot be read.
    """
    found = Found()
    seen: set[str] = set()
    unknown: Counter[str] = Counter()
    foreign: dict[str, list[str]] = defaultdict(list)
    for number, source in enumerate(sources):
        files: set[str] = set()
        if source.is_dir():
            candidates = (file for file in walk(source, _unreadable) if os.path.basename(file)[0] != ".")
        elif source.is_file() and source.suffix == ".txt":
            candidates = _listed(source, root, found)
        else:
            what = "is neither a folder nor a .txt list" if source.exists() else "does not exist"
            raise UserError(f"{source} {what}; correct the path in the data YAML")
        for path in candidates:
            suffix = os.path.splitext(path)[1].lower()
            if suffix in SUFFIXES:
                files.add(os.path.abspath(path))
            elif suffix in FOREIGN:
                foreign[suffix].append(path)
            elif suffix not in _COMPANIONS:
                unknown[suffix] += 1
        ordered = sorted(files - seen)
        seen |= files
        found.files += ordered
        found.names += [f"{number}/{name}" for name in _within(source, ordered)]
    _tell_shared(found)
    _tell_unused(found)
    _tell_kinds(found, foreign, unknown)
    return found


def _tell_shared(found: Found) -> None:
    """Pictures of one name and different suffixes have one label file, which can hardly be meant for both."""
    first: dict[int, str] = {}
    others = [(first.setdefault(hash(os.path.splitext(file)[0]), file), file) for file in found.files]
    shared = [(one, two) for one, two in others if one != two and label_file(two)]
    if shared:
        pairs = "1 picture has" if len(shared) == 1 else f"{len(shared):,} pictures have"
        one, two = shared[0]
        found.messages.append(f"{pairs} the label file of another: {one} and {os.path.basename(two)}; rename one")


def _tell_unused(found: Found) -> None:
    """Label files that are named a little otherwise than their pictures would be lost without a word."""
    unused = unused_labels(found.files)
    if unused:
        what = "1 label file is" if len(unused) == 1 else f"{len(unused):,} label files are"
        found.messages.append(f"{what} without a picture, such as {unused[0]}; name it as its picture, or remove it")


def unused_labels(files: Iterable[str]) -> list[str]:
    """Label files in the folders of these pictures, or in `labels` for them, that are of no picture there."""
    unused: dict[str, None] = {}
    used: set[str] = set()
    for folder in sorted({os.path.dirname(file) for file in files}):
        pictures = (os.path.splitext(name) for name in os.listdir(folder))
        known = {stem for stem, suffix in pictures if suffix.lower() in SUFFIXES + FOREIGN}
        for place in {os.path.dirname(path) for path in label_candidates(os.path.join(folder, "x"))}:
            for name in sorted(os.listdir(place)) if os.path.isdir(place) else ():
                stem, suffix = os.path.splitext(name)
                if suffix.lower() == ".txt" and not name.startswith(".") and name.lower() not in _NO_LABELS:
                    of_one = suffix == ".txt" and stem in known
                    (used.add if of_one else unused.setdefault)(os.path.join(place, name))
    return [path for path in unused if path not in used]


def _tell_kinds(found: Found, foreign: Mapping[str, list[str]], unknown: Mapping[str, int]) -> None:
    """Pictures of kinds that are not read, and other files, counted by suffix."""
    for suffix, paths in sorted(foreign.items()):
        what = "1 picture" if len(paths) == 1 else f"{len(paths):,} pictures"
        such_as = ":" if len(paths) == 1 else ", such as"
        found.messages.append(f"{what} of kind {suffix} skipped{such_as} {min(paths)}; convert to JPEG or PNG")
        found.skipped += len(paths)
    for suffix, count in sorted(unknown.items()):
        what = "1 file" if count == 1 else f"{count:,} files"
        found.messages.append(f"{what} with the suffix {suffix} ignored: not a supported picture format")


def _within(source: Path, files: list[str]) -> list[str]:
    """Paths as seen from the source; those of a list from the folder that all of them lie in."""
    if not files:
        return []
    base = os.path.abspath(source) if source.is_dir() else os.path.commonpath([os.path.dirname(file) for file in files])
    return [file.removeprefix(os.path.join(base, "")) for file in files]


def label_candidates(picture: str) -> list[str]:
    """Where the labels of a picture may be: the last `/images/` of its path as `/labels/`; beside it."""
    stem = os.path.splitext(picture)[0]
    folder, images, rest = stem.rpartition(_IMAGES)
    beside = stem + ".txt"
    return [folder + _LABELS + rest + ".txt", beside] if images else [beside]


def label_file(picture: str) -> str | None:
    """The label file of a picture: the first candidate that is there."""
    return next((path for path in label_candidates(picture) if os.path.isfile(path)), None)


def _unreadable(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from None


def _listed(source: Path, root: Path, found: Found) -> Iterator[str]:
    base = os.path.join(os.path.abspath(root), "")
    moved = Moved(Path(base), source.parent.absolute())
    for number, line in read_lines(source):
        if "\0" in line:
            found.skip(f"{source}:{number}: not a path, skipped; a list has one path a line")
            continue
        path = os.path.join(source.parent if line.startswith("./") else base, os.path.expanduser(line))
        if ".." in Path(line).parts and not os.path.abspath(path).startswith(base):
            told = f"'{line}' leads outside {root}; used, but check that it is meant"
            found.messages.append(f"{source}:{number}: {told}")
        if os.path.splitext(path)[1].lower() not in SUFFIXES + FOREIGN:
            found.skip(f"{source}:{number}: '{line}' is not a picture, skipped; known: {', '.join(SUFFIXES)}")
            continue
        here = path if os.path.isfile(path) else moved.find(line)
        if here is None:
            found.skip(f"{source}:{number}: no such file {path}, skipped; correct the list")
        else:
            yield here
    found.messages += moved.told(source)
