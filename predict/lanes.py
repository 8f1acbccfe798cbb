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

MOST = 4  # lanes, each of which holds the maps of a whole batch


def lanes_of(model: Model) -> int:
    """How many batches at once are fastest: several on a CPU of several threads.

    Threads that share a batch wait for one another at the end of every layer, and all for one that shares its core with
    a decoder. An exported file has threads of its own, and a GPU works through one batch at a time.
    """
    alone = model.device.type != "cpu" or isinstance(model.network, ExportedDetector)
    return 1 if alone else min(torch.get_num_threads(), MOST)


class Lanes:
    """Runs batches of frames of one shape on `count` threads, and gives the frames their rows.

    times: seconds by part, which grow; those of lanes that run together count once. With one lane, `run` returns when
    the batch is done; with more, one batch waits for a lane, so that none is idle.
    """

    def __init__(self, model: Model, count: int, times: Counter[str]) -> None:
        self.model, self.count, self.times = model, count, times
        self.threads = torch.get_num_threads()
        self._running: deque[tuple[Sequence[Frame], int, Future]] = deque()
        self._pool = ThreadPoolExecutor(count, "network")

    def run(self, frames: Sequence[Frame], among: int | None = None) -> None:
        """Begin with a batch. `among`: so many share the threads where there is not work for all lanes."""
        prepared = [frame.prepared for frame in frames]
        for frame in frames:
            frame.prepared = None
        among = min(among or self.count, self.count)
        self._running.append((frames, among, self._pool.submit(self._detect, prepared, max(self.threads // among, 1))))
        self.finish(self.count if self.count > 1 else 0)

    def finish(self, remaining: int = 0) -> None:
        """Wait until at most `remaining` batches are not done. Raises what one of them raised."""
        while len(self._running) > remaining:
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
            torch.set_num_threads(threads)  # of this thread alone
        times: Counter[str] = Counter()
        return self.model.detect(prepared, times), times
