"""What a report is made of, before it is a page or Markdown: sections of paragraphs, lists, tables, code and charts.

All text is plain; the writers escape it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: `plain`, `lead` (the answer), `warn` (mind this) or `small`."""

    text: str
    kind: str = "plain"


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """A table's value. heat: 0..1, how strongly its place on the page is coloured. span: an interval and a point in it,
    drawn as fractions of the column: (low, point, high). kind: a class of style."""

    text: str
    heat: float | None = None
    span: tuple[float, float, float] | None = None
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under columns; the first column names the row. numeric: columns aligned to the right."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value | str, ...], ...]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Code:
    """Lines to be copied as they are."""

    text: str


@dataclass(frozen=True)
class Chart:
    """The curves: the page draws `data`; Markdown shows the picture at `path`, relative to the study's folder."""

    data: Mapping[str, Any]
    path: str
    alt: str


@dataclass(frozen=True)
class Picture:
    """A picture beside the report, shown where there is no page to draw the same."""

    path: str
    alt: str


@dataclass(frozen=True)
class Details:
    """Blocks that the page folds away under `summary`; Markdown, which cannot, leaves out those for the page alone."""

    summary: str
    blocks: tuple[Block, ...]
    page_only: bool = False


Block = Text | Bullets | Table | Code | Chart | Picture | Details


@dataclass(frozen=True)
class Section:
    """Blocks under a title. name: the anchor in the page."""

    name: str
    title: str
    blocks: tuple[Block, ...] = field(default=())
