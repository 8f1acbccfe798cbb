"""VGG Image Annotator (VIA 1 and 2): a JSON project or export, or the CSV export; shapes in pixels."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.converters.json_files import FileLayout, load_json, text_of
from data.converters.shapes import Corners, around, ellipse, number, numbers
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of_file
from utils.errors import UserError

PREFERRED = ("class", "label", "name", "type", "object", "category")  # of several attributes, the one that is the class


def _known(text: str) -> bool:
    return "region_attributes" in text or '"_via_' in text


_MISSING = "VIA project, JSON or CSV; name the file or its folder"
LAYOUT = FileLayout("VGG Image Annotator", _known, _MISSING, (".json", ".csv"))
recognise = LAYOUT.recognise


def read(source: Path, images: Path | None = None) -> Source:
    """Every region; its class is the one attribute that regions have, or that called class, label, name or type.

    Raises:
        UserError: no VIA file, or several attributes of which none is plainly the class.
    """
    files, root, found = LAYOUT.open(source, images)
    entries = [(file, entry) for file in files for entry in _entries(file)]
    key = _class_attribute([region for _, entry in entries for region in _regions(entry)], source)
    found.records = _records(entries, key, root, images, found)
    return found


def _entries(file: Path) -> list[dict[str, Any]]:
    """One dictionary with `filename` and `regions` for each picture."""
    if file.suffix.lower() == ".csv":
        return _from_csv(file)
    content = load_json(file)
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return [entry for entry in values if isinstance(entry, dict) and "filename" in entry]


def _from_csv(file: Path) -> list[dict[str, Any]]:
    pictures: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8-sig", "replace"))):
        name = row.get("#filename") or row.get("filename") or ""
        regions = pictures.setdefault((name, row.get("file_size") or ""), [])
        if number(row.get("region_count")) != 0:
            try:
                shape, attributes = (json.loads(row[key]) for key in ("region_shape_attributes", "region_attributes"))
                regions.append({"shape_attributes": shape, "region_attributes": attributes})
            except (KeyError, TypeError, ValueError, RecursionError):
                regions.append({})
    return [{"filename": name, "size": size, "regions": regions} for (name, size), regions in pictures.items()]


def _regions(entry: dict[str, Any]) -> list[Any]:
    regions = entry.get("regions")
    return list(regions.values()) if isinstance(regions, dict) else regions if isinstance(regions, list) else []


def _class_attribute(regions: list[Any], source: Path) -> str:
    attributes = Counter(key for region in regions for key in _part(region, "region_attributes"))
    chosen = next((key for word in PREFERRED for key in attributes if key.casefold() == word), None)
    if chosen is None and len(attributes) > 1:
        known = ", ".join(sorted(attributes))
        raise UserError(f"{source}: regions have the attributes {known}; rename the class attribute to 'class'")
    return chosen or next(iter(attributes), "class")


def _part(region: Any, key: str) -> dict[str, Any]:
    part = region.get(key) if isinstance(region, dict) else None
    return part if isinstance(part, dict) else {}


def _records(
    entries: list[tuple[Path, dict[str, Any]]], key: str, root: Path, images: Path | None, found: Source
) -> Iterator[Record]:
    sizes = {(file, text_of(entry.get("filename")), text_of(entry.get("size"))) for file, entry in entries}
    alike = Counter((file, picture) for file, picture, _ in sizes)
    for file, entry in entries:
        path = file.relative_to(root)
        picture = text_of(entry.get("filename"))
        if alike[file, picture] > 1:  # VIA tells them apart by their bytes alone
            text = f"{alike[file, picture]} pictures are called {picture!r}"
            found.skip(path.as_posix(), text, "pictures with the same name and different contents")
            continue
        items = []
        for index, region in enumerate(_regions(entry)):
            items += [(f"region {index}", item) for item in _boxes(region, key)]
        folders = (file.parent, *([images] if images else []))
        where = f"{path.as_posix()}: {picture}"
        yield Record(where, picture, folders, items=tuple(items), split=split_of_file(path))


def _boxes(region: Any, key: str) -> list[Box | str]:
    value = _part(region, "region_attributes").get(key)
    # check boxes are a dict
    chosen = [name for name, on in value.items() if on] if isinstance(value, dict) else [value]
    labels = [label for label in map(text_of, chosen) if label]
    shape = _part(region, "shape_attributes")
    corners = _corners(shape, str(shape.get("name")))
    if isinstance(corners, str):
        return [corners]
    return [Box(label, corners) for label in labels] or [f"it lacks the attribute {key!r}, its class"]


def _corners(shape: dict[str, Any], kind: str) -> Corners | str:
    if kind in ("point", "polyline"):
        return f"a {kind} has no box"
    if kind == "polygon":
        x, y = shape.get("all_points_x"), shape.get("all_points_y")
        if not (isinstance(x, list) and isinstance(y, list) and len(x) == len(y) > 0):
            return "its points are broken"
        values = numbers([*x, *y])
        return around(list(zip(values[: len(x)], values[len(x) :], strict=True))) if values else "its points are broken"
    keys = {"rect": "x y width height", "circle": "cx cy r r", "ellipse": "cx cy rx ry"}.get(kind)
    values = numbers(shape.get(name) for name in keys.split()) if keys else None
    if values is None:
        return f"a {kind} is not known" if not keys else f"a {kind} with a number that is missing"
    a, b, c, d = values
    degrees = math.degrees(number(shape.get("theta")) or 0.0)
    return (a, b, a + c, b + d) if kind == "rect" else ellipse(a, b, c, d, degrees)
