"""What a reader makes of a layout: records of boxes, before any picture is looked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

FACE_MASK = ("with_mask", "without_mask", "mask_weared_incorrect")  # the published set's own order


@dataclass(frozen=True)
class Box:
    """A class and the corners x1, y1, x2, y2 of its box, in pixels from the picture's top left corner."""

    label: str
    corners: tuple[float, ...]


@dataclass(frozen=True)
class Record:
    """What an annotation says of one picture.

    where: what to call it in messages, such as "annotations/a.xml". picture: the path as given. folders: what that may
    be relative to, the annotation's own place first. stem: the base name of the annotation file, where one file belongs
    to one picture. size: stated width and height. items: what to call each object, and its box or the reason why it has
    none. split: "train", "val" or "test" where the layout says. normalised: corners are fractions of the picture.
    shared: other records of the same file have the same name, for one picture listed twice or for several.
    """

    where: str
    picture: str
    folders: tuple[Path, ...] = ()
    stem: str = ""
    size: tuple[float, float] | None = None
    items: tuple[tuple[str, Box | str], ...] = ()
    split: str | None = None
    normalised: bool = False
    shared: bool = False


@dataclass
class Source:
    """A whole source. `skipped` has a line for each thing left out, `reasons` how often each reason was met.

    layout: its name, as told to the user. names: the classes in the order of their numbers; None: sorted. pictures: the
    folders below which pictures are looked for. counts: how often a thing was done that changes something.
    """

    layout: str
    pictures: tuple[Path, ...]
    records: Iterable[Record] = ()
    names: tuple[str, ...] | None = None
    skipped: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def skip(self, where: str, text: str, reason: str = "") -> None:
        """Note that something is left out; `reason` is what is counted, `text` where that is the same each time."""
        self.skipped.append(f"{where}: {text}")
        self.reasons[reason or text] += 1


def class_names(seen: set[str]) -> tuple[str, ...]:
    """Classes in the order of their numbers, for a layout that has no order of its own: sorted."""
    return FACE_MASK if seen == set(FACE_MASK) else tuple(sorted(seen))
