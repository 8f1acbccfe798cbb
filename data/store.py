"""The store: pictures decoded and resized to the training size, kept on the device, in memory or in a file."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
import torch

from data import disk
from data.index import Index
from data.memory import available_bytes
from data.pictures import decode
from data.pixels import Pixels, Resident, Staged
from utils.console.log import progress
from utils.errors import UserError, nearest

LOGGER = logging.getLogger("anneal")
SHARE = 0.5  # of the free memory, which "auto" takes at most
MODES = ("auto", "device", "ram", "disk", "none")


def image_size(size: int, stride: int = 32) -> int:
    """`size` rounded up to a multiple of the stride, with a notice where that changes it."""
    rounded = math.ceil(size / stride) * stride
    if rounded != size:
        LOGGER.warning(f"--imgsz {size} is not a multiple of {stride}; using {rounded}")
    return rounded


def fitted(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) with the longer side exactly `size`, the other rounded half up, at least 1."""
    longest = max(height, width)
    return max(1, (2 * height * size + longest) // (2 * longest)), max(1, (2 * width * size + longest) // (2 * longest))


def fitted_into(height: int, width: int, most_height: int, most_width: int) -> tuple[int, int]:
    """(height, width) as large as fits into another rectangle, rounded, at least 1."""
    gain = min(most_height / height, most_width / width)
    return max(1, round(height * gain)), max(1, round(width * gain))


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture at another size: by area where it shrinks, else linear."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = max(height, width) < max(picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _put(pixels: np.ndarray, at: int, picture: np.ndarray) -> None:
    pixels[at : at + picture.size] = picture.ravel()


def open_store(
    index: Index, size: int, cache: str, device: torch.device, workers: int = 8, desc: str = "", processes: int = 1
) -> ImageStore | Pixels:
    """The pictures of `index` at `size`, where `cache` says; who reads from it draws where it is.

    "device": decoded onto the device, to be drawn there. "ram", "disk", "none": an `ImageStore`, from which a GPU is
    sent what each batch needs, and a CPU draws on the host. "auto": "device" on a GPU with room for them in half of
    what is free there, else "ram" with room for them in half of the free memory, else "none". UserError as for
    `ImageStore`, and for "device" without the memory. `processes`: how many on this host keep as much.
    """
    if cache not in MODES:
        raise UserError(f"cache '{cache}' is unknown; {nearest(cache, MODES)}")
    on_gpu = device.type == "cuda"
    if cache == "device" or (cache == "auto" and on_gpu):
        pictures = ImageStore(index, size, "none")
        sharers = math.ceil(processes / max(torch.cuda.device_count(), 1)) if on_gpu else processes
        need, free = 4 * int(pictures.shapes.astype(np.int64).prod(1).sum()), free_bytes(device) // sharers
        sizes = f"{need / 1e9:.1f} GB on {device}, {free / 1e9:.1f} GB free"
        if need <= (SHARE if cache == "auto" else 1) * free:
            return Resident(pictures, device, workers, desc)
        if cache == "device":
            raise UserError(f"keeping {len(index)} pictures takes {sizes}; use --cache auto")
        LOGGER.info(f"{desc}: pictures are sent as they are needed: keeping them takes {sizes}")
    store = ImageStore(index, size, cache, workers, desc, processes)
    return Staged(store, device) if on_gpu else store


def free_bytes(device: torch.device) -> int:
    """Free memory of a GPU, or of the host."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()


class ImageStore:
    """`store[i]`: picture i of the index, (h, w, 3) uint8 RGB, C-contiguous, the longer side `size` pixels.

    `cache`: "ram" decodes everything now and keeps it, "disk" keeps it in a file for this run and later ones, "none"
    decodes at each access, "auto" is "ram" where that takes at most half of the free memory, else "none". Kept
    pictures are read-only views. UserError for "ram" without the memory, for "disk" without the space, and for a
    picture that was changed or removed since it was indexed. `processes` on this host keep as much each.
    """

    resident: bool  # everything is in memory

    def __init__(
        self, index: Index, size: int, cache: str = "auto", workers: int = 8, desc: str = "", processes: int = 1
    ) -> None:
        self.index, self.size, self.processes = index, size, processes
        self.shapes = np.array([fitted(int(h), int(w), size) for h, w in index.shapes], np.int32).reshape(-1, 2)
        self._offsets = np.concatenate([[0], np.cumsum(self.shapes.astype(np.int64).prod(1) * 3)])
        self.resident = cache != "disk" and self._decide(cache, f"{desc}: " if desc else "")
        self._pixels: np.ndarray | None = None
        count = int(self._offsets[-1])
        if self.resident:
            pixels = np.empty(count, np.uint8)
            self._fill(workers, desc, partial(_put, pixels))
            pixels.flags.writeable = False
            self._pixels = pixels
        elif cache == "disk":
            key = disk.key_of(index.fingerprint, index.files, size)
            self._pixels = disk.open_pixels(key, count, partial(self._fill, workers, desc))

    def __len__(self) -> int:
        return len(self.index)

    def shape(self, i: int) -> tuple[int, int]:
        """(h, w) of `store[i]`, without decoding."""
        return int(self.shapes[i, 0]), int(self.shapes[i, 1])

    def __getitem__(self, i: int) -> np.ndarray:
        if self._pixels is None:
            return self._read(i)
        i = range(len(self))[i]
        return self._pixels[self._offsets[i] : self._offsets[i + 1]].reshape(*self.shape(i), 3)

    def _decide(self, cache: str, prefix: str) -> bool:
        need, free = int(self._offsets[-1]), available_bytes() // self.processes
        sizes = f"{need / 1e9:.1f} GB, {free / 1e9:.1f} GB free"
        if cache == "ram" and need > free:
            raise UserError(f"{prefix}keeping {len(self)} pictures takes {sizes}; use --cache auto")
        if cache == "auto" and need > SHARE * free:
            LOGGER.info("%spictures are decoded as they are needed: keeping them takes %s", prefix, sizes)
            return False
        return cache != "none"

    def _fill(self, workers: int, desc: str, write: Callable[[int, np.ndarray], None]) -> None:
        """Decode every picture once, in parallel, and have it written at its place."""
        pool = ThreadPoolExecutor(max(1, workers))

        def keep(i: int) -> None:
            write(int(self._offsets[i]), self._read(i))

        try:
            with progress(desc=f"{desc} pictures".strip(), total=len(self), unit="img") as bar:
                for _ in pool.map(keep, range(len(self))):
                    bar.update()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, i: int) -> np.ndarray:
        image = decode(self.index.files[i])
        if image.shape[:2] != tuple(self.index.shapes[i]):
            was, now = ("{1} x {0}".format(*shape[:2]) for shape in (self.index.shapes[i], image.shape))
            raise UserError(f"{self.index.files[i]}: was {was} pixels and is {now} now; start again to read it anew")
        return resized(image, *self.shape(i))
