"""YOLO text labels, as exported, of any tree: `class cx cy w h` or polygons, in fractions of the picture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data.converters.json_files import files_below, head
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of
from data.converters.yolo_config import Config, find_config, is_config, is_list, is_names, rows_in, splits
from data.converters.yolo_pairs import KINDS, base, pair
from data.labels import parse_labels
from data.pictures import SUFFIXES
from utils.errors import UserError

MOST_CLASSES = 10_000  # a class number beyond is a slip


def recognise(source: Path) -> str | None:
    """Text files of YOLO rows beside pictures or in a folder of labels; or a data YAML or obj.data itself."""
    if source.is_file():
        return f"YOLO, by {source.name}" if is_config(source) else None
    text = next((text for text in _label_files(source) if rows_in(head(text))), None)
    return f"YOLO, such as {text.relative_to(source)}" if text else None


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
    stems = {base(picture) for picture in files_below(root, *SUFFIXES)}
    found = []
    for text in files_below(root, ".txt"):
        ours = base(text) in stems or any(KINDS.fullmatch(part.casefold()) for part in text.relative_to(root).parts)
        if (ours or rows_in(head(text))) and not is_names(text) and not is_list(text):
            found.append(text)
    return found


def _classes(texts: list[Path]) -> int:
    first = re.compile(rb"(?m)^\s*(\d{1,5})(?:\.0*)?\s")
    numbers = {int(match) for text in texts for match in first.findall(text.read_bytes())}
    return max((number for number in numbers if number < MOST_CLASSES), default=-1) + 1


def _records(root: Path, images: Path, texts: list[Path], config: Config, found: Source) -> Iterator[Record]:
    pictures = list(files_below(images, *SUFFIXES))
    stated, lost = splits(config, images, pictures)
    for where, reason in lost:
        found.skip(where, reason, "what a split names is not there")
    trained = [parts for parts in stated.values() if "train" in parts]
    no_split = bool(trained) and all(len(parts) > 1 for parts in trained)
    told = "which is not a split" if no_split else "kept for validation or test"
    twice = sum(len(parts) > 1 for parts in stated.values())
    found.counts[f"pictures that two parts of the split name, {told}"] = twice
    pairs = pair(pictures, images, texts, root)
    found.counts["label files found by the name of their picture alone"] = pairs.by_name
    for unclear, reason, kind in pairs.unclear:
        found.skip(unclear.relative_to(root).as_posix(), reason, kind)
    for picture in sorted(pairs.doubtful):
        found.skip(picture.relative_to(images).as_posix(), "its label file could also belong to another picture")
    for picture in pictures:
        if picture in pairs.doubtful:
            continue
        path, text = picture.relative_to(images), pairs.labels.get(picture)
        parts = stated.get(picture) or {split_of(path)}
        items = tuple(_items(text, found.names, config.poses, found.counts)) if text else ()
        where = text.relative_to(root).as_posix() if text else path.as_posix()
        split = min(parts, key=("test", "val", "train", None).index) if len(parts) == 1 or not no_split else None
        yield Record(where, path.as_posix(), (images,), items=items, split=split, normalised=True)


def _items(text: Path, names: tuple[str, ...], poses: bool, counts: Counter[str]) -> Iterator[tuple[str, Box | str]]:
    data = text.read_bytes()
    if b"," in data:
        data = b"\n".join(map(_without_commas, data.splitlines()))
        counts["label files with commas for points or between columns"] += 1
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
        if "read as a box" in note:
            counts["rows with more columns " + note.partition(" columns ")[2].partition(";")[0]] += 1
        else:
            yield f"line {line}", note


def _without_commas(line: bytes) -> bytes:
    """0,5 is 0.5; but where points or no blanks are, commas stand between columns."""
    between = b"." in line or len(line.split()) == 1
    return line.replace(b",", b" " if between else b".")
