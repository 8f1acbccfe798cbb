"""Lists of pictures: text files with a path a line, also those that were written on another machine."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from pathlib import Path

from utils.errors import UserError

MAX_LIST_BYTES = 512 << 20
SEPARATORS = re.compile(r"[\\/]+")
ELSEWHERE = re.compile(r"[\\/~]|[A-Za-z]:[\\/]")  # the beginning of a whole path, of any system


def read_lines(source: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank; quotes around it are taken off. May raise UserError."""
    try:
        with open(source, "rb") as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}); check its permissions") from None
    if len(data) > MAX_LIST_BYTES:
        raise UserError(f"{source}: over {MAX_LIST_BYTES:,} bytes, too large for a list; name a folder instead")
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16", "replace") if utf16 else data.decode("utf-8-sig", "surrogateescape")
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'":
            line = line[1:-1].strip()
        if line:
            yield number, line


class Moved:
    """Where pictures are whose paths a list has as they were elsewhere: one beginning stands for one folder here.

    The first path that is not here says which: the longest end of it that is. Of a path that is not a whole one the end
    must have a folder, so that no misspelt name finds another picture.
    """

    def __init__(self, *bases: Path) -> None:
        self.bases, self.count = bases, 0
        self._start: tuple[str, ...] | None = None
        self._here = Path()

    def find(self, line: str) -> str | None:
        """The path here, or None."""
        parts = tuple(SEPARATORS.split(line))
        if self._start is None:
            self._learn(parts, 1 if ELSEWHERE.match(line) else 2)
        if self._start is None or parts[: len(self._start)] != self._start:
            return None
        path = os.path.join(self._here, *parts[len(self._start) :])
        self.count += os.path.isfile(path)
        return path if os.path.isfile(path) else None

    def _learn(self, parts: tuple[str, ...], shortest: int) -> None:
        if ".." in parts:
            return
        for cut in range(len(parts) - shortest + 1):
            for base in self.bases:
                if parts[cut] and os.path.isfile(os.path.join(base, *parts[cut:])):
                    self._start, self._here = parts[:cut], base
                    return

    def told(self, source: Path) -> list[str]:
        """What was found so, in one line; none where nothing was, or only the slashes differ."""
        if not self.count or not self._start:
            return []
        paths = "1 path is" if self.count == 1 else f"{self.count:,} paths are"
        return [f"{source}: {paths} not here as written; using {self._here} in place of {'/'.join(self._start)}"]
