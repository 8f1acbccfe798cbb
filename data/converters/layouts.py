"""The layouts that can be read, in the order in which they are looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from data.converters import coco, createml, cvat, label_studio, labelme, supervisely, tables, via, voc, yolo
from data.converters.source import Source
from utils.errors import UserError, nearest


class Reader(Protocol):
    """A module of this folder that knows one layout."""

    def recognise(self, source: Path) -> str | None:
        """What of this layout `source` holds, in words; None where it holds nothing of it."""

    def read(self, source: Path, images: Path | None = None) -> Source:
        """The records of `source`; `images` is the folder of pictures where the user named one."""


LAYOUTS: dict[str, Reader] = {
    "voc": voc,
    "coco": coco,
    "yolo": yolo,
    "cvat": cvat,
    "labelme": labelme,
    "labelstudio": label_studio,
    "via": via,
    "createml": createml,
    "supervisely": supervisely,
    "csv": tables,
}
BESIDE = "csv"  # tables of boxes lie beside annotations that say more: read only where there are no others, or by name


def reader(name: str) -> Reader:
    """The reader called `name`; UserError with the nearest match where there is none."""
    if name not in LAYOUTS:
        raise UserError(f"{name}: no such layout; {nearest(name, LAYOUTS)}")
    return LAYOUTS[name]


def recognise(source: Path) -> tuple[str, str]:
    """The name of the layout that `source` has, and what was found, in words.

    Raises:
        UserError: it has none that is known, or several.
    """
    found = {name: what for name, layout in LAYOUTS.items() if (what := layout.recognise(source))}
    if len(found) > 1 and BESIDE in found:
        beside = found.pop(BESIDE)
        found = {name: f"{what} ({beside} is beside it, not read)" for name, what in found.items()}
    if not found:
        remedy = "is it the right folder? --with datumaro reads others"
        raise UserError(f"{source}: holds no annotations of a known layout ({', '.join(LAYOUTS)}); {remedy}")
    if len(found) > 1:
        each = "; ".join(f"{name}: {what}" for name, what in found.items())
        remedy = f"name one before it: data.convert {next(iter(found))} SRC"
        raise UserError(f"{source}: holds several layouts ({each}); {remedy}")
    return next(iter(found.items()))
