"""PASCAL VOC: one XML file a picture, in all the folders it is published in."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.converters import image_sets
from data.converters.json_files import files_below, head
from data.converters.shapes import around, number, numbers, size_of, turned
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of
from data.converters.xml_files import load_xml
from utils.errors import UserError

LARGEST = 64 << 20  # bytes: a hundred thousand objects take less
PICTURE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "pictures", "photos")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def recognise(source: Path) -> str | None:
    """XML files of one picture each."""
    if source.is_file():
        return None
    first = next((file for file in files_below(source, ".xml") if _is_voc(file)), None)
    return f"PASCAL VOC, such as {first.relative_to(source)}" if first else None


def _is_voc(file: Path) -> bool:
    return re.search(r"<annotation[\s>]", head(file)[:4096]) is not None


def read(source: Path, images: Path | None = None) -> Source:
    """Every annotation below `source`. Corners are taken as they stand: pixel edges counted from 0.

    Raises:
        UserError: `source` has no XML file.
    """
    files = [] if source.is_file() else list(files_below(source, ".xml"))
    if not files:
        raise UserError(f"{source}: holds no *.xml; name the folder that holds annotations and pictures")
    found = Source("PASCAL VOC", (images or source,))
    found.records = _records(found, source, files, images)
    return found


def _records(found: Source, source: Path, files: list[Path], images: Path | None) -> Iterator[Record]:
    folders = {file.parent for file in files}
    homes = {folder: _home(folder, source) for folder in folders}
    bases = {folder: image_sets.base_of(folder, source) for folder in folders}
    lists = {base: image_sets.published(base, found) for base in set(bases.values())}
    unused = {base: set(lists[base].parts) for base in lists}
    for file in files:
        where = str(file.relative_to(source))
        base, pictures = homes[file.parent]
        listed_in, names = lists[bases[file.parent]].find(file.relative_to(bases[file.parent]))
        unused[bases[file.parent]].difference_update(names)
        try:
            tree = _annotation(load_xml(file, LARGEST))
        except UserError as error:
            found.skip(where, str(error))
            continue
        split = listed_in or split_of(file.relative_to(source))
        yield _record(where, file, tree, _folders(file, base, images or pictures), split, found)
    found.counts["names in ImageSets without an annotation"] += sum(map(len, unused.values()))


def _home(folder: Path, source: Path) -> tuple[Path, Path | None]:
    """The nearest folder above annotations that has one of pictures in it, and that one (None: none has)."""
    for base in (folder, *folder.parents):
        try:
            inside = [entry for entry in base.iterdir() if entry.name.lower() in PICTURE_FOLDERS and entry.is_dir()]
        except OSError:
            inside = []
        if inside:
            return base, min(inside, key=lambda entry: (PICTURE_FOLDERS.index(entry.name.lower()), entry.name))
        if base == source:
            break
    return source, None


def _folders(file: Path, base: Path, pictures: Path | None) -> tuple[Path, ...]:
    """Where a picture's path may begin: the same place below the pictures as the annotation has below its own, ..."""
    if pictures is None:
        return (file.parent,)
    parts = file.parent.relative_to(base).parts if file.is_relative_to(base) else ()
    mirrored = [pictures.joinpath(*parts[start:]) for start in range(len(parts))]
    return (*(folder for folder in mirrored if folder.is_dir()), pictures, file.parent)


def _annotation(tree: ET.Element) -> ET.Element:
    """The element that describes the picture, which some tools wrap into another."""
    inner = [tree, *tree.iter("annotation")] if tree.tag == "annotation" else list(tree.iter("annotation"))
    described = [one for one in inner if one.find("object") is not None or one.find("filename") is not None]
    if not inner or len({id(one) for one in described}) > 1:
        raise UserError(f"not the annotation of one picture, but <{tree.tag[:40]}>")
    return described[0] if described else inner[0]


def _record(
    where: str, file: Path, tree: ET.Element, folders: tuple[Path, ...], split: str | None, found: Source
) -> Record:
    objects = tree.findall("object") or list(tree.iter("object"))
    marks = [(item.findtext("difficult") or "").strip() for item in objects]
    found.counts["objects marked difficult, treated like the others"] += sum(number(mark) == 1 for mark in marks)
    items = tuple((f"object {position}", _box(item)) for position, item in enumerate(objects, 1))
    size = size_of(tree.findtext("size/width"), tree.findtext("size/height"))
    name = (tree.findtext("filename") or "").strip() or (tree.findtext("path") or "").strip()
    return Record(where, name, folders, file.stem, size, items, split)


def _box(item: ET.Element) -> Box | str:
    """An object's own box, not that of its parts; where it has none, the box around its polygon."""
    label = " ".join((item.findtext("name") or "").split())
    corners = numbers(item.findtext(f"bndbox/{side}") for side in CORNERS)
    if corners is None and item.find("bndbox") is None:
        corners = _outline(item)
    return Box(label, tuple(corners)) if label and corners else "it lacks a class or a corner"


def _outline(item: ET.Element) -> Sequence[float] | None:
    """The box around a turned box (cx, cy, w, h and an angle in radians) or a polygon."""
    turned_box = numbers(item.findtext(f"robndbox/{key}") for key in ("cx", "cy", "w", "h", "angle"))
    if turned_box:
        cx, cy, w, h, angle = turned_box
        return turned((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), math.degrees(angle), (cx, cy))
    polygon = item.find("polygon")
    coordinates = [] if polygon is None else [part for part in polygon.iter() if re.fullmatch(r"[xy]\d*", part.tag)]
    x, y = (numbers(part.text for part in coordinates if part.tag[0] == axis) for axis in "xy")
    return around(list(zip(x, y, strict=True))) if x and y and len(x) == len(y) > 2 else None
