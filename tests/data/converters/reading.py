"""What a reader hands over, in short."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from data.converters.source import Box, Record, Source


def records(module: ModuleType, root: Path, images: Path | None = None) -> tuple[list[Record], Source]:
    assert module.recognise(root)
    source = module.read(root, images)
    return list(source.records), source


def boxes(record: Record) -> list[tuple]:
    return [(item.label, *(round(v, 4) for v in item.corners)) for _, item in record.items if isinstance(item, Box)]


def reasons(record: Record) -> list[str]:
    return [f"{what}: {item}" for what, item in record.items if isinstance(item, str)]
