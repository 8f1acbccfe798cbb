"""Every file of a set, for the finder of pictures and the readers of annotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_of(root: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden; links to folders are followed, each folder is seen once."""
    seen = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back, or a second way to the same folder
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder, name) for name in names)
