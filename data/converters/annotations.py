"""Records become pictures with boxes: each picture found, opened, held against what is stated of it, and joined."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from data.converters.finder import PictureFinder, Unusable, is_own, same_name
from data.converters.source import Box, Record, Source
from data.pictures import BadPictureError, check_picture, exif_orientation, read_picture
from utils.console.log import progress

WORKERS = 8
LARGE = 8  # pixels: a picture with a longer side has no box within one


@dataclass(frozen=True)
class Picture:
    """A picture file, its name in the new set, its size as shown in pixels, its boxes, its part, its content's hash."""

    name: str
    file: Path
    width: int
    height: int
    boxes: tuple[Box, ...] = ()
    split: str | None = None
    digest: bytes = b""
    counts: Counter[str] = field(default_factory=Counter)
    lost: tuple[tuple[str, str], ...] = ()  # what to call a box that is none, and why


class Opened(NamedTuple):
    """What is known of a picture file: (width, height) as shown, EXIF orientation, its content's hash."""

    size: tuple[int, int]
    orientation: int
    digest: bytes


Claim = tuple[Record, bool]  # a record that found a picture, and whether its path itself led there


def collect(source: Source, finder: PictureFinder) -> list[Picture]:
    """Every picture of a source with its boxes, in order; what is left out is noted in `source`."""
    found = _match(source, finder)
    pictures = []
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(lambda each: _open(*each), found.items())
        opened = progress(results, desc="reading pictures", total=len(found))
        for (file, records), result in zip(found.items(), opened, strict=True):
            pictures += _annotated(source, file, records, result)
    pictures = [replace(picture, split=picture.split or finder.split(picture.file)) for picture in pictures]
    used = {picture.file for picture in pictures}
    near = {file.parent for file in found}
    unused = sum(file.parent in near and file not in used for file in finder.all())
    source.counts["pictures without a usable annotation, left out"] += unused
    for suffix, count in sorted(finder.foreign.items()):
        source.counts[f"pictures in {suffix}, which is not read: convert them to JPEG or PNG"] += count
    return _named(pictures)


def _match(source: Source, finder: PictureFinder) -> dict[Path, list[Claim]]:
    """The records that found each picture; those that found none are noted as left out."""
    found: list[tuple[Record, Path, bool, Path | None]] = []
    used: Counter[Path] = Counter()
    for record in progress(source.records, desc="reading annotations"):
        try:
            file, by_path = finder.find(record)
        except Unusable as error:
            source.skip(record.where, str(error), error.reason)
            continue
        found.append((record, file, by_path, finder.namesake(record, file)))
        used[file] += 1
    homes: dict[Path, set[Path]] = defaultdict(set)  # of each folder: the folders of records whose path led there
    for record, file, by_path, _ in found:
        homes[file.parent].update(record.folders if by_path else ())
    claims: dict[Path, list[Claim]] = defaultdict(list)
    for record, file, by_path, own in found:
        others = homes[file.parent] if not by_path and file.parent not in record.folders else set()
        if others and others.isdisjoint(record.folders):
            text = f"its picture is missing; {file.name} of {file.parent.name}/ belongs to other annotations"
            source.skip(record.where, text, "its picture is missing")
        elif own is None:
            claims[file].append((record, by_path))
        elif used[file] > 1:  # one name copied into several annotations: their own names tell them apart
            claims[own].append((record, False))
        else:
            text = f"names {record.picture}, but {own.name} has the annotation's own name or place"
            source.skip(record.where, text, "it names one picture and has the name of another")
    return claims


def _settle(source: Source, file: Path, claims: list[Claim]) -> list[Record]:
    """Of the records that found one picture, those that are surely its own; the others are noted as left out."""
    own = [record for record, _ in claims if is_own(record, file)]
    kept = own or [record for record, by_path in claims if by_path]
    if not kept and len({record.picture for record, _ in claims}) == 1:
        kept = [record for record, _ in claims]  # paths that agree in their base name alone are several pictures
    if len(kept) > 1 and any(record.stem for record in kept):  # each from a file for one picture
        named = [record for record in kept if record.stem and same_name(record.stem, file.name)]
        alike = len({tuple(box for _, box in record.items) for record in named}) == 1
        kept = named[:1] if alike else []
    elif len(kept) > 1:
        kept = [record for record in kept if record.items] or kept[:1]
        boxes = {frozenset(box for _, box in record.items) for record in kept}
        parts = {record.split for record in kept} - {None}
        kept = kept if len(boxes) == 1 or len(parts) < 2 else []  # two pictures of one name
    by_name = kept and not any(by_path and record is kept[0] for record, by_path in claims)
    source.counts["pictures found by their base name alone"] += bool(by_name)
    text, reason = f"{file.name} has an annotation already", "its picture has another annotation"
    if not kept:
        text, reason = f"{file.name} is claimed by several annotations", "its picture is claimed by several annotations"
    for record, _ in claims:
        if not any(record is one for one in kept):
            source.skip(record.where, text, reason)
    return kept


def _open(file: Path, claims: Sequence[Claim]) -> Opened | Unusable:
    """The picture's size, its orientation where a record needs that, and its content's hash, or what is wrong."""
    try:
        data = read_picture(file)
        height, width = check_picture(data)
    except BadPictureError as error:
        return Unusable(f"{file.name}: {error}", str(error))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is not valid"
        return Unusable(f"{file.name!r} cannot be read ({why})", f"cannot be read ({why})")
    orientation = 1
    if any(record.size not in (None, (width, height)) for record, _ in claims):
        orientation = exif_orientation(data)
    return Opened((width, height), orientation, hashlib.blake2b(data, digest_size=16).digest())


