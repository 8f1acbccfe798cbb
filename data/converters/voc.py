"""PASCAL VOC: one XML file a picture, in all the folders it is published in."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from data.converters.json_files import files_below, head
from data.converters.shapes import number, size_of
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of
from data.converters.xml_files import load_xml
from utils.errors import UserError

LARGEST = 8 << 20  # bytes: a hundred thousand objects take less
PICTURE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "pictures", "photos")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
LISTS = ("test", "val", "train", "trainval")  # a name in several is in the first: what validates is never trained on


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
    homes = {folder: _home(folder, source) for folder in {file.parent for file in files}}
    places = [folder for _, folder in homes.values() if folder]
    roots = (images,) if images else tuple(dict.fromkeys(places)) if len(places) == len(homes) else (source,)
    found = Source("PASCAL VOC", roots)
    found.records = _records(found, source, files, homes, images)
    return found


def _home(folder: Path, source: Path) -> tuple[Path, Path | None]:
    """The nearest folder above annotations that has one of pictures in it, and that one (None: none has)."""
    for base in (folder, *folder.parents):
        try:
            inside = sorted(entry for entry in base.iterdir() if entry.name.lower() in PICTURE_FOLDERS)
        except OSError:
            inside = []
        if inside and inside[0].is_dir():
            return base, min(inside, key=lambda entry: PICTURE_FOLDERS.index(entry.name.lower()))
        if base == source:
            break
    return source, None


def _records(
    found: Source, source: Path, files: list[Path], homes: dict[Path, tuple[Path, Path | None]], images: Path | None
) -> Iterator[Record]:
    lists = {base: _published(base, found) for base, _ in set(homes.values())}
    for file in files:
        where = str(file.relative_to(source))
        base, pictures = homes[file.parent]
        try:
            tree = load_xml(file, LARGEST)
        except UserError as error:
            found.skip(where, str(error))
            continue
        if tree.tag != "annotation":
            found.skip(where, f"no annotation of a picture, but <{tree.tag[:40]}>", "no annotation of a picture")
            continue
        split = lists[base].get(file.stem.casefold()) or split_of(file.relative_to(source))
        yield _record(where, file, tree, _folders(file, base, images or pictures), split, found)


def _folders(file: Path, base: Path, pictures: Path | None) -> tuple[Path, ...]:
    """Where a picture's path may begin: the same place below the pictures as the annotation has below its own, ..."""
    if pictures is None:
        return (file.parent,)
    parts = file.parent.relative_to(base).parts if file.is_relative_to(base) else ()
    mirrored = [pictures.joinpath(*parts[start:]) for start in range(len(parts))]
    return (*(folder for folder in mirrored if folder.is_dir()), pictures, file.parent)


def _published(base: Path, found: Source) -> dict[str, str]:
    """The part of each annotation by its name, as lists in ImageSets/Main say."""
    folders = [base / "ImageSets" / "Main", base / "ImageSets"]
    parts: dict[str, str] = {}
    for name in LISTS:
        file = next((file for folder in folders if (file := folder / f"{name}.txt").is_file()), None)
        if file is None:
            continue
        for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            words = line.split()
            if words and len(words) <= 2 and words[-1] != "-1":
                stem = re.sub(r"\.(jpe?g|png|bmp|xml)$", "", os.path.basename(words[0]), flags=re.IGNORECASE).casefold()
                part = "train" if name == "trainval" else name
                if name != "trainval" and parts.get(stem, part) != part:
                    found.counts["pictures listed in two parts of the split, kept for validation or test"] += 1
                parts.setdefault(stem, part)
    return parts


def _record(
    where: str, file: Path, tree: ET.Element, folders: tuple[Path, ...], split: str | None, found: Source
) -> Record:
    objects = tree.findall("object") or list(tree.iter("object"))
    marks = [(item.findtext("difficult") or "").strip() for item in objects]
    found.counts["objects marked difficult, treated like the others"] += marks.count("1")
    items = tuple((f"object {position}", _box(item)) for position, item in enumerate(objects, 1))
    size = size_of(tree.findtext("size/width"), tree.findtext("size/height"))
    name = (tree.findtext("filename") or "").strip() or (tree.findtext("path") or "").strip()
    return Record(where, name, folders, file.stem, size, items, split)


def _box(item: ET.Element) -> Box | str:
    label = " ".join((item.findtext("name") or "").split())
    corners = [number(item.findtext(f"bndbox/{side}")) for side in CORNERS]
    return Box(label, tuple(corners)) if label and None not in corners else "it lacks a class or a corner"
