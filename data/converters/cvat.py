"""CVAT XML 1.1, for images (`<image>` with shapes) and for video (`<track>` with a shape a frame)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from data.converters.json_files import FileLayout
from data.converters.shapes import Corners, around, ellipse, number, numbers, points_of, size_of, turned
from data.converters.source import Box, Record, Source
from data.converters.split_names import split_name, split_of, split_of_file
from data.converters.xml_files import load_xml
from data.pictures import SUFFIXES
from utils.errors import UserError

SHAPES = {"box", "polygon", "ellipse", "mask", "polyline", "points", "cuboid", "skeleton"}


def _known(text: str) -> bool:
    return "<annotations" in text


LAYOUT = FileLayout("CVAT XML", _known, "CVAT XML 1.1 (with <annotations>); name the file or its folder", (".xml",))
recognise = LAYOUT.recognise


def read(source: Path, images: Path | None = None) -> Source:
    """Every CVAT XML file below `source`; classes in the order of the project's labels.

    Raises:
        UserError: no such file, or frames of a video that two tracks' files would both claim.
    """
    files, root, found = LAYOUT.open(source, images)
    trees = {}
    for file in files:
        try:
            trees[file] = load_xml(file)
        except UserError as error:
            found.skip(file.relative_to(root).as_posix(), str(error))
    _check_videos(trees)
    found.names = _names(trees.values())
    found.records = _records(trees, root, images, found)
    return found


def _names(trees: Iterable[ET.Element]) -> tuple[str, ...] | None:
    """Labels of the projects in their order; sub-labels of skeletons, which have a <parent>, are no classes."""
    labels = [label for tree in trees for label in tree.findall("./meta//label") if not label.findtext("parent")]
    names = dict.fromkeys((label.findtext("name") or "").strip() for label in labels)
    return tuple(name for name in names if name) or None


def _check_videos(trees: dict[Path, ET.Element]) -> None:
    """Frames are only numbers, so two videos must not share a folder: frame 7 of one is not frame 7 of the other."""
    folders = Counter(file.parent for file, tree in trees.items() if tree.find("track") is not None)
    for file, tree in trees.items():
        tasks = {track.get("task_id") for track in tree.iter("track")}
        if len(tasks) > 1:
            raise UserError(f"{file}: tracks of {len(tasks)} videos, whose frames share names; export each separately")
        if folders[file.parent] > 1:
            raise UserError(f"{file.parent}: tracks of several videos in one folder; give each XML one of its own")


def _records(trees: dict[Path, ET.Element], root: Path, images: Path | None, found: Source) -> Iterator[Record]:
    for file, tree in trees.items():
        where = file.relative_to(root).as_posix()
        folders = (file.parent, file.parent / "images", *([images] if images else []))
        times = Counter(_name(image) for image in tree.iter("image"))
        subsets = Counter(name for _, name in times)
        for image in tree.iter("image"):
            subset, name = _name(image)
            who = f"{where}: image {image.get('id')}"
            if not name:
                found.skip(who, "it names no picture")
                continue
            if times[subset, name] > 1:  # of two tasks of a project
                found.skip(who, f"{times[subset, name]} images are called {name!r}", "images of one name in one subset")
                continue
            if subsets[name] > 1:  # then only the subset's own folder tells which is which
                name = f"{subset}/{name}"
            nearer = tuple(folder / subset for folder in folders if subset)
            items = tuple(_items(image, found.counts))
            size = size_of(image.get("width"), image.get("height"))
            split = split_name(subset) or split_of_file(Path(where))
            yield Record(who, name, nearer + folders, size=size, items=items, split=split)
        if tree.find("track") is not None:
            yield from _frames(tree, where, images or file.parent, found)


def _name(image: ET.Element) -> tuple[str, str]:
    return (image.get("subset") or "").strip(), (image.get("name") or "").strip()


def _items(image: ET.Element, counts: Counter[str]) -> Iterator[tuple[str, Box | str]]:
    for index, shape in enumerate((shape for shape in image if shape.tag in SHAPES), 1):
        if shape.get("outside") == "1":
            counts["boxes marked as outside the picture, left out"] += 1
        else:
            yield f"shape {index}", _box(shape, (shape.get("label") or "").strip())
    tags = sum(shape.tag == "tag" for shape in image)
    if tags:
        counts["tags of whole pictures, left out"] += tags


def _box(shape: ET.Element, label: str) -> Box | str:
    if not label:
        return "it lacks a label"
    if shape.tag not in ("box", "polygon", "ellipse", "mask"):
        return f"a {shape.tag} has no box"
    corners = _corners(shape)
    return Box(label, corners) if corners else f"a {shape.tag} with a coordinate that is missing or no number"


def _corners(shape: ET.Element) -> Corners | None:
    if shape.tag == "polygon":
        points = points_of([pair.split(",") for pair in (shape.get("points") or "").split(";") if pair.strip()])
        return around(points) if points else None
    keys = {"box": "xtl ytl xbr ybr", "ellipse": "cx cy rx ry", "mask": "left top width height"}[shape.tag]
    values = numbers(shape.get(key) for key in keys.split())
    degrees = numbers([shape.get("rotation") or 0])
    if values is None or degrees is None:
        return None
    a, b, c, d = values
    if shape.tag == "ellipse":
        return ellipse(a, b, c, d, degrees[0])
    if shape.tag == "mask":
        return a, b, a + c, b + d
    return turned((a, b, c, d), degrees[0], ((a + c) / 2, (b + d) / 2))


def _frames(tree: ET.Element, where: str, folder: Path, found: Source) -> Iterator[Record]:
    """The boxes of all tracks by frame; frame 7 is the picture `frame_000007.*` below the XML's own folder alone."""
    size = size_of(tree.findtext("./meta//original_size/width"), tree.findtext("./meta//original_size/height"))
    frames: dict[int, list[tuple[str, Box | str]]] = defaultdict(list)
    for index, track in enumerate(tree.iter("track")):
        label = (track.get("label") or "").strip()
        for shape in track:
            frame = shape.get("frame") or ""
            if shape.tag not in SHAPES:
                continue
            if not frame.isdecimal():
                found.skip(f"{where}: track {index}", f"a {shape.tag} without a frame number")
            elif shape.get("outside") == "1":
                found.counts["boxes marked as outside the picture, left out"] += 1
            else:
                frames[int(frame)].append((f"track {index}", _box(shape, label)))
    pictures = defaultdict(list)
    for picture in folder.rglob("*"):
        if picture.suffix.lower() in SUFFIXES:
            pictures[picture.stem.casefold()].append(picture)
    _check_numbering(tree, where, frames, pictures)
    for frame, items in sorted(frames.items()):
        name = f"frame_{frame:06d}"
        if len(pictures[name]) == 1:
            path = pictures[name][0].relative_to(folder)
            who, split = f"{where}: frame {frame}", split_of(path)
            yield Record(who, path.as_posix(), (folder,), size=size, items=tuple(items), split=split)
        else:
            reason = "several pictures are" if pictures[name] else "no picture is"
            text = f"{len(items)} boxes left out, {reason} called {name}"
            found.skip(f"{where}: frame {frame}", text, "frames without a picture of their number")


def _check_numbering(tree: ET.Element, where: str, frames: dict[int, Any], pictures: dict[str, Any]) -> None:
    """CVAT counts frames from 0; pictures that another program took out of the video are often numbered from 1."""
    count = number(tree.findtext("./meta//size"))
    from_zero = not number(tree.findtext("./meta//start_frame"))
    past = count is not None and from_zero and f"frame_{int(count):06d}" in pictures
    if "frame_000000" not in pictures and (past or (0 in frames and "frame_000001" in pictures)):
        raise UserError(f"{where}: frames count from 0, but there is no frame_000000; number the pictures from 0")
