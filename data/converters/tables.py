"""Tables, one box a row: CSV with a header, as TensorFlow's `filename,width,height,class,xmin,...`, or RetinaNet's."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.converters.json_files import example, head, matching
from data.converters.shapes import numbers, size_of
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of_file
from data.pictures import SUFFIXES
from utils.errors import UserError

COLUMNS = {  # what a column is called, without case and marks
    "picture": ("filename", "file", "image", "imagename", "imageid", "imagepath", "path", "imgname", "name"),
    "label": ("class", "label", "classname", "category", "celltype", "labelname", "object"),
    "x1": ("xmin", "x1", "left"), "x2": ("xmax", "x2", "right"),
    "y1": ("ymin", "y1", "top"), "y2": ("ymax", "y2", "bottom"),
    "width": ("width", "imagewidth", "imgwidth"), "height": ("height", "imageheight", "imgheight"),
}  # fmt: skip
NEEDED = ("picture", "label", "x1", "y1", "x2", "y2")
RETINANET = {key: index for index, key in enumerate(("picture", "x1", "y1", "x2", "y2", "label"))}


@dataclass
class Rows:
    """The rows of one picture."""

    where: str
    folder: Path
    size: tuple[float, float] | None = None
    items: list[tuple[str, Box | str]] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)
    fractions: bool = False


def recognise(source: Path) -> str | None:
    """Tables of boxes at or below `source`."""
    return example(source, "CSV table", _known, ".csv")


def read(source: Path, images: Path | None = None) -> Source:
    """Every table below `source`; a table called train, val or test is that part of the split."""
    files = list(matching(source, _known, ".csv"))
    if not files:
        raise UserError(f"{source}: holds no CSV of boxes (columns filename, class, xmin, ymin, xmax, ymax)")
    root = source if source.is_dir() else source.parent
    found = Source("CSV table", (images or root,))
    pictures: dict[tuple[Path, str], Rows] = {}
    for file in files:
        _take(file, root, pictures, found)
    found.records = _records(pictures, images, found)
    return found


def _known(text: str) -> bool:
    return _columns(text) is not None


def _table(text: str) -> Iterator[list[str]]:
    first = text.partition("\n")[0]
    return csv.reader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ",")


def _columns(text: str) -> dict[str, int] | None:
    """Which column is what, by the header or, without one, by RetinaNet's order; None where boxes are not in it."""
    try:
        first = next(_table(text), [])
    except csv.Error:
        return None
    plain = ["".join(filter(str.isalnum, cell.casefold())) for cell in first]
    found = {key: next((plain.index(name) for name in names if name in plain), -1) for key, names in COLUMNS.items()}
    if all(found[key] >= 0 for key in NEEDED):
        return found | ({"fractions": True} if {"imageid", "labelname"} <= set(plain) else {})  # Open Images
    if len(first) == 6 and Path(first[0]).suffix.lower() in SUFFIXES and (numbers(first[1:5]) or not any(first[1:])):
        return RETINANET
    return None


def _take(file: Path, root: Path, pictures: dict[tuple[Path, str], Rows], found: Source) -> None:
    columns, path = _columns(head(file)) or {}, file.relative_to(root)
    split, names = split_of_file(path), _descriptions(file) if columns.get("fractions") else {}
    start = 1 if columns is RETINANET else 2
    rows = list(_table(file.read_bytes().decode("utf-8-sig", "replace")))[start - 1 :]
    for number, row in enumerate(rows, start):
        if not any(cell.strip() for cell in row):
            continue
        cells = {key: row[at].strip() for key, at in columns.items() if key != "fractions" and 0 <= at < len(row)}
        picture = cells.get("picture")
        if not picture:
            found.skip(f"{path.as_posix()}:{number}", "it names no picture")
            continue
        entry = pictures.setdefault((file.parent, picture), Rows(f"{path.as_posix()}: {picture}", file.parent))
        entry.size = entry.size or size_of(cells.get("width"), cells.get("height"))
        entry.fractions = bool(columns.get("fractions"))
        entry.splits |= {split} if split else set()
        if any(cells.get(key) for key in NEEDED[1:]):  # RetinaNet's rows of background name a picture alone
            corners, label = numbers(cells.get(key) for key in NEEDED[2:]), cells.get("label") or ""
            label = names.get(label, label)
            box = Box(label, tuple(corners)) if label and corners else "it lacks a class or a coordinate"
            entry.items.append((f"row {number}", box))


def _descriptions(file: Path) -> dict[str, str]:
    """Open Images calls classes by code; their names are in a table of two columns beside."""
    tables = sorted(file.parent.glob("class-descriptions*.csv"))
    rows = _table(tables[0].read_text("utf-8-sig", errors="replace")) if tables else ()
    return {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}


def _records(pictures: dict[tuple[Path, str], Rows], images: Path | None, found: Source) -> Iterator[Record]:
    for (folder, picture), rows in pictures.items():
        found.counts["pictures that two parts of the split name, which is no split of them"] += len(rows.splits) > 1
        split = next(iter(rows.splits)) if len(rows.splits) == 1 else None
        folders = (folder, *([images] if images else []))
        yield Record(
            rows.where,
            picture,
            folders,
            size=rows.size,
            items=tuple(rows.items),
            split=split,
            normalised=rows.fractions,
        )
