"""Every file below a folder, for all that looks for pictures, labels or annotations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def walk(root: str | Path, onerror: Callable[[OSError], Any] | None = None) -> Iterator[str]:
    """Every file below a folder, hidden folders passed over; links are followed, each folder is seen once.

    `onerror` takes the error of a folder that cannot be listed, which is passed over else.
    """
    seen = set()
    for folder, below, names in os.walk(str(root), followlinks=True, onerror=onerror):
        real = os.path.realpath(folder)
        if real in seen:  # a link back, or a second way to the same folder
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (os.path.join(folder, name) for name in names)
