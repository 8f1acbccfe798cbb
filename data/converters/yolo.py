"""YOLO text labels, as exported, of any tree: `class cx cy w h` or polygons, in fractions of the picture."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from data.converters.json_files import files_below, head
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_name, split_of
from data.converters.yolo_config import NAMES_FILES, Config, find_config, is_config, is_list, splits
from data.files import label_candidates
from data.labels import parse_labels
from data.pictures import SUFFIXES
from utils.errors import UserError

MOST_CLASSES = 10_000  # a class number beyond is a slip
# words of folders that tell pictures from labels and nothing else
_KINDS = re.compile(r"[\W_]*(images?|imgs?|pictures|jpegimages|labels?|annotations?|annots?|yolo|txt)[\W_]*")


def recognise(source: Path) -> str | None:
    """Text files of YOLO rows beside pictures or in a folder of labels; or a data YAML or obj.data itself."""
    if source.is_file():
        return f"YOLO, by {source.name}" if is_config(source) else None
    text = next((text for text in _label_files(source) if _rows_in(head(text))), None)
    return text and f"YOLO, such as {text.relative_to(source)}"


def read(source: Path, images: Path | None = None) -> Source:
    """A record for every picture: with the boxes of its label file, or none where it has none.

    Raises:
        UserError: no label file, or class names that two files state differently.
    """
    root = source if source.is_dir() else source.parent
    texts = _label_files(root)
    if not texts:
        raise UserError(f"{source}: holds no YOLO labels (text files of 'class cx cy w h'); name the folder that does")
    config = find_config(source, files_below(root, ".txt", ".yaml", ".yml", ".data", ".names", ".labels"))
    found = Source("YOLO", (images or root,), names=config.names)
    if found.names is None:
        found.names = tuple(str(index) for index in range(_classes(texts)))
        found.counts["classes without a name, called by their number"] = len(found.names)
    found.counts.update(dict.fromkeys(config.notes, 1))
    found.records = _records(root, images or root, texts, config, found)
    return found


def _label_files(root: Path) -> list[Path]:
    """Text files that may be labels: not lists of names or pictures, nor prose outside a folder of labels."""
    stems = {picture.stem.casefold() for picture in files_below(root, *SUFFIXES)}
    found = []
    for text in files_below(root, ".txt"):
        ours = text.stem.casefold() in stems or any(
            _KINDS.fullmatch(p.casefold()) for p in text.relative_to(root).parts
        )
        named = text.name.lower() in NAMES_FILES
        if (ours or _rows_in(head(text))) and not named and not is_list(text):
            found.append(text)
    return found


def _rows_in(text: str) -> bool:
    """Whether text begins with a row of a class number and at least four numbers."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return bool(re.fullmatch(r"\s*\d+(\.0*)?(\s+[-+]?[\d.]+([eE][-+]?\d+)?){4,}\s*", first))


def _classes(texts: list[Path]) -> int:
    numbers = {
        int(match) for text in texts for match in re.findall(rb"(?m)^\s*(\d{1,5})(?:\.0*)?\s", text.read_bytes())
    }
    return max((number for number in numbers if number < MOST_CLASSES), default=-1) + 1


def _records(root: Path, images: Path, texts: list[Path], config: Config, found: Source) -> Iterator[Record]:
    pictures = list(files_below(images, *SUFFIXES))
    stated, lost = splits(config, images, pictures)
    for where, text in lost:
        found.skip(where, text, "what a split names is not there")
    twice = sum(len(parts) > 1 for parts in stated.values())
    found.counts["pictures that two parts of the split name, which is no split of them"] = twice
    pairs = pair(pictures, images, texts, root)
    found.counts["label files found by the name of their picture alone"] = pairs.by_name
    for text, reason, kind in pairs.unclear:
        found.skip(text.relative_to(root).as_posix(), reason, kind)
    for picture in sorted(pairs.doubtful):
        found.skip(picture.relative_to(images).as_posix(), "a label file that could be its own could be another's")
    for picture in pictures:
        if picture in pairs.doubtful:
            continue
        path, text = picture.relative_to(images), pairs.labels.get(picture)
        parts = stated.get(picture) or {split_of(path)}
        items = tuple(_items(text, found.names, config.poses, found.counts)) if text else ()
        where = text.relative_to(root).as_posix() if text else path.as_posix()
        split = next(iter(parts)) if len(parts) == 1 else None
        yield Record(where, path.as_posix(), (images,), items=items, split=split, normalised=True)


