"""COCO detection JSON: `images`, `annotations` with [x, y, width, height] boxes in pixels, `categories`."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from data.converters import run_lengths
from data.converters.categories import Categories, ident
from data.converters.json_files import HEAD, files_below, head, load_json, such_as, text_of
from data.converters.shapes import around, number, numbers, size_of
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_name, split_of
from utils.errors import UserError

KEYS = ("images", "annotations", "categories")
NAMES = ("file_name", "path", "coco_url", "url")  # where a picture's name or path may stand
_BEGINS = re.compile(r'\s*\{\s*"(info|licenses|images|annotations|categories|type|supercategories)"\s*:')
_LISTS = re.compile(r'"(images|annotations)"\s*:')


def recognise(source: Path) -> str | None:
    """JSON files that begin as COCO's do."""
    file = next((file for file in files_below(source, ".json") if _is_coco(file)), None)
    return such_as("COCO JSON", file, source)


def _is_coco(file: Path) -> bool:
    text = head(file)
    if len(text) < HEAD:  # the whole file: of its keys one at least that no other tool's file has
        return all(f'"{key}"' in text for key in KEYS) or bool(_BEGINS.match(text) and _LISTS.search(text))
    if _BEGINS.match(text) or all(f'"{key}"' in text for key in KEYS):
        return True
    return text.lstrip().startswith("{") and _names_all(file)


def _names_all(file: Path) -> bool:
    """Whether a large file has all keys of COCO's, wherever they stand."""
    try:
        data = file.read_bytes()
    except OSError:
        return False
    return all(f'"{key}"'.encode() in data for key in (*KEYS, "image_id", "category_id"))


def read(source: Path, images: Path | None = None) -> Source:
    """A JSON file, or every one of COCO's below `source`. Classes are numbered by ascending category id.

    Crowd annotations (`iscrowd`), which outline no single object, are left out.

    Raises:
        UserError: no JSON file, one that is broken, or category ids that mean different things in two files.
    """
    files = [source] if source.is_file() else _choose(source)
    if not files:
        raise UserError(f"{source}: holds no JSON file; name the file, or the folder with annotations/ and images/")
    root = source if source.is_dir() else source.parent.parent if _is_plain(source.parent) else source.parent
    found = Source("COCO", (images or root,))
    contents, categories = [], Categories(source)
    for file in files:
        content = load_json(file, "COCO JSON")
        if not isinstance(content, dict):
            kind = type(content).__name__
            raise UserError(f"{file}: not a COCO JSON file: it holds a {kind}, not an object; export it again")
        if not all(isinstance(content.get(key), list) for key in KEYS):
            missing = ", ".join(key for key in KEYS if not isinstance(content.get(key), list))
            found.skip(file.name, f"holds no boxes (it lacks {missing})", "a JSON file that lacks " + missing)
            continue
        if any(isinstance(item, dict) and "segments_info" in item for item in content["annotations"]):
            found.skip(file.name, "holds panoptic segments, not boxes", "a JSON file of panoptic segments")
            continue
        categories.add(content, file)
        contents.append((file, content))
    used = {ident(item.get("category_id")) for _, c in contents for item in c["annotations"] if isinstance(item, dict)}
    found.names = categories.names(used, found)
    found.records = _all_records(found, contents, categories, images or root)
    return found


def _choose(source: Path) -> list[Path]:
    """The files of COCO's form, else every JSON file: what is wrong with them is said."""
    files = [file for file in files_below(source, ".json") if _is_coco(file)]
    return files or sorted((source / "annotations").glob("*.json")) or sorted(source.glob("*.json"))


def _is_plain(folder: Path) -> bool:
    """Whether a folder is called as those that hold annotations alone are."""
    return folder.name.lower() in ("annotations", "annotation", "labels", "json")


def _all_records(
    found: Source, contents: list[tuple[Path, dict[str, Any]]], categories: Categories, root: Path
) -> Iterator[Record]:
    for file, content in contents:
        split = _split(file, root)
        items = _items(found, file, content, categories)
        folders = _folders(file, root, split)
        entries = [entry for entry in content["images"] if isinstance(entry, dict)]
        if len(entries) < len(content["images"]):
            number_of = len(content["images"]) - len(entries)
            found.skip(file.name, f"entries of images that are not objects: {number_of}", "an image that is no object")
        shared = _shared_names(file, entries)
        for entry in entries:
            where = f"{file.name}: image {text_of(entry.get('id')) or entry.get('id')}"
            name = _name(entry)
            size = size_of(entry.get("width"), entry.get("height"))
            own = items.pop(ident(entry["id"]), ()) if entry.get("id") is not None else ()
            yield Record(where, name, folders, "", size, tuple(own), split, shared=name in shared)
        for image, rest in items.items():
            what = f"{len(rest)} box{'' if len(rest) == 1 else 'es'} of image {image}, which is not listed"
            found.skip(file.name, what, "its image is not listed")


