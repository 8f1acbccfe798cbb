"""Metrics as a table for the console."""

from __future__ import annotations

from collections.abc import Sequence

from utils.metrics import Metrics

LISTED = 20  # up to so many classes each has its row unasked


def table(metrics: Metrics, names: Sequence[str], verbose: bool = False) -> str:
    """Pictures, instances, P, R, mAP50 and mAP50-95 of all classes and, with `verbose` or few of them, of each."""
    rows = [("all", metrics.images, metrics.instances, metrics.precision, metrics.recall, metrics.map50, metrics.map)]
    if len(names) > 1 and (verbose or len(names) <= LISTED):
        rows += [
            (names[c.index], c.images, c.instances, c.precision, c.recall, c.ap50, c.ap) for c in metrics.per_class
        ]
    width = max(len(str(row[0])) for row in rows) + 2
    head = f"{'class':<{width}}{'images':>8}{'instances':>11}{'P':>8}{'R':>8}{'mAP50':>8}{'mAP50-95':>10}"
    lines = [
        f"{name:<{width}}{images:>8}{instances:>11}{p:>8.3f}{r:>8.3f}{map50:>8.3f}{mean:>10.3f}"
        for name, images, instances, p, r, map50, mean in rows
    ]
    return "\n".join([head, *lines])
