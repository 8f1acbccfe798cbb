"""One label file: rows of `class cx cy w h`, normalised to the picture; forgiving, and precise about what it drops."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

import numpy as np

TOLERANCE = 1e-3  # a coordinate may leave [0, 1] by this much: rounding, under a pixel at 640
MAX_BYTES = 16 << 20
_DECIMAL_COMMA = re.compile(rb"-?\d+(,\d+)?")


@dataclass(slots=True)
class Parsed:
    """What a label file holds: `rows` (k, 5) float32, and what became of the others, one count a kind.

    `notes` are (line, text) pairs, the text with its remedy; line 0 is the file as a whole. `lines` (k,) are the line
    numbers of the rows, `overhang` (k,) by what part of the picture each left it before it was clipped.
    """

    rows: np.ndarray
    skipped: int = 0  # rows left out, those of unknown classes included
    unknown: int = 0  # of these, rows whose class is beyond the names
    polygons: int = 0  # polygon rows turned into boxes
    clipped: int = 0  # boxes that left the picture
    duplicates: int = 0
    notes: list[tuple[int, str]] = field(default_factory=list)
    lines: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    overhang: np.ndarray = field(default_factory=lambda: np.zeros(0))


def parse_labels(data: bytes, classes: int, single_class: bool = False, poses: bool = False) -> Parsed:
    """Rows of a label file. Bad ones are left out with a note; nothing is raised.

    Text is ASCII or what extends it, or UTF-16 with its mark. A row is `class cx cy w h`, or
    `class x1 y1 x2 y2 x3 y3 ...`, a polygon or a turned box, which becomes the upright box around it.
    `class cx cy w h score [track]`, as detectors write it, is the box, with a note. Coordinates are in [0, 1]. What
    leaves the picture is clipped; a repeated row is dropped. With `single_class` every class becomes 0 and none is
    unknown; with `poses` key points follow the box in a row.
    """
    parsed = Parsed(np.zeros((0, 5), np.float32))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    if len(data) > MAX_BYTES or b"\0" in data:
        reason = f"over {MAX_BYTES:,} bytes" if len(data) > MAX_BYTES else "not a text file"
        parsed.skipped = 1
        parsed.notes.append((0, f"{reason}, ignored; labels are lines of 'class cx cy w h'"))
        return parsed
    table, lines, boxed = _numbers(data.removeprefix(b"\xef\xbb\xbf"), poses, parsed)
    if not len(table):
        return parsed
    faults = _faults(table, boxed, classes, single_class)
    bad = faults.any(0)
    for row in np.nonzero(bad)[0]:  # the first fault of a row is the one told
        kind = int(faults[:, row].argmax())
        parsed.notes.append((int(lines[row]), _explain(kind, table[row], classes)))
        parsed.unknown += kind == _UNKNOWN
    parsed.skipped += int(bad.sum())
    parsed.polygons = int(boxed[~bad].sum())
    parsed.lines = lines[~bad]
    rows = _clip(table[~bad], parsed)
    if single_class:
        rows[:, 0] = 0
    _drop_repeated(rows.astype(np.float32), parsed)
    parsed.notes.sort()
    return parsed


def _numbers(data: bytes, poses: bool, parsed: Parsed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The readable rows, (k, 5) float64; their line numbers (k,); and which were polygons (k,)."""
    table: list[list[float]] = []
    lines: list[int] = []
    boxed: list[bool] = []
    for number, line in enumerate(data.splitlines(), 1):
        fields = _fields(line)
        if not fields:
            continue
        try:
            values = [float(text) for text in fields]
        except ValueError:
            parsed.skipped += 1
            parsed.notes.append((number, "not numbers, skipped; write 'class cx cy w h' with spaces between"))
            continue
        if poses:
            values = values[:5]
        if _is_detection(values):
            reading = "as a box with a score" + (" and a track, not as three corners" if len(values) == 7 else "")
            parsed.notes.append((number, f"{len(values)} columns read {reading}; write 'class cx cy w h'"))
            values = values[:5]
        polygon = len(values) >= 7 and len(values) % 2 == 1
        if polygon:
            values = [values[0], *_box(values[1::2], values[2::2])]
        if len(values) != 5:
            parsed.skipped += 1
            parsed.notes.append((number, f"{len(values)} columns, skipped; write 'class cx cy w h'"))
            continue
        table.append(values)
        lines.append(number)
        boxed.append(polygon)
    return np.array(table, np.float64).reshape(-1, 5), np.array(lines, np.int64), np.array(boxed, bool)


