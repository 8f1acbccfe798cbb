"""What a reader hands over: records of pictures with their boxes, before the pictures are looked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Box:
    """A class and corners x1, y1, x2, y2: pixels of the picture as annotated, or fractions where its record says so."""

    label: str
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Record:
    """What an annotation says of one picture."""

    where: str  # what to call it in messages: "annotations/a.xml", "instances_train.json: image 7"
    picture: str  # path or name as the annotation gives it
    folders: tuple[Path, ...]  # what the path is relative to, nearest first
    size: tuple[float, float] | None  # width, height as stated
    items: tuple[tuple[str, Box | str], ...]  # what to call each in messages, and the box or the reason why it is none
    split: str | None = None  # train, val or test
    normalised: bool = False  # corners are fractions of the picture


@dataclass
class Source:
    """A whole source. `skipped` has a line for each thing left out, `counts` says how often a thing was done."""

    layout: str  # what the user is told: "PASCAL VOC"
    records: Iterable[Record]
    names: tuple[str, ...] | None  # classes in the order of the source; None where it has none
    pictures: tuple[Path, ...]  # roots below which pictures are looked for
    skipped: list[str] = field(default_factory=list)  # both may grow while records are read
    counts: Counter[str] = field(default_factory=Counter)
