"""Copies that the disk refused, until it takes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from utils.checkpoint.nested import with_tensors

MOST = 4  # of files that a number tells apart: a disk that stays full must not fill the memory too


class PendingWrites:
    """What is to be written at the next save again: the newest copy of each file, the oldest refusal first."""

    def __init__(self) -> None:
        self.copies: dict[Path, Any] = {}

    def keep(self, path: Path, copy: Any) -> Path | None:
        """Remember a copy, in main memory. Returns the file that is given up for it, if one is."""
        self.copies[path] = with_tensors(copy, Tensor.cpu)
        numbered = [known for known in self.copies if re.search(r"[0-9]$", known.stem)]
        if len(numbered) <= MOST:
            return None
        del self.copies[numbered[0]]
        return numbered[0]

    def take(self) -> dict[Path, Any]:
        """All of them, which are then no longer remembered."""
        copies, self.copies = self.copies, {}
        return copies
