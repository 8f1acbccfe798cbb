"""Supervisely: `DATASET/ann/NAME.json` for each `DATASET/img/NAME`, and meta.json with the classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.converters.json_files import FileLayout, load_json, text_of
from data.converters.shapes import around, points_of, size_of
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of
from utils.errors import UserError


def _known(text: str) -> bool:
    return all(key in text for key in ('"objects"', '"size"', '"tags"'))


LAYOUT = FileLayout("Supervisely", _known, "Supervisely ann/*.json; name the project's folder")
recognise = LAYOUT.recognise


def read(source: Path, images: Path | None = None) -> Source:
    """One record for each file in an `ann` folder; data sets called train, val or test are parts of a split."""
    files, root, found = LAYOUT.open(source, images)
    found.records = _records(files, root, images, found)
    return found


def _records(files: list[Path], root: Path, images: Path | None, found: Source) -> Iterator[Record]:
    for file in files:
        path = file.relative_to(root)
        try:
            content = load_json(file)
            objects, size = content["objects"], content["size"]
            stated = size_of(size["width"], size["height"])
            items = tuple((f"objects[{index}]", _box(one)) for index, one in enumerate(objects))
        except (UserError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, UserError) else "lacks objects or size"
            found.skip(path.as_posix(), reason)
            continue
        near = file.parent.with_name("img")
        folders = (near, file.parent, *([images] if images else []))
        yield Record(path.as_posix(), file.stem, folders, size=stated, items=items, split=split_of(path))


def _box(one: Any) -> Box | str:
    if not isinstance(one, dict):
        return "is not an object"
    label, kind, points = text_of(one.get("classTitle")), text_of(one.get("geometryType")), one.get("points")
    outline = points_of(points.get("exterior")) if isinstance(points, dict) else None
    if kind in ("point", "line", "polyline", "bitmap", "graph", "cuboid", "any_shape", "alpha_mask"):
        return f"a {kind} has no box"
    if not label or not outline or len(outline) < 2:
        return "it lacks a class or its points"
    return Box(label, around(outline))
