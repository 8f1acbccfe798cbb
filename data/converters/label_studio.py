"""Label Studio JSON, the full export and JSON-MIN: regions in percent of the picture, pictures named by URL."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from data.converters.json_files import FileLayout, load_json, text_of
from data.converters.shapes import Corners, around, ellipse, number, numbers, points_of, size_of, turned
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_of_file

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")  # what an upload puts before the name of a file
_KINDS = r"(rectangle|polygon|ellipse|brush|keypoint|hyper|bitmask|vector)?labels"


def _known(text: str) -> bool:
    full = '"data"' in text and ('"annotations"' in text or '"completions"' in text)
    return (full and '"result"' in text) or ("original_width" in text and bool(re.search(_KINDS, text)))


LAYOUT = FileLayout("Label Studio JSON", _known, "Label Studio JSON; name the exported file or its folder")
recognise = LAYOUT.recognise


@dataclass(frozen=True)
class Task:
    """One picture's regions as one person left them."""

    where: str
    address: str
    regions: list[Any]
    rank: tuple[bool, str, int]  # of several annotations the highest counts: ground truth, then the latest
    split: str | None


def read(source: Path, images: Path | None = None) -> Source:
    """All tasks. Of several annotations of a picture the ground truth counts, else the one changed last."""
    files, root, found = LAYOUT.open(source, images)
    best: dict[str, Task] = {}
    for file in files:
        where = file.relative_to(root).as_posix()
        content = load_json(file)
        for index, entry in enumerate(content if isinstance(content, list) else [content]):
            name = entry.get("id", index) if isinstance(entry, dict) else index
            for task in _tasks(entry, f"{where}: task {name}", split_of_file(Path(where)), found):
                if task.address in best:
                    found.counts["other or earlier annotations of a picture, left out"] += 1
                if task.address not in best or task.rank > best[task.address].rank:
                    best[task.address] = task
    folders = tuple(dict.fromkeys((*([images] if images else []), root, *(file.parent for file in files))))
    found.records = _records(list(best.values()), folders, found)
    return found


def _tasks(entry: Any, where: str, split: str | None, found: Source) -> Iterator[Task]:
    if not isinstance(entry, dict):
        found.skip(where, "it is not a task")
        return
    given = entry.get("annotations", entry.get("completions"))
    data = entry["data"] if isinstance(entry.get("data"), dict) else entry
    address = _address(data)
    if not address:
        found.skip(where, "it names no picture")
        return
    if not isinstance(given, list):  # JSON-MIN: the regions stand under the name of the control
        lists = [value for value in entry.values() if isinstance(value, list)]
        regions = [{"value": item} for value in lists for item in value if isinstance(item, dict)]
        given = [{"result": regions, **{key: entry.get(key) for key in ("updated_at", "created_at")}}]
    usable = [one for one in given if isinstance(one, dict) and isinstance(one.get("result"), list)]
    cancelled = sum(bool(one.get("was_cancelled") or one.get("skipped")) for one in usable)
    found.counts["annotations that were cancelled, left out"] += cancelled
    usable = [one for one in usable if not (one.get("was_cancelled") or one.get("skipped"))]
    if not usable:
        found.counts["tasks without an annotation, left out"] += 1
    for order, one in enumerate(usable):
        time = text_of(one.get("updated_at")) or text_of(one.get("created_at"))
        yield Task(where, address, one["result"], (bool(one.get("ground_truth")), time, order), split)


def _address(data: dict[str, Any]) -> str:
    """The first value that names a picture, without what signs it."""
    texts = [(key, value) for key, value in data.items() if isinstance(value, str)]
    texts.sort(key=lambda item: item[0] not in ("image", "img", "picture", "photo", "url"))
    for key, text in texts:
        path = _path(text)
        if PurePosixPath(path.replace("\\", "/")).suffix or (path and key in ("image", "img")):
            return text.partition("?")[0] if text.startswith("http") and "?d=" not in text else text
    return ""


def _path(text: str) -> str:
    """The file that an address is of, as it is written there: it may or may not be URL-encoded."""
    text = text.strip()
    if text.startswith("data:"):
        return ""  # the picture itself, of no name
    local = re.search(r"/data/local-files/?\?d=(.*)", text)
    if local:
        return local[1]
    scheme, _, rest = text.rpartition("://")
    if not scheme:
        return text
    path = rest.partition("/")[2]
    return re.split(r"[?#]", path)[0] if scheme.startswith("http") else path


