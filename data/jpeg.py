"""JPEGs that were cut off: whether only the end marker is missing, or pixels too."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

START, END = b"\xff\xd8\xff", b"\xff\xd9"
_SCAN = b"\xff\xda"  # begins compressed data, which cannot hold a marker other than restarts
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # baseline, extended and progressive, by Huffman's or arithmetic code
_PROGRESSIVE = {0xC2, 0xCA}
_RESTARTS = range(0xD0, 0xD8)
_RNG = np.random.default_rng(0)
# Bytes without markers that are put where data ends: whatever still waits for data decodes differently with each.
_FILLERS = [b"\x5a\xc3\x96\x0f" * 1024, *(_RNG.integers(0, 255, 4096, np.uint8).tobytes() for _ in range(5))]


def lacks_end(data: bytes) -> bool:
    """Whether this is a JPEG without its end marker, as where a transfer broke off."""
    if not data.startswith(START) or END in data[max(data.rfind(_SCAN), 0) :]:
        return False
    try:  # what follows the end of a picture may look like one itself
        return all(marker != END[1] for marker, *_ in _segments(data))
    except (struct.error, ValueError):
        return True


def with_end(data: bytes) -> bytes:
    """A JPEG that lacks its end marker with one."""
    return _kept(data) + END


def _kept(data: bytes) -> bytes:
    """The data without what files are filled up with: a single zero may belong to it, more of them do not."""
    kept = data.rstrip(b"\0")
    return (data if len(data) - len(kept) == 1 else kept).rstrip(b"\xff")


def is_whole(data: bytes) -> bool:
    """Whether a JPEG without its end marker has every pixel in full.

    Every coefficient must have been begun and refined to its last bit, the last scan must have all its restart markers,
    and nothing that is put behind the data may change a pixel.
    """
    data = _kept(data)
    try:
        frame = _Frame.read(data)
    except (struct.error, IndexError, ValueError, ZeroDivisionError):  # cut off inside a header, or none at all
        return False
    if frame.unfinished() or frame.restarts != frame.expected_restarts:
        return False
    first = _decoded(data + END)
    return first is not None and all(np.array_equal(first, _decoded(data + filler + END)) for filler in _FILLERS)


def _decoded(data: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)
    except Exception:  # Pillow's readers raise almost anything on a broken file
        return None


@dataclass
class _Frame:
    """What the headers of a JPEG say, and how far its scans went."""

    size: tuple[int, int] = (0, 0)  # width, height
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)  # of each component: horizontal, vertical
    left: dict[int, np.ndarray] = field(default_factory=dict)  # (64,) bits of each coefficient that are still to come
    progressive: bool = False
    interval: int = 0  # MCUs between two restart markers; 0: there are none
    restarts: int = 0  # in the last scan
    expected_restarts: int = 0

    @classmethod
    def read(cls, data: bytes) -> _Frame:
        frame = cls()
        for marker, segment, end in _segments(data):
            if marker in _FRAMES:
                frame._begin(segment, marker in _PROGRESSIVE)
            elif marker == 0xDD:
                (frame.interval,) = struct.unpack(">H", segment)
            elif marker == 0xDA:
                frame._scan(segment)
                codes = np.frombuffer(data, np.uint8)[end:]
                after = codes[1:][codes[:-1] == 0xFF]
                stop = np.nonzero((after != 0) & (after != 0xFF) & ~np.isin(after, _RESTARTS))[0]
                frame.restarts = int(np.isin(after[: stop[0]] if len(stop) else after, _RESTARTS).sum())
        if not frame.left:
            raise ValueError("no frame")
        return frame

    def _begin(self, segment: bytes, progressive: bool) -> None:
        height, width, count = struct.unpack(">xHHB", segment[:6])
        self.size, self.progressive = (width, height), progressive
        for k in range(count):
            component, factors = segment[6 + 3 * k], segment[7 + 3 * k]
            self.sampling[component] = (factors >> 4, factors & 15)
            self.left[component] = np.full(64, 16)

    def _scan(self, segment: bytes) -> None:
        count = segment[0]
        components = [segment[1 + 2 * k] for k in range(count)]
        first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
        for component in components:
            if self.progressive:
                self.left[component][first : last + 1] = bits & 15
            else:
                self.left[component][:] = 0
        if self.interval:
            self.expected_restarts = math.ceil(self._mcus(components) / self.interval) - 1

    def _mcus(self, components: list[int]) -> int:
        """Coding units of a scan: blocks of its only component, or groups of blocks of several."""
        width, height = self.size
        most_h, most_v = (max(column) for column in zip(*self.sampling.values(), strict=True))
        if len(components) > 1:
            return math.ceil(width / (8 * most_h)) * math.ceil(height / (8 * most_v))
        h, v = self.sampling[components[0]]
        return math.ceil(math.ceil(width * h / most_h) / 8) * math.ceil(math.ceil(height * v / most_v) / 8)

    def unfinished(self) -> bool:
        """Whether a coefficient of a component is still to come, in whole or in its last bits."""
        return any(bits.any() for bits in self.left.values())


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, content and end of each segment with a length; compressed data between them is passed over."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker in (0x00, 0x01, *_RESTARTS):
            at += 2
        elif marker == 0xFF:
            at += 1
        elif marker == END[1]:
            yield marker, b"", at + 2
            return
        else:
            (length,) = struct.unpack(">H", data[at + 2 : at + 4])
            if at + 2 + length > len(data):
                raise ValueError("cut off inside a segment")
            yield marker, data[at + 4 : at + 2 + length], at + 2 + length
            at += 2 + length
