"""Which YOLO label file is of which picture: by place first, then by a name that one picture alone has."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from data.converters.split_names import split_name, split_of
from data.files import label_candidates
from data.pictures import SUFFIXES

# words of folders that tell pictures from labels and nothing else
KINDS = re.compile(r"[\W_]*(images?|imgs?|pictures|jpegimages|labels?|annotations?|annots?|yolo|txt)[\W_]*")


class Pairs:
    """Which label file is of which picture; label files of none, and why; pictures that those may be of."""

    def __init__(self) -> None:
        self.labels: dict[Path, Path] = {}
        self.unclear: list[tuple[Path, str, str]] = []  # file, text, what is counted
        self.doubtful: set[Path] = set()
        self.by_name = 0


def pair(pictures: list[Path], images: Path, texts: list[Path], root: Path) -> Pairs:
    """Pair by YOLO's own rule, then by path without the words for pictures and labels, then by a name that is unique.

    A label file that several pictures could mean is of none of them, and those without another are left out. Where
    other labels of a folder are paired by place, one that is not has lost its picture.
    """
    pairs, free = Pairs(), set(texts)
    labels_of = {picture: map(Path, label_candidates(str(picture))) for picture in pictures}
    own = {picture: next((text for text in labels if text in free), None) for picture, labels in labels_of.items()}
    _match(pairs, free, pictures, lambda path: own.get(path, path), images)
    _match(pairs, free, pictures, lambda path: _key(path, images if path in own else root), images)
    settled = {text.parent for text in pairs.labels.values()}
    placed = len(pairs.labels)
    unplaced = {text for text in free if text.parent not in settled}
    _match(pairs, unplaced, pictures, lambda path: (base(path), None), images)
    for picture, text in list(pairs.labels.items())[placed:]:
        parts = {split_of(picture.relative_to(images)), split_of(text.relative_to(root))} - {None}
        if len(parts) > 1:  # a name may come again in another part of the split
            del pairs.labels[picture]
            unplaced.add(text)
    pairs.by_name = len(pairs.labels) - placed
    _take_back(pairs, images, texts, root)
    free = unplaced | {text for text in free if text.parent in settled}
    pairs.unclear += [(text, "no picture has its name", "") for text in free]
    pairs.unclear.sort()
    pairs.doubtful -= set(pairs.labels)
    return pairs


def _match(pairs: Pairs, free: set[Path], pictures: list[Path], rule: Callable[[Path], object], images: Path) -> None:
    """Pair what is one to one by a rule, and note what is not; `free` loses the label files that any picture fits."""
    labels, wanted = defaultdict(list), defaultdict(list)
    for text in sorted(free):
        labels[rule(text)].append(text)
    for picture in pictures:
        wanted[rule(picture)].append(picture)
    for name, alike in labels.items():
        meant = wanted.get(name, [])
        if len(meant) == len(alike) == 1 and meant[0] not in pairs.labels:
            pairs.labels[meant[0]] = alike[0]
        elif meant:
            shown = ", ".join(picture.relative_to(images).as_posix() for picture in meant[:3])
            taken = "has another label file" if len(meant) == 1 else "could each be meant"
            pairs.unclear += [(text, f"{shown} {taken}", f"label files whose picture {taken}") for text in alike]
            pairs.doubtful.update(picture for picture in meant if picture not in pairs.labels)
        free -= set(alike) if meant else set()


def _take_back(pairs: Pairs, images: Path, texts: list[Path], root: Path) -> None:
    """Take back the labels of a picture for which a file of another place, by its path as good, says something else."""
    places, used = defaultdict(list), set(pairs.labels.values())
    for text in texts:
        places[_key(text, root)].append(text)
    for picture, own in list(pairs.labels.items()):
        others = [text for text in places[_key(picture, images)] if text not in used and text.stem == own.stem]
        if any(text.read_bytes().split() != own.read_bytes().split() for text in others):
            del pairs.labels[picture]
            pairs.doubtful.add(picture)


def base(path: Path) -> str:
    """The name of a picture, or of a label file (a.txt, a.jpg.txt), without case and suffixes."""
    stem = path.stem.casefold()
    inner = next((suffix for suffix in SUFFIXES if stem.endswith(suffix)), "") if path.suffix.lower() == ".txt" else ""
    return stem.removesuffix(inner)


def _key(path: Path, root: Path) -> tuple[str, ...]:
    """A path without suffix or words for pictures and labels: images/train/x.jpg is train/labels/x.txt."""
    folders = [KINDS.sub("", part.casefold()) for part in path.relative_to(root).parts[:-1]]
    return (*(split_name(part) or part for part in folders if part), base(path))