def _annotated(source: Source, file: Path, claims: Sequence[Claim], opened: Opened | Unusable) -> list[Picture]:
    """The picture with the boxes of the records that were made for it, in a list; empty where none was."""
    fitting = []
    for record, by_path in claims:
        fault = opened if isinstance(opened, Unusable) else _other_size(record, file, opened)
        if fault is None:
            fitting.append((record, by_path))
        else:
            source.skip(record.where, str(fault), fault.reason)
    placed: list[Picture] = []
    for record in _settle(source, file, fitting):
        turn = opened.orientation if record.size not in (None, opened.size) else 1
        picture = place(record, opened.size, turn)
        for what, why in picture.lost:
            source.skip(record.where, f"{what}: {why}", why)
        source.counts.update(picture.counts)
        placed.append(replace(picture, name=file.name, file=file, digest=opened.digest))
    return [_join(source, placed)] if placed else []


def _other_size(record: Record, file: Path, opened: Opened) -> Unusable | None:
    """Why a record was not made for a picture of this size; None where it was, perhaps before the EXIF rotation."""
    if record.size in (None, opened.size) or (opened.orientation >= 5 and record.size == opened.size[::-1]):
        return None
    stated, shown = (f"{width:g}x{height:g}" for width, height in (record.size, opened.size))
    text = f"made for {stated} pixels, but {file.name} has {shown}"
    return Unusable(text, "made for a picture of another size")


def _join(source: Source, same: list[Picture]) -> Picture:
    """One picture with the boxes of several records that name it."""
    first = same[0]
    if len(same) == 1:
        return first
    source.counts["pictures annotated in several places, their boxes joined"] += 1
    parts = {picture.split for picture in same} - {None}
    if len(parts) > 1:  # what validates must not be trained on
        source.counts["pictures listed in two parts of the split, kept for validation or test"] += 1
    split = next((part for part in ("test", "val", "train") if part in parts), None)
    return replace(first, boxes=tuple(dict.fromkeys(box for picture in same for box in picture.boxes)), split=split)


def place(record: Record, size: tuple[int, int], turn: int = 1) -> Picture:
    """The boxes of a record on a picture of `size` (width, height) as shown, clipped to it.

    `turn`: the EXIF orientation from which boxes were not yet turned, 5 to 8; 1 where they need not be.
    """
    boxes: dict[Box, None] = {}
    lost: list[tuple[str, str]] = []
    counts: Counter[str] = Counter()
    for what, box in record.items:
        if isinstance(box, str):
            lost.append((what, box))
            continue
        corners = box.corners
        if not record.normalised and max(size) > LARGE and 0 <= min(corners) <= max(corners) <= 1:
            lost.append((what, "its box is within one pixel: fractions of the picture where pixels are expected"))
            continue
        if record.normalised:
            corners = tuple(v * size[k % 2] for k, v in enumerate(corners))
        if turn != 1:
            corners = turned(corners, size, turn)
        if corners[2] < corners[0] or corners[3] < corners[1]:
            corners = (*map(min, corners[:2], corners[2:]), *map(max, corners[:2], corners[2:]))
            counts["boxes with minimum and maximum swapped, corrected"] += 1
        fitted, reason = fit_box(corners, *size)
        if fitted is None:
            lost.append((what, reason))
            continue
        if Box(box.label, fitted) in boxes:
            counts["boxes given twice, kept once"] += 1
            continue
        boxes[Box(box.label, fitted)] = None
        counts["boxes clipped to their picture"] += fitted != corners
    counts["pictures whose boxes were turned as their EXIF orientation says"] += turn != 1
    return Picture("", Path(), *size, tuple(boxes), record.split, b"", counts, tuple(lost))


def turned(corners: Sequence[float], size: tuple[int, int], orientation: int) -> tuple[float, ...]:
    """Corners on the stored picture as corners on the shown one, which is of `size`; orientations 5 to 8 swap sides."""
    width, height = size  # shown: the stored picture is height wide and width high
    x1, y1, x2, y2 = corners
    left, right = (width - y2, width - y1) if orientation in (6, 7) else (y1, y2)
    top, bottom = (height - x2, height - x1) if orientation in (7, 8) else (x1, x2)
    return left, top, right, bottom


def fit_box(corners: tuple[float, ...], width: int, height: int) -> tuple[tuple[float, ...] | None, str]:
    """Clip x1, y1, x2, y2 to the picture; None and the reason where nothing is left of the box."""
    if not all(math.isfinite(v) for v in corners):
        return None, "a coordinate is not a number"
    x1, y1, x2, y2 = corners
    if x2 <= x1 or y2 <= y1:
        return None, "its box has no area"
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return None, "its box lies outside the picture"
    return clipped, ""


def _named(pictures: list[Picture]) -> list[Picture]:
    """Name each by its path below the folder that all pictures of its part share; in order of their names."""
    parts: dict[str | None, list[Picture]] = defaultdict(list)
    for picture in pictures:
        parts[picture.split].append(picture)
    named = []
    for members in parts.values():
        base = Path(os.path.commonpath([picture.file.parent for picture in members]))
        named += [replace(picture, name=picture.file.relative_to(base).as_posix()) for picture in members]
    return sorted(named, key=lambda picture: (picture.split or "", picture.name))


def yolo_row(index: int, corners: tuple[float, ...], width: int, height: int) -> str:
    """One label line: class cx cy w h, normalised to the picture, 6 decimals."""
    x1, y1, x2, y2 = corners
    values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join((str(index), *(f"{v:.6f}" for v in values)))
