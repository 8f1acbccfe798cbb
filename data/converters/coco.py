"""COCO detection JSON: `images`, `annotations` with [x, y, width, height] boxes in pixels, `categories`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data.converters.annotations import Annotations, Box, Picture, contained, place, shown_size
from data.pictures import BadPictureError
from utils.console.log import progress
from utils.errors import UserError


def read(source: Path, workers: int = 8) -> Annotations:
    """Read a JSON file, or every one in SRC/annotations (else in SRC); pictures are looked for in the folders around.

    Classes are numbered by ascending category id. Crowd annotations (`iscrowd`), which outline no single object, are
    left out.

    Raises:
        UserError: no JSON file, one that is broken, or category ids that mean different things in two files.
    """
    files = (
        [source]
        if source.is_file()
        else sorted((source / "annotations").glob("*.json")) or sorted(source.glob("*.json"))
    )
    if not files:
        raise UserError(
            f"{source}: no annotations/*.json; name the JSON file, or the folder with annotations/ and images/"
        )
    found, categories = Annotations(), {}
    for file in files:
        content = _load(file)
        if not all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
            found.skipped.append(f"{file.name}: holds no boxes (it lacks images, annotations or categories)")
            continue
        for number, name in _categories(content, file).items():
            if categories.setdefault(number, name) != name:
                raise UserError(
                    f"{file}: category {number} is {name!r}, elsewhere {categories[number]!r}; convert the files apart"
                )
        _take(found, content, file, categories, workers)
    found.names = tuple(categories[number] for number in sorted(categories))
    if len(set(found.names)) < len(found.names):
        twice = next(name for name, count in Counter(found.names).items() if count > 1)
        raise UserError(f"{source}: two categories are called {twice!r}; rename one")
    return found


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: broken JSON ({error.msg}); export it again") from None
    except (ValueError, RecursionError):
        raise UserError(f"{file}: not a COCO JSON file; export it again") from None
    if not isinstance(content, dict):
        raise UserError(
            f"{file}: not a COCO JSON file: it holds a {type(content).__name__}, not an object; export it again"
        )
    return content


def _categories(content: dict[str, Any], file: Path) -> dict[int, str]:
    try:
        names = {int(item["id"]): str(item["name"]) for item in content["categories"]}
        "".join(names.values()).encode()  # JSON can spell half a character
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"{file}: each category needs an id (a number) and a name; export it again") from None
    return names


def _take(found: Annotations, content: dict[str, Any], file: Path, categories: dict[int, str], workers: int) -> None:
    boxes = defaultdict(list)
    for number, item in enumerate(content["annotations"]):
        if not isinstance(item, dict) or item.get("image_id") is None:
            found.skipped.append(f"{file.name}: annotations[{number}]: names no picture")
        elif item.get("iscrowd"):
            found.counts["crowd annotations, left out"] += 1
        else:
            boxes[str(item["image_id"])].append((f"annotations[{number}]", _box(item, categories)))
    folders = _folders(file)
    entries = [entry for entry in content["images"] if isinstance(entry, dict)]
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda entry: _read_one(entry, folders, boxes.get(str(entry.get("id")), ())), entries)
        for entry, result in zip(entries, progress(results, desc="reading", total=len(entries)), strict=True):
            found.add(f"{file.name}: image {entry.get('id')}", result)
    known = {str(entry.get("id")) for entry in entries}
    for image, items in boxes.items():
        if image not in known:
            found.skipped.append(f"{file.name}: {len(items)} boxes of image {image}, which is not listed")


def _folders(file: Path) -> list[Path]:
    """Where pictures may lie, nearest first: beside the JSON, in images/, in the folder above, and one level below."""
    near = [file.parent, file.parent / "images"]
    if file.parent.name == "annotations":
        near = [file.parent.parent / "images", file.parent.parent, file.parent]
    near = [folder for folder in near if folder.is_dir()]
    return near + sorted(below for folder in near for below in folder.iterdir() if below.is_dir())


def _read_one(entry: dict[str, Any], folders: list[Path], items: Iterable[tuple[str, Box | None]]) -> Picture | str:
    name = str(entry.get("file_name") or "")
    paths = [contained(folder, name) for folder in folders]
    if None in paths:
        return f"its picture {name!r} lies outside the picture folder" if name else "it names no picture"
    try:
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return f"its picture {name!r} is missing"
        size = shown_size(path)
    except BadPictureError as error:
        return f"{name}: {error}"
    except OSError as error:
        return f"{name!r} cannot be read ({error.strerror})"
    except ValueError:
        return f"its picture {name!r} has no valid file name"
    stated = (entry.get("width") or size[0], entry.get("height") or size[1])
    if stated != size:
        return f"made for {stated[0]}x{stated[1]} pixels, but {name} has {size[0]}x{size[1]}"
    return place(paths[0].relative_to(folders[0]).as_posix(), path, size, items)


def _box(item: dict[str, Any], categories: dict[int, str]) -> Box | None:
    try:
        label = categories[item["category_id"]]
        x, y, width, height = (float(v) for v in item["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return Box(label, (x, y, x + width, y + height))
