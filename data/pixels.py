"""Pictures for a device to draw from: all kept there, or those of a batch sent there a batch ahead.

Packed, four bytes a pixel (red, green, blue, unused) in one flat int32 tensor: one read fetches all channels of a
pixel, and any picture is an offset and a shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch import Tensor

from data.request import Store
from utils.console.log import progress

CHUNK = 16 << 20  # pixels decoded before they are sent: 64 MiB
GRAIN = 1 << 20  # staged pixels come in multiples of this, so that buffers are used again


class Resident:
    """All pictures of `store`, kept on `device`: decoded by `workers` threads and sent in chunks, so that the host
    never holds them all."""

    def __init__(self, store: Store, device: torch.device, workers: int = 8, desc: str = "") -> None:
        self.device, self.shapes = device, store.shapes
        self.offsets = np.concatenate(([0], np.cumsum(self.shapes.astype(np.int64).prod(1))))
        self.pixels = torch.empty(max(1, int(self.offsets[-1])), dtype=torch.int32, device=device)
        pool = ThreadPoolExecutor(max(1, workers))
        try:
            with progress(desc=f"{desc} pictures".strip(), total=len(self.shapes), unit="img") as bar:
                self._fill(store, pool, bar.update)
        finally:
            pool.shutdown(cancel_futures=True)

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Staged.locate`; nothing has to be brought."""
        return numbers[:0], self.offsets[numbers]

    def load(self, wanted: np.ndarray, pool: ThreadPoolExecutor) -> Callable[[], Tensor]:
        """The pixels that are there."""
        return lambda: self.pixels

    def _fill(self, store: Store, pool: ThreadPoolExecutor, done: Callable[[int], object]) -> None:
        chunks = _chunks(self.offsets)
        room = max((int(self.offsets[last] - self.offsets[first]) for first, last in chunks), default=0)
        on_gpu = self.device.type == "cuda"
        buffers = [torch.empty(room, dtype=torch.int32, pin_memory=on_gpu) for _ in range(2 if on_gpu else 1)]
        sent: list[torch.cuda.Event | None] = [None] * len(buffers)
        for turn, (first, last) in enumerate(chunks):
            buffer, turn = buffers[turn % len(buffers)], turn % len(buffers)
            if sent[turn] is not None:
                sent[turn].synchronize()
            begin, end = self.offsets[first], self.offsets[last]
            for _ in pool.map(_Packer(store, buffer.numpy()), range(first, last), self.offsets[first:last] - begin):
                done(1)
            self.pixels[begin:end].copy_(buffer[: end - begin], non_blocking=True)
            sent[turn] = torch.cuda.current_stream(self.device).record_event() if on_gpu else None


class Staged:
    """The pictures that a batch needs, taken from `store` into page-locked memory and sent to `device`."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self.store, self.device, self.shapes = store, device, store.shapes

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which pictures `load` must bring for these (n,), each once, and where each begins there: (n,) int64."""
        wanted, which = np.unique(numbers, return_inverse=True)
        return wanted, self._offsets(wanted)[which.reshape(-1)]

    def load(self, wanted: np.ndarray, pool: ThreadPoolExecutor) -> Callable[[], Tensor]:
        """Begin to fill a buffer. What is returned sends it when it is full, and gives the (P,) int32 pixels on the
        device, the last bit under way on the current stream."""
        offsets = self._offsets(wanted)
        room = max(1, -(-int(offsets[-1]) // GRAIN)) * GRAIN
        buffer = torch.empty(room, dtype=torch.int32, pin_memory=self.device.type == "cuda")
        pack = _Packer(self.store, buffer.numpy())
        futures = [pool.submit(pack, i, at) for i, at in zip(wanted.tolist(), offsets.tolist(), strict=False)]
        return lambda: self._send(buffer, futures)

    def _offsets(self, wanted: np.ndarray) -> np.ndarray:
        """(n + 1,) where each begins and the last ends."""
        return np.concatenate(([0], np.cumsum(self.shapes[wanted].astype(np.int64).prod(1))))

    def _send(self, buffer: Tensor, futures: Sequence[Future]) -> Tensor:
        for future in futures:
            future.result()
        return buffer.to(self.device, non_blocking=True)


Pixels = Resident | Staged  # what a device draws from


class _Packer:
    """Puts pictures of a store into a flat (P,) int32 buffer."""

    def __init__(self, store: Store, buffer: np.ndarray) -> None:
        self.store, self.buffer = store, buffer.view(np.uint8).reshape(-1, 4)

    def __call__(self, i: int, at: int) -> None:
        picture = self.store[i]
        h, w = picture.shape[:2]
        cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA, self.buffer[at : at + h * w].reshape(h, w, 4))


def _chunks(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Runs of pictures, first and last + 1, of up to CHUNK pixels, or of one picture."""
    chunks, first = [], 0
    while first < len(offsets) - 1:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + CHUNK, side="right")) - 1)
        chunks.append((first, last))
        first = last
    return chunks
