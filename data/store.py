"""The store: pictures decoded and resized to the training size, kept in memory where they fit."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from data.index import Index
from data.memory import available_bytes
from data.pictures import decode
from utils.errors import UserError, nearest
from utils.log import progress

__all__ = ["ImageStore", "decode", "fitted"]

LOGGER = logging.getLogger("anneal")
SHARE = 0.5  # of the free memory, which "auto" takes at most
MODES = ("auto", "ram", "none")


def fitted(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) with the longer side exactly `size`, the other rounded half up, at least 1."""
    longest = max(height, width)
    return max(1, (2 * height * size + longest) // (2 * longest)), max(1, (2 * width * size + longest) // (2 * longest))


class ImageStore:
    """`store[i]`: picture i of the index, (h, w, 3) uint8 RGB, C-contiguous, the longer side `size` pixels.

    `cache`: "ram" decodes everything now and keeps it, "none" decodes at each access, "auto" is "ram" where that takes
    at most half of the free memory. Pictures in memory are read-only views. UserError for an unknown mode, for "ram"
    without the memory, and for a picture that was changed or removed since it was indexed.
    """

    resident: bool  # everything is in memory

    def __init__(self, index: Index, size: int, cache: str = "auto", workers: int = 8, desc: str = "") -> None:
        if cache not in MODES:
            raise UserError(f"cache '{cache}' is unknown; {nearest(cache, MODES)}")
        self.index, self.size = index, size
        self.shapes = np.array([fitted(int(h), int(w), size) for h, w in index.shapes], np.int32).reshape(-1, 2)
        sizes = self.shapes.astype(np.int64).prod(1) * 3
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.resident = self._decide(cache, f"{desc}: " if desc else "")
        self._pixels = np.empty(int(self._offsets[-1]) if self.resident else 0, np.uint8)
        if self.resident:
            self._fill(workers, desc)

    def __len__(self) -> int:
        return len(self.index)

    def shape(self, i: int) -> tuple[int, int]:
        """(h, w) of `store[i]`, without decoding."""
        return int(self.shapes[i, 0]), int(self.shapes[i, 1])

    def __getitem__(self, i: int) -> np.ndarray:
        return self._slot(i) if self.resident else self._read(i)

    def _decide(self, cache: str, prefix: str) -> bool:
        need, free = int(self._offsets[-1]), available_bytes()
        sizes = f"{need / 1e9:.1f} GB, {free / 1e9:.1f} GB free"
        if cache == "ram" and need > free:
            raise UserError(f"{prefix}keeping {len(self)} pictures takes {sizes}; use --cache auto")
        if cache == "auto" and need > SHARE * free:
            LOGGER.info("%spictures are decoded as they are needed: keeping them takes %s", prefix, sizes)
            return False
        return cache != "none"

    def _fill(self, workers: int, desc: str) -> None:
        pool = ThreadPoolExecutor(max(1, workers))
        try:
            with progress(desc=f"{desc} pictures".strip(), total=len(self), unit="img") as bar:
                for _ in pool.map(self._keep, range(len(self))):
                    bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
        self._pixels.flags.writeable = False

    def _keep(self, i: int) -> None:
        self._slot(i)[:] = self._read(i)

    def _slot(self, i: int) -> np.ndarray:
        i = range(len(self))[i]
        return self._pixels[self._offsets[i] : self._offsets[i + 1]].reshape(*self.shape(i), 3)

    def _read(self, i: int) -> np.ndarray:
        image = decode(self.index.files[i])
        if image.shape[:2] != tuple(self.index.shapes[i]):
            was, now = ("{1} x {0}".format(*shape[:2]) for shape in (self.index.shapes[i], image.shape))
            raise UserError(f"{self.index.files[i]}: was {was} pixels and is {now} now; start again to index it anew")
        h, w = self.shape(i)
        if image.shape[:2] == (h, w):
            return image
        shrinks = max(h, w) < max(image.shape[:2])
        return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