class Pairs:
    """Which label file is of which picture; label files of none, and why; pictures that those may be of."""

    def __init__(self) -> None:
        self.labels: dict[Path, Path] = {}
        self.unclear: list[tuple[Path, str, str]] = []
        self.doubtful: set[Path] = set()
        self.by_name = 0


def pair(pictures: list[Path], images: Path, texts: list[Path], root: Path) -> Pairs:
    """Pair by YOLO's own rule, then by path without the words for pictures and labels, then by a name that is unique.

    A label file that several pictures could mean is of none of them, and those without another are left out.
    """
    pairs, free = Pairs(), set(texts)
    own = {
        picture: next((c for c in map(Path, label_candidates(str(picture))) if c in free), None) for picture in pictures
    }
    rules = (
        lambda path, base: own.get(path, path),
        lambda path, base: _key(path.relative_to(base)),
        lambda path, base: path.stem.casefold(),
    )
    for rule in rules:
        labels, wanted = defaultdict(list), defaultdict(list)
        for text in sorted(free):
            labels[rule(text, root)].append(text)
        for picture in pictures:
            wanted[rule(picture, images)].append(picture)
        for name, alike in labels.items():
            meant = wanted.get(name, [])
            if len(meant) == len(alike) == 1 and meant[0] not in pairs.labels:
                pairs.labels[meant[0]] = alike[0]
                pairs.by_name += rule is rules[2]
            elif meant:
                shown = ", ".join(picture.relative_to(images).as_posix() for picture in meant[:3])
                taken = "has another label file" if len(meant) == 1 else "could each be meant"
                pairs.unclear += [(text, f"{shown} {taken}", f"label files whose picture {taken}") for text in alike]
                pairs.doubtful.update(picture for picture in meant if picture not in pairs.labels)
            free -= set(alike) if meant else set()
    _contradicted(pairs, images, texts, root)
    pairs.unclear += [(text, "no picture has its name", "") for text in free]
    pairs.unclear.sort()
    pairs.doubtful -= set(pairs.labels)
    return pairs


def _contradicted(pairs: Pairs, images: Path, texts: list[Path], root: Path) -> None:
    """Take back the labels of a picture for which a file of another place, by its path as good, says something else."""
    places = defaultdict(list)
    for text in texts:
        places[_key(text.relative_to(root))].append(text)
    for picture, own in list(pairs.labels.items()):
        others = [text for text in places[_key(picture.relative_to(images))] if text not in pairs.labels.values()]
        if any(text.read_bytes().split() != own.read_bytes().split() for text in others):
            del pairs.labels[picture]
            pairs.doubtful.add(picture)


def _key(path: Path) -> tuple[str, ...]:
    """A path without suffix or words for pictures and labels: images/train/x.jpg is train/labels/x.txt."""
    folders = [_KINDS.sub("", part.casefold()) for part in path.parts[:-1]]
    return (*(split_name(part) or part for part in folders if part), path.stem.casefold())


def _items(text: Path, names: tuple[str, ...], poses: bool, counts: Counter[str]) -> Iterator[tuple[str, Box | str]]:
    data = text.read_bytes()
    if poses:  # class, box, then key points
        data = b"\n".join(b" ".join(line.split()[:5]) for line in data.splitlines())
    parsed = parse_labels(data, len(names))
    counts["polygons that became boxes"] += parsed.polygons
    counts["boxes clipped to their picture"] += parsed.clipped
    for index, cx, cy, width, height in parsed.rows.tolist():
        edges = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        corners = tuple(min(max(edge, 0.0), 1.0) for edge in edges)  # the rows are inside, to 32 bits
        yield "row", Box(names[int(index)], corners)
    for line, note in parsed.notes:
        yield f"line {line}", note
