"""Tables, one box a row: CSV with a header, as TensorFlow's `filename,width,height,class,xmin,...`, or RetinaNet's."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.converters.json_files import FileLayout
from data.converters.shapes import numbers, size_of
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of_file
from data.pictures import SUFFIXES
from utils.errors import UserError

COLUMNS = {  # what a column is called, without case and marks
    "picture": ("filename", "file", "image", "imagename", "imageid", "imagepath", "path", "imgname", "name"),
    "label": ("class", "label", "classname", "category", "celltype", "labelname", "object"),
    "x1": ("xmin", "x1", "left", "bboxx"), "y1": ("ymin", "y1", "top", "bboxy"),
    "x2": ("xmax", "x2", "right"), "y2": ("ymax", "y2", "bottom"),
    "wide": ("bboxwidth",), "high": ("bboxheight",),
    "width": ("width", "imagewidth", "imgwidth"), "height": ("height", "imageheight", "imgheight"),
}  # fmt: skip
RETINANET = ("picture", "x1", "y1", "x2", "y2", "label")
MAKESENSE = ("label", "x1", "y1", "wide", "high", "picture", "width", "height")


def _known(text: str) -> bool:
    return _columns(text) is not None


LAYOUT = FileLayout("CSV table", _known, "CSV of boxes (columns filename, class, xmin, ymin, xmax, ymax)", (".csv",))
recognise = LAYOUT.recognise


@dataclass(frozen=True)
class Columns:
    """Where each column is; whether they are named in a header; whether corners are fractions of the picture."""

    at: dict[str, int]
    header: bool = True
    fractions: bool = False


@dataclass
class Rows:
    """The rows of one picture in tables of one part of the split: names may come again in another."""

    where: str
    folder: Path
    size: tuple[float, float] | None = None
    items: list[tuple[str, Box | str]] = field(default_factory=list)
    split: str | None = None
    fractions: bool = False


def read(source: Path, images: Path | None = None) -> Source:
    """Every table below `source`; a table called train, val or test is that part of the split."""
    files, root, found = LAYOUT.open(source, images)
    pictures: dict[tuple[Path, str, str | None], Rows] = {}
    for file in files:
        _take(file, root, pictures, found)
    found.records = _records(pictures, images)
    return found


def _table(text: str) -> Iterator[list[str]]:
    first = text.partition("\n")[0]
    return csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count))


def _columns(text: str) -> Columns | None:
    """Which column is what: by the header or, without one, in the order of RetinaNet or makesense.ai."""
    try:
        first = [cell.strip() for cell in next(_table(text), [])]
    except csv.Error:
        return None
    plain = ["".join(filter(str.isalnum, cell.casefold())) for cell in first]
    at = {key: next((plain.index(name) for name in names if name in plain), -1) for key, names in COLUMNS.items()}
    at = {key: index for key, index in at.items() if index >= 0}
    if {"picture", "label", "x1", "y1"} <= set(at) and ({"x2", "y2"} <= set(at) or {"wide", "high"} <= set(at)):
        return Columns(at, fractions={"imageid", "labelname"} <= set(plain))  # Open Images
    for order, numeric in ((RETINANET, range(1, 5)), (MAKESENSE, (1, 2, 3, 4, 6, 7))):
        at = {key: index for index, key in enumerate(order)}
        pictured = len(first) == len(order) and Path(first[at["picture"]]).suffix.lower() in SUFFIXES
        if pictured and (numbers(first[index] for index in numeric) or not any(first[1:])):
            return Columns(at, header=False)
    return None


def _take(file: Path, root: Path, pictures: dict[tuple[Path, str, str | None], Rows], found: Source) -> None:
    columns, path = _columns(_text(file)), file.relative_to(root)
    split, names = split_of_file(path), _descriptions(file) if columns.fractions else {}
    try:
        rows = list(_table(_text(file)))
    except csv.Error as error:
        raise UserError(f"{file}: a broken table ({error}); export it again") from None
    for number, row in enumerate(rows[columns.header :], 1 + columns.header):
        cells = {key: row[at].strip() for key, at in columns.at.items() if at < len(row)}
        picture = cells.get("picture")
        if not picture:
            if any(row):
                found.skip(f"{path.as_posix()}:{number}", "it names no picture")
            continue
        fresh = Rows(f"{path.as_posix()}: {picture}", file.parent, split=split)
        entry = pictures.setdefault((file.parent, picture, split), fresh)
        entry.size = entry.size or size_of(cells.get("width"), cells.get("height"))
        entry.fractions = columns.fractions
        if any(cells.get(key) for key in ("label", "x1", "y1")):  # RetinaNet's rows of background name a picture alone
            label = names.get(cells.get("label", ""), cells.get("label", ""))
            entry.items.append((f"row {number}", _box(label, cells)))


def _box(label: str, cells: dict[str, str]) -> Box | str:
    wide = "wide" in cells
    corners = numbers(cells.get(key) for key in ("x1", "y1", *(("wide", "high") if wide else ("x2", "y2"))))
    if not label or corners is None:
        return "it lacks a class or a coordinate"
    x, y, right, bottom = corners
    return Box(label, (x, y, x + right, y + bottom) if wide else (x, y, right, bottom))


def _text(file: Path) -> str:
    """A table as text: UTF-8, as spreadsheets save "Unicode", or as they save it in western Europe."""
    data = file.read_bytes()
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _descriptions(file: Path) -> dict[str, str]:
    """Open Images calls classes by code; their names are in a table of two columns beside."""
    tables = sorted(file.parent.glob("class-descriptions*.csv"))
    rows = _table(tables[0].read_text("utf-8-sig", errors="replace")) if tables else ()
    return {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}


def _records(pictures: dict[tuple[Path, str, str | None], Rows], images: Path | None) -> Iterator[Record]:
    for (folder, picture, split), rows in pictures.items():
        folders = (folder, *([images] if images else []))
        items = tuple(rows.items)
        yield Record(rows.where, picture, folders, "", rows.size, items, split, normalised=rows.fractions)
