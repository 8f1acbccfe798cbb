"""Batches through the network side by side: on a CPU each has threads of its own, which wait for no other's."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from exporters import ExportedDetector
from predict.frames import Frame
from predict.model import Model

MOST, MOST_PICTURES = 4, 32  # lanes, and pictures in all of them together: each lane holds the maps of its batch


def lanes_of(model: Model, batch: int) -> int:
    """How many batches at once are fastest: several on a CPU of several threads, of which each has as many.

    Threads that share a batch wait for one another at the end of every layer, and all for one that shares its core with
    a decoder. An exported file has threads of its own, and a GPU works through one batch at a time.
    """
    if model.device.type != "cpu" or isinstance(model.network, ExportedDetector):
        return 1
    most = max(1, min(MOST, MOST_PICTURES // batch))
    return max(count for count in range(1, most + 1) if torch.get_num_threads() % count == 0)


class Lanes:
    """Runs batches of frames of one shape on `count` threads, and gives the frames their rows.

    times: seconds by part, which grow; those of a batch are divided by the number that share the threads. With one
    lane, `run` returns when the batch is done; with more, one batch waits for a lane, so that none is idle.
    """

    def __init__(self, model: Model, count: int, times: Counter[str]) -> None:
        self.model, self.count, self.times = model, count, times
        self.threads = torch.get_num_threads()
        self.begun = False
        self._running: deque[tuple[Sequence[Frame], int, Future]] = deque()
        self._pool = ThreadPoolExecutor(count, "network")

    def run(self, frames: Sequence[Frame], among: int | None = None) -> None:
        """Begin with a batch. `among`: so many share the threads where there is not work for all lanes."""
        self.begun = True
        prepared = [frame.prepared for frame in frames]
        for frame in frames:
            frame.prepared = None
        among = min(among or self.count, self.count)
        self._running.append((frames, among, self._pool.submit(self._detect, prepared, max(self.threads // among, 1))))
        self.collect(self.count if self.count > 1 else 0)

    def collect(self, remaining: int | None = None) -> None:
        """Take in what is done; wait until at most `remaining` batches are not. Raises what one of them raised."""
        most = self.count if remaining is None else remaining
        while self._running and (len(self._running) > most or self._running[0][-1].done()):
            frames, among, future = self._running.popleft()
            found, times = future.result()
            for frame, rows in zip(frames, found, strict=True):
                frame.rows = rows
            for part, seconds in times.items():
                self.times[part] += seconds / among

    def close(self) -> None:
        """Wait for what has begun, and let nothing else begin."""
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self.threads)

    def _detect(self, prepared: list, threads: int) -> tuple[list[Tensor], Counter[str]]:
        if self.count > 1:
            torch.set_num_threads(threads)  # of this thread, and of those that begin until `close`
        times: Counter[str] = Counter()
        return self.model.detect(prepared, times), times