def _fields(line: bytes) -> list[bytes]:
    """The values of a row: between blanks, tabs, commas or semicolons; `0 0,5 0,5 0,1 0,1` has decimal commas."""
    fields = line.split()
    if b"," not in line and b";" not in line:
        return fields
    if b";" not in line and len(fields) >= 5 and all(_DECIMAL_COMMA.fullmatch(text) for text in fields):
        return line.replace(b",", b".").split()
    return [text.strip() for text in re.split(rb"[,;]\s*|\s+", line.strip())]


def _is_detection(values: list[float]) -> bool:
    """Whether 6 or 7 columns can be a box, its score and the number of its track. A third corner is seldom whole."""
    if len(values) not in (6, 7) or not all(0 <= value <= 1 for value in values[1:6]) or 0 in values[3:5]:
        return False
    return len(values) == 6 or (values[6] >= -1 and values[6] == np.floor(values[6]))


def _box(x: list[float], y: list[float]) -> list[float]:
    """The box cx, cy, w, h around a polygon; NaN where any of its corners is."""
    if not np.isfinite([*x, *y]).all():
        return [np.nan] * 4
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


_INFINITE, _CLASS, _UNKNOWN, _OUTSIDE, _EMPTY = range(5)


def _faults(table: np.ndarray, boxed: np.ndarray, classes: int, single_class: bool) -> np.ndarray:
    """(5, k) bool: which rows have which fault, in the order of the constants above.

    `boxed` (k,): rows that were polygons, whose corners may lie outside as far as those of a box of full size can.
    """
    index, boxes = table[:, 0], table[:, 1:]
    with np.errstate(all="ignore"):
        whole = (index == np.floor(index)) & (index >= 0)
        edges = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1)
        far = (edges < -0.5 - TOLERANCE).any(1) | (edges > 1.5 + TOLERANCE).any(1)
        outside = (boxes[:, :2] < -TOLERANCE).any(1) | (boxes > 1 + TOLERANCE).any(1)
        outside = np.where(boxed, far | (edges[:, :2] >= 1).any(1) | (edges[:, 2:] <= 0).any(1), outside)
        edges = edges.clip(0, 1)
        empty = ((edges[:, 2:] - edges[:, :2]).astype(np.float32) <= 0).any(1)
        unknown = np.zeros(len(table), bool) if single_class else index >= classes
    return np.stack([~np.isfinite(table).all(1), ~whole, unknown, outside, empty])


def _explain(kind: int, row: np.ndarray, classes: int) -> str:
    if kind == _INFINITE:
        return "a value that is not finite, skipped; write finite numbers"
    if kind == _CLASS:
        return f"class {row[0]:g} is not a whole number from 0, skipped; correct the class"
    if kind == _UNKNOWN:
        known = f"{classes} names (0 to {classes - 1})" if classes > 1 else "1 name (0)"
        return f"class {row[0]:g} is beyond the {known}, skipped; correct it or 'names'"
    if kind == _OUTSIDE:
        return "a coordinate outside [0, 1], skipped; divide pixels by the picture's width and height"
    return "a width or height of zero or less, skipped; write the box's size"


def _clip(table: np.ndarray, parsed: Parsed) -> np.ndarray:
    """Boxes kept inside the picture. Those already inside keep their exact numbers."""
    low, high = table[:, 1:3] - table[:, 3:] / 2, table[:, 1:3] + table[:, 3:] / 2
    parsed.overhang = np.concatenate((-low, high - 1), 1).max(1, initial=0)
    parsed.clipped += int((parsed.overhang > TOLERANCE).sum())
    low, high = low.clip(0, 1), high.clip(0, 1)
    clipped = np.concatenate((table[:, :1], (low + high) / 2, high - low), 1)
    return np.where(parsed.overhang[:, None] > 0, clipped, table)


def _drop_repeated(rows: np.ndarray, parsed: Parsed) -> None:
    """Keep the rows without repetitions, in their order."""
    parsed.rows = rows
    if len(rows) < 2:
        return
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    original = first[inverse.reshape(-1)]
    kept = original == np.arange(len(rows))
    for row in np.nonzero(~kept)[0]:
        line, before = int(parsed.lines[row]), parsed.lines[original[row]]
        parsed.notes.append((line, f"repeats the row of line {before}, dropped; delete it"))
    parsed.duplicates += int((~kept).sum())
    parsed.rows, parsed.lines, parsed.overhang = rows[kept], parsed.lines[kept], parsed.overhang[kept]
