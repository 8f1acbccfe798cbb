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

from data.converters.finder import PictureFinder, Unusable
from data.converters.source import Box, Record, Source
from data.pictures import BadPictureError, check_picture, exif_orientation, read_picture
from utils.console.log import progress

WORKERS = 8


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


@dataclass(frozen=True)
class Claim:
    """A record, the picture it found, and whether its path itself led there."""

    record: Record
    by_path: bool
    picture: Picture


def collect(source: Source, finder: PictureFinder) -> list[Picture]:
    """Every picture of a source with its boxes, in order; what is left out is noted in `source`."""
    found = []
    for record in source.records:
        try:
            found.append((record, *_find(record, finder)))
        except Unusable as error:
            source.skip(record.where, str(error), error.reason)
    claims: dict[Path, list[Claim]] = defaultdict(list)
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(lambda each: _open(each[1], each[0]), found)
        for (record, file, by_path), result in zip(
            found, progress(results, desc="reading", total=len(found)), strict=True
        ):
            if isinstance(result, Unusable):
                source.skip(record.where, str(result), result.reason)
            else:
                claims[file].append(Claim(record, by_path, result))
    pictures = []
    for file, all_claims in claims.items():
        kept = _settle(source, file, all_claims)
        for claim in kept:
            for what, why in claim.picture.lost:
                source.skip(claim.record.where, f"{what}: {why}", why)
            source.counts.update(claim.picture.counts)
        if kept:
            pictures.append(_join(source, [claim.picture for claim in kept]))
    unused = finder.all() - {picture.file for picture in pictures}
    source.counts["pictures without a usable annotation, left out"] += len(unused)
    return _named(pictures)


def _find(record: Record, finder: PictureFinder) -> tuple[Path, bool]:
    file, by_path = finder.find(record)
    other = finder.namesake(record, file)
    if other is not None:
        text = f"names {file.name}, but {other.name} has the annotation's own name"
        raise Unusable(text, "it names one picture and has the name of another")
    return file, by_path


def _settle(source: Source, file: Path, claims: list[Claim]) -> list[Claim]:
    """Of the records that found one picture, those that are surely its own; the others are noted as left out."""
    kept = [claim for claim in claims if claim.by_path]
    if not kept and len({claim.record.picture for claim in claims}) == 1:
        kept = claims  # several paths that agree in their base name alone are several pictures
        source.counts["pictures found by their base name alone"] += 1
    if len(kept) > 1:
        own = [claim for claim in kept if claim.record.stem]  # each from a file for one picture: they contradict
        if own:
            kept = [claim for claim in own if claim.record.stem == file.stem][:1]
        else:
            kept = [claim for claim in kept if claim.record.items] or kept[:1]
    for claim in claims:
        if not any(claim is one for one in kept):
            text = f"{file.name} has an annotation already"
            source.skip(claim.record.where, text, "its picture has another annotation")
    return kept


def _join(source: Source, same: list[Picture]) -> Picture:
    """One picture with the boxes of several records that name it."""
    first = same[0]
    if len(same) == 1:
        return first
    source.counts["pictures annotated in several places, their boxes joined"] += 1
    parts = {picture.split for picture in same}
    if len(parts) > 1:  # what validates must not be trained on
        source.counts["pictures listed in two parts of the split, kept for validation or test"] += 1
    split = next((part for part in ("test", "val", "train") if part in parts), None)
    return replace(first, boxes=tuple(dict.fromkeys(box for picture in same for box in picture.boxes)), split=split)


def _open(file: Path, record: Record) -> Picture | Unusable:
    """Read and check the picture, and fit the record's boxes to it."""
    try:
        data = read_picture(file)
        height, width = check_picture(data)
    except BadPictureError as error:
        return Unusable(f"{file.name}: {error}", str(error))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is not valid"
        return Unusable(f"{file.name!r} cannot be read ({why})", f"cannot be read ({why})")
    turn = 1
    if record.size is not None and record.size != (width, height):
        turn = exif_orientation(data)
        if turn < 5 or record.size != (height, width):
            stated = f"{record.size[0]:g}x{record.size[1]:g}"
            text = f"made for {stated} pixels, but {file.name} has {width}x{height}"
            return Unusable(text, "made for a picture of another size")
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return replace(place(record, (width, height), turn), name=file.name, file=file, digest=digest)


def place(record: Record, size: tuple[int, int], turn: int = 1) -> Picture:
    """The boxes of a record on a picture of `size` (width, height) as shown, clipped to it.

    `turn`: the EXIF orientation from which boxes were not yet turned, 5 to 8; 1 where they need not be.
    """
    boxes, lost, counts = [], [], Counter()
    for what, box in record.items:
        if isinstance(box, str):
            lost.append((what, box))
            continue
        corners = box.corners
        if record.normalised:
            corners = tuple(v * size[k % 2] for k, v in enumerate(corners))
        if turn != 1:
            corners = turned(corners, size, turn)
        if corners[2] < corners[0] or corners[3] < corners[1]:
            corners = (*map(min, corners[:2], corners[2:]), *map(max, corners[:2], corners[2:]))
            counts["boxes with minimum and maximum swapped, put right"] += 1
        fitted, reason = fit_box(corners, *size)
        if fitted is None:
            lost.append((what, reason))
            continue
        if Box(box.label, fitted) in boxes:
            counts["boxes given twice, kept once"] += 1
            continue
        boxes.append(Box(box.label, fitted))
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
