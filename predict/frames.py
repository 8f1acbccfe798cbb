"""What passes through detection: a picture, or a frame of a video or stream, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from predict.addresses import plain


@dataclass(frozen=True)
class Origin:
    """Where frames come from. name: the path in the results folder, unlike that of any other. kind: picture, video,
    stream, or folder: one that cannot be listed. rate: frames a second of a video, as it was found. address: where the
    file was fetched from."""

    file: str
    name: PurePosixPath
    kind: str = "picture"
    rate: float | None = None
    frames: int | None = None  # how many there are, where that is known
    address: str = ""

    @property
    def shown(self) -> str:
        """What it is called in messages and tables."""
        return plain(self.address or self.file)


@dataclass
class Frame:
    """One picture (h, w, 3) uint8 RGB. number and time (seconds) are those of a video's frame."""

    origin: Origin
    picture: np.ndarray
    number: int | None = None
    time: float | None = None
    prepared: Any = None  # as the network takes it
    rows: Any = None  # what it found: (n, 6)


class Unreadable(Exception):
    """A source, or a part of one, that cannot be read; the text says which and why."""
