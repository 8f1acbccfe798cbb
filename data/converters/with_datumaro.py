"""Layouts that this package does not read itself, through the optional library Datumaro."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.converters.source import Box, Record, Source
from data.converters.split_names import split_name
from utils.errors import UserError

KINDS = {"bbox", "polygon", "mask", "rotated_bbox", "ellipse"}  # what a box can be put around
REMEDY = "pip install -r requirements-datumaro.txt"


def read(source: Path, images: Path | None, layout: str | None = None) -> Source:
    """Every picture that Datumaro finds in `source`, as `layout` (its name of one) or as it makes out by itself.

    Datumaro says itself which picture file an annotation is of; `images` is where others are looked for.

    Raises:
        UserError: the library is not installed, or cannot tell or read the layout.
    """
    try:
        library = importlib.import_module("datumaro")
    except ImportError as error:
        raise UserError(f"--with datumaro: {error}; {REMEDY}") from None
    layout = layout or _detected(library, source)
    try:
        dataset = library.Dataset.import_from(str(source), layout)
        categories = dataset.categories().get(library.AnnotationType.label)
        items = list(dataset)
    except Exception as error:  # the library raises almost anything on a broken file
        raise UserError(f"{source}: Datumaro cannot read it as {layout} ({_short(error)})") from None
    root = source if source.is_dir() else source.parent
    names = tuple(category.name for category in categories.items) if categories else ()
    found = Source(f"{layout}, by Datumaro", (images or root,), names=names)
    found.records = _records(items, names, images or root, found.counts)
    return found


def _detected(library: Any, source: Path) -> str:
    try:
        layouts = library.Environment().detect_dataset(str(source))
    except Exception as error:  # as above
        raise UserError(f"{source}: Datumaro cannot tell its layout ({_short(error)})") from None
    if len(layouts) != 1:
        what = f"could be {', '.join(sorted(layouts))}" if layouts else "is of no layout that Datumaro knows"
        example = sorted(layouts or ["kitti_detection"])[0]
        raise UserError(f"{source}: {what}; name one before it: data.convert {example} SRC --with datumaro")
    return layouts[0]


def _records(items: list[Any], names: tuple[str, ...], root: Path, counts: Counter[str]) -> Iterator[Record]:
    for item in items:
        media = item.media
        path = getattr(media, "path", None) or item.id
        sides = media.size if getattr(media, "has_size", False) else None
        size = (float(sides[1]), float(sides[0])) if sides else None
        boxes = tuple((f"annotation {index}", _box(one, names)) for index, one in enumerate(_shapes(item, counts)))
        where, split = f"{item.subset}: {item.id}", split_name(item.subset)
        yield Record(where, str(path), (root,), size=size, items=boxes, split=split)


def _shapes(item: Any, counts: Counter[str]) -> Iterator[Any]:
    """The annotations that have an area; the others are counted."""
    for annotation in item.annotations:
        kind = annotation.type.name
        if kind in KINDS:
            yield annotation
        else:
            counts[f"annotations of kind {kind}, left out"] += 1


def _box(annotation: Any, names: tuple[str, ...]) -> Box | str:
    if annotation.label is None or not 0 <= annotation.label < len(names):
        return "it lacks a class"
    x, y, width, height = (float(v) for v in annotation.get_bbox())
    return Box(names[annotation.label], (x, y, x + width, y + height))


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
