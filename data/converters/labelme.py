"""labelme (and X-AnyLabeling) JSON: one file a picture, with `shapes` of `points` and the picture's `imagePath`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.converters.json_files import FileLayout, load_json, text_of
from data.converters.shapes import Corners, around, ellipse, points_of, size_of
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of
from utils.errors import UserError

NO_AREA = {"point", "points", "line", "linestrip"}


def _known(text: str) -> bool:
    return '"shapes"' in text or ('"imageData"' in text and '"imagePath"' in text)


LAYOUT = FileLayout("labelme JSON", _known, "labelme JSON (with 'shapes' and 'imagePath'); name the folder that does")
recognise = LAYOUT.recognise


def read(source: Path, images: Path | None = None) -> Source:
    """A record for each file. Polygons of one label with one `group_id` are parts of one object, as labelme has it."""
    files, root, found = LAYOUT.open(source, images)
    found.records = _records(files, root, images, found)
    return found


def _records(files: list[Path], root: Path, images: Path | None, found: Source) -> Iterator[Record]:
    for file in files:
        where = file.relative_to(root).as_posix()
        try:
            content = load_json(file)
        except UserError as error:
            found.skip(where, str(error).removeprefix(f"{file}").lstrip(": "), "broken JSON")
            continue
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            found.skip(where, "it lacks the list 'shapes'")
            continue
        folders = (file.parent, *([images] if images else []))
        picture = text_of(content.get("imagePath")) or file.stem
        size = size_of(content.get("imageWidth"), content.get("imageHeight"))
        items = tuple(_items(content["shapes"], found.counts))
        split = split_of(file.relative_to(root))
        yield Record(where, picture, folders, stem=file.stem, size=size, items=items, split=split)


def _items(shapes: list[Any], counts: Counter[str]) -> Iterator[tuple[str, Box | str]]:
    """The boxes of the shapes, those of a group joined where its first part stands."""
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    items: list[tuple[str, Box | str | tuple[str, str]]] = []
    for index, shape in enumerate(shapes):
        what = f"shapes[{index}]"
        label, group, kind, box = _shape(shape)
        if isinstance(box, str):
            items.append((what, box))
        elif group and kind == "polygon":
            corners = [box[:2], box[2:]]
            if (label, group) in groups:
                groups[label, group] += corners
                counts["polygons joined to others of their group_id"] += 1
            else:
                groups[label, group] = corners
                items.append((what, (label, group)))
        else:
            items.append((what, Box(label, box)))
    for what, item in items:
        yield what, Box(item[0], around(groups[item])) if isinstance(item, tuple) else item


def _shape(shape: Any) -> tuple[str, str, str, Corners | str]:
    """Label, group_id, kind, and the corners or the reason why there are none."""
    if not isinstance(shape, dict):
        return "", "", "", "is not a shape"
    label, group = text_of(shape.get("label")), text_of(shape.get("group_id"))
    kind = text_of(shape.get("shape_type")) or "polygon"
    points = points_of(shape.get("points"))
    if kind in NO_AREA:
        return label, group, kind, f"a {kind} has no box"
    if not label:
        return label, group, kind, "it lacks a label"
    if points is None or len(points) < 2:
        return label, group, kind, "its points are not pairs of numbers" if points is None else "it has a single point"
    if kind == "circle":  # its centre and a point on the line
        radius = math.dist(points[0], points[1])
        return label, group, kind, ellipse(*points[0], radius, radius)
    return label, group, kind, around(points)