def _records(tasks: list[Task], folders: tuple[Path, ...], found: Source) -> Iterator[Record]:
    """An upload `1a2b3c4d-cat.jpg` is that file where it is there, else `cat.jpg` where one upload has that name."""
    present = {file.name.casefold() for root in found.pictures for file in root.rglob("*")}
    paths = [_path(task.address) for task in tasks]
    whole, names = Counter(paths), [unquote(PurePosixPath(path).name) for path in paths]
    bare = Counter(_UPLOAD.sub("", name, count=1).casefold() for name in names)
    for task, picture, name in zip(tasks, paths, names, strict=True):
        if whole[picture] > 1:
            found.skip(task.where, f"several addresses end in {picture!r}", "its address ends like another one")
            continue
        original = _UPLOAD.sub("", name, count=1) if _UPLOAD.match(name) else name
        if original != name and name.casefold() not in present:
            if bare[original.casefold()] > 1:
                text = f"{name!r} is missing, and {original!r} was uploaded more than once"
                found.skip(task.where, text, "its picture is missing, and its name was uploaded more than once")
                continue
            picture = original
            found.counts["pictures found without the prefix of their upload"] += 1
        size, items = _items(task.regions, found.counts)
        yield Record(task.where, picture, folders, size=size, items=tuple(items), split=task.split, normalised=True)


def _items(regions: list[Any], counts: Counter[str]) -> tuple[tuple[float, float] | None, list[tuple[str, Box | str]]]:
    """Picture size as stated, and each label of each region, in fractions of the picture."""
    size: tuple[float, float] | None = None
    items: list[tuple[str, Box | str]] = []
    labelled = {region.get("id") for region in regions if isinstance(region, dict) and _labels(region)}
    for index, region in enumerate(regions):
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict):
            continue
        stated = size_of(*(region.get(key, value.get(key)) for key in ("original_width", "original_height")))
        size = size or stated
        labels, what = _labels(region), f"region {index}"
        if not labels:
            geometry = {"x", "points", "rle"} & set(value)
            if geometry and not (region.get("id") and region["id"] in labelled):
                items.append((what, "it lacks a label"))
            continue
        if len(labels) > 1:
            counts["regions of several labels, a box for each"] += 1
        corners = _corners(region, value, stated)
        items += [(what, corners if isinstance(corners, str) else Box(label, corners)) for label in labels]
    return size, items


def _labels(region: dict[str, Any]) -> list[str]:
    value = region.get("value")
    found = [value[key] for key in value if re.fullmatch(_KINDS, key)] if isinstance(value, dict) else []
    return [text for one in found if isinstance(one, list) for text in map(text_of, one) if text]


def _corners(region: dict[str, Any], value: dict[str, Any], size: tuple[float, float] | None) -> Corners | str:
    """Fractions of the picture, or the reason why there are none. Angles are true in pixels only."""
    if number(region.get("image_rotation", value.get("image_rotation")) or 0):
        return "its picture was rotated in the tool, which is not supported"
    if "keypointlabels" in value:
        return "a key point has no box"
    degrees = number(value.get("rotation") or 0)
    if degrees is None:
        return "rotated by an angle that is not a number"
    if degrees % 360 and not size:
        return "rotated, but without the picture's size"
    width, height = size or (1.0, 1.0)
    sx, sy = width / 100, height / 100
    points = points_of(value.get("points"))
    if points:
        x1, y1, x2, y2 = around([(x * sx, y * sy) for x, y in points])
    elif "radiusX" in value and (oval := numbers(value.get(k) for k in ("x", "y", "radiusX", "radiusY"))):
        x1, y1, x2, y2 = ellipse(oval[0] * sx, oval[1] * sy, oval[2] * sx, oval[3] * sy, degrees)
    elif "width" in value and (box := numbers(value.get(k) for k in ("x", "y", "width", "height"))):
        x, y = box[0] * sx, box[1] * sy
        x1, y1, x2, y2 = turned((x, y, x + box[2] * sx, y + box[3] * sy), degrees, (x, y))
    else:
        return "a brush has no box" if "rle" in value else "a coordinate is missing or no number"
    return x1 / width, y1 / height, x2 / width, y2 / height
