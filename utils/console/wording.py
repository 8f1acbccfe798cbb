"""Words of messages: counts with their noun, and commands that can be typed as they are printed."""

from __future__ import annotations

import shlex
from pathlib import Path


def counted(number: int, one: str, many: str = "") -> str:
    """`1 box`, `1,200 boxes`: a count and its noun, whose plural has an s where `many` does not give it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def command(program: str, *words: str | Path) -> str:
    """`python train.py --resume 'my runs/exp'`: quoted as a shell takes it."""
    return shlex.join(["python", *program.split(), *map(str, words)])