def _name(entry: dict[str, Any]) -> str:
    return next((name for key in NAMES if (name := text_of(entry.get(key)))), "")


def _shared_names(file: Path, entries: list[dict[str, Any]]) -> set[str]:
    """Names that several ids have. Raises UserError where several names have one id: whose boxes are whose is lost."""
    names: dict[Hashable, str] = {}
    ids: dict[str, Hashable] = {}
    shared = set()
    for entry in entries:
        if entry.get("id") is None:
            continue
        key, name = ident(entry["id"]), _name(entry)
        other = names.setdefault(key, name)
        if other != name:
            raise UserError(f"{file}: {other!r} and {name!r} have one id, {entry['id']!r}; renumber them")
        if ids.setdefault(name, key) != key:
            shared.add(name)
    return shared


def _split(file: Path, root: Path) -> str | None:
    """The part that a file's name says, "instances_train2017.json", else its folder."""
    words = (split_name(word) for word in re.split(r"[\W_]+", file.name.removesuffix(file.suffix)))
    inside = file.relative_to(root) if file.is_relative_to(root) else Path(file.parent.name, file.name)
    return next((word for word in words if word), None) or split_of(inside)


def _folders(file: Path, root: Path, split: str | None) -> tuple[Path, ...]:
    """Where the pictures of a file may lie: its own folder first, then those around, among which a name is to fit one.

    Its own folder is that of its name, train2017 of instances_train2017.json, else the only one of its part of the
    split, else where the file lies.
    """
    base = file.parent.parent if _is_plain(file.parent) and file.parent != root else file.parent
    near = (base, base / "images", file.parent, root, root / "images")
    tail = re.sub(r"^(instances|annotations|coco)[_-]", "", file.stem)
    listed = (sorted(folder.iterdir()) for folder in dict.fromkeys(near) if folder.is_dir())
    below = [entry for entries in listed for entry in entries if entry.is_dir()]
    named = [entry for entry in below if entry.name == tail]
    parts = [entry for entry in below if split is not None and split_name(entry.name) == split]
    own = named if len(named) == 1 else parts if len(parts) == 1 and not named else []
    if split is not None and split_name(file.parent.name) == split:
        own = [file.parent]
    rest = [inside for folder in (*own, *named, *parts) for inside in (folder, folder / "images")]
    return tuple(dict.fromkeys((*own, file.parent, *rest, *near)))


def _items(
    found: Source, file: Path, content: dict[str, Any], categories: Categories
) -> dict[Any, list[tuple[str, Box | str]]]:
    """What to call each annotation and its box, by the image it belongs to."""
    items: dict[Any, list[tuple[str, Box | str]]] = defaultdict(list)
    for position, item in enumerate(content["annotations"]):
        what = f"annotations[{position}]"
        if not isinstance(item, dict) or item.get("image_id") is None:
            found.skip(file.name, f"{what}: names no picture", "an annotation that names no picture")
        elif item.get("iscrowd") and number(item["iscrowd"]) != 0:
            found.counts["crowd annotations, left out"] += 1
        else:
            items[ident(item["image_id"])].append((what, _box(item, categories)))
    return items


def _box(item: dict[str, Any], categories: Categories) -> Box | str:
    label = categories.label(item.get("category_id"))
    given = item.get("bbox")
    values = numbers(given) if isinstance(given, list | tuple) and len(given) == 4 else None
    if label is None or (values is None and given not in (None, [])):
        return "it lacks a class or a corner"
    if values is None or not any(values):
        corners = outline(item.get("segmentation"))
        return Box(label, corners) if corners else "it lacks a class or a corner: neither bbox nor segmentation"
    x, y, width, height = values
    return Box(label, (x, y, x + width, y + height))


def outline(segmentation: Any) -> tuple[float, ...] | None:
    """The box around polygons [[x, y, x, y, ...], ...] or run lengths (RLE); None where it is neither."""
    if isinstance(segmentation, dict):
        return run_lengths.box_of(segmentation)
    if not isinstance(segmentation, list):
        return None
    rings = segmentation if segmentation and isinstance(segmentation[0], list) else [segmentation]
    points = []
    for ring in rings:
        values = numbers(ring) if isinstance(ring, list) else None
        if not values or len(values) < 6 or len(values) % 2 or not all(map(math.isfinite, values)):
            return None
        points += list(zip(values[::2], values[1::2], strict=True))
    return around(points)
