"""CreateML JSON: a list of pictures, boxes by their centre in pixels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.converters.json_files import FileLayout, load_json, text_of
from data.converters.shapes import numbers
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of_file


def _known(text: str) -> bool:
    return text.lstrip().startswith("[") and '"coordinates"' in text and '"image"' in text


LAYOUT = FileLayout("CreateML JSON", _known, "CreateML JSON; name the file or its folder")
recognise = LAYOUT.recognise


def read(source: Path, images: Path | None = None) -> Source:
    """Every picture of every file; a file in a folder called train, valid or test is that part of the split."""
    files, root, found = LAYOUT.open(source, images)
    found.records = _records(files, root, images, found)
    return found


def _records(files: list[Path], root: Path, images: Path | None, found: Source) -> Iterator[Record]:
    for file in files:
        path = file.relative_to(root)
        for index, entry in enumerate(load_json(file)):
            where = f"{path.as_posix()}: entry {index}"
            picture = text_of(entry.get("image", entry.get("imagefilename"))) if isinstance(entry, dict) else ""
            given = entry.get("annotations") if isinstance(entry, dict) else None
            if not picture or not isinstance(given, list):
                found.skip(where, "it names no picture or lacks the list 'annotations'")
                continue
            items = tuple((f"annotations[{number}]", _box(one)) for number, one in enumerate(given))
            folders = (file.parent, *([images] if images else []))
            yield Record(where, picture, folders, items=items, split=split_of_file(path))


def _box(one: Any) -> Box | str:
    label = text_of(one.get("label")) if isinstance(one, dict) else ""
    place = one.get("coordinates") if isinstance(one, dict) else None
    values = numbers(place.get(key) for key in ("x", "y", "width", "height")) if isinstance(place, dict) else None
    if not label or values is None:
        return "it lacks a label or a coordinate"
    x, y, width, height = values
    return Box(label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
