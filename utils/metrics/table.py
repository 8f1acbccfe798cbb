"""Metrics as a table: for the console, and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from utils.files.atomic import write_atomic
from utils.metrics import Metrics

LISTED = 20  # up to so many classes each has its row unasked
COLUMNS = ("class", "images", "instances", "P", "R", "mAP50", "mAP50-95")


def table(metrics: Metrics, names: Sequence[str], verbose: bool = False) -> str:
    """Pictures, instances, P, R, mAP50 and mAP50-95 of all classes and, with `verbose` or few of them, of each."""
    rows = _rows(metrics, names)
    if len(names) == 1 or (len(names) > LISTED and not verbose):
        rows = rows[:1]
    width = max(len(str(row[0])) for row in rows) + 2
    head = "{:<{width}}{:>8}{:>11}{:>8}{:>8}{:>8}{:>10}".format(*COLUMNS, width=width)
    lines = [
        f"{name:<{width}}{images:>8}{instances:>11}{p:>8.3f}{r:>8.3f}{map50:>8.3f}{mean:>10.3f}"
        for name, images, instances, p, r, map50, mean in rows
    ]
    return "\n".join([head, *lines])


def write_csv(metrics: Metrics, names: Sequence[str], out: Path) -> None:
    """Write the table to `out` in full precision: 'all', then a row a class that has ground truth."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *_rows(metrics, names)])
    write_atomic(out, text.getvalue())


def _rows(metrics: Metrics, names: Sequence[str]) -> list[tuple]:
    whole = (metrics.images, metrics.instances, metrics.precision, metrics.recall, metrics.map50, metrics.map)
    each = [(names[c.index], c.images, c.instances, c.precision, c.recall, c.ap50, c.ap) for c in metrics.per_class]
    return [("all", *whole), *each]
