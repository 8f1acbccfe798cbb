"""Batches for training and validation, rendered ahead by threads. OpenCV works without the interpreter's lock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from data.batch import Batch, targets_of
from data.letterbox import Letterbox, batch_shape, letterbox, letterbox_labels
from data.plan import Augment, batch_size_px, order, plan, rectangle_order
from data.render import render

AHEAD = 2  # batches in the making while one is in use
Drawn = tuple[np.ndarray, Letterbox | None]


class Store(Protocol):
    """Pictures at the training size; `ImageStore` is one."""

    def __getitem__(self, i: int) -> np.ndarray: ...
    def shape(self, i: int) -> tuple[int, int]: ...


class Labelled(Protocol):
    """What the loaders read of an `Index`: (N, 2) original shapes and N arrays (k, 5) of labels."""

    shapes: np.ndarray
    labels: Sequence[np.ndarray]

    def __len__(self) -> int: ...


@dataclass
class Job:
    """A batch to be made: `tasks[k]` draws picture `k` into `images[k]` and gives its labels."""

    images: Tensor
    indices: Tensor
    tasks: list[Callable[[], Drawn]]

    def batch(self, drawn: list[Drawn]) -> Batch:
        boxes = [box for _, box in drawn if box is not None]
        return Batch(self.images, targets_of([labels for labels, _ in drawn]), self.indices, boxes or None)


def run(jobs: Iterable[Job], workers: int) -> Iterator[Batch]:
    """Make batches in order, `AHEAD` of them in advance on `workers` threads, or inline with none.

    A task's exception is raised here when its batch's turn comes. Closing the iterator, or dropping it, cancels what
    has not begun and waits for the pictures being drawn: milliseconds. OpenCV's own threads are switched off for the
    process, as one picture is too small to share and the cores belong to the threads here and to torch.
    """
    cv2.setNumThreads(0)
    if workers == 0:
        yield from (job.batch([task() for task in job.tasks]) for job in jobs)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="render")
    waiting: deque[tuple[Job, list[Future]]] = deque()
    try:
        for job in jobs:
            waiting.append((job, [pool.submit(task) for task in job.tasks]))
            if len(waiting) > AHEAD:
                yield _finish(*waiting.popleft())
        while waiting:
            yield _finish(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finish(job: Job, futures: list[Future]) -> Batch:
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()  # raises at the first failure, without waiting for the rest
    return job.batch([future.result() for future in futures])


class TrainLoader:
    """Augmented batches; what a batch holds is a pure function of (seed, epoch, batch).

    Args:
        index, store: the pictures' labels and their pixels.
        augment: the hyper-parameters.
        batch_size: pictures a batch, of this process.
        size: side of the output in pixels.
        workers: threads; 0 renders in the caller's.
        rank, world: of `world` processes, this one takes plans `rank, rank + world, ...`. All make equally many
            batches; a last one may be short, or, on some ranks, empty.
        multi_scale: draw each batch's side from 0.5 to 1.5 `size`.
        rect: batches of like aspect ratio in rectangles instead of squares; no mosaic.
        pin: draw into page-locked memory.
        stride: what sides are multiples of where `multi_scale` or `rect` choose them.
    """

    def __init__(
        self,
        index: Labelled,
        store: Store,
        *,
        augment: Augment,
        batch_size: int,
        size: int,
        seed: int,
        workers: int = 2,
        rank: int = 0,
        world: int = 1,
        multi_scale: bool = False,
        rect: bool = False,
        pin: bool = False,
        stride: int = 32,
    ) -> None:
        self.index, self.store = index, store
        self.augment = replace(augment, mosaic=0.0) if rect else augment
        self.batch_size, self.size, self.seed, self.workers = batch_size, size, seed, workers
        self.rank, self.world, self.stride = rank, world, stride
        self.multi_scale, self.rect, self.pin = multi_scale, rect, pin

    def __len__(self) -> int:
        """Batches an epoch."""
        return math.ceil(len(self.index) / (self.batch_size * self.world))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `start`."""
        first = self._order(epoch)
        return run((self._job(epoch, b, first) for b in range(start, len(self))), self.workers)

    def _order(self, epoch: int) -> np.ndarray:
        if not self.rect:
            return order(self.seed, epoch, len(self.index))
        aspect = self.index.shapes[:, 0] / self.index.shapes[:, 1]
        return rectangle_order(self.seed, epoch, aspect, self.batch_size * self.world)

    def _job(self, epoch: int, batch: int, first: np.ndarray) -> Job:
        size = batch_size_px(self.seed, epoch, batch, self.size, self.stride) if self.multi_scale else self.size
        begin = batch * self.batch_size * self.world
        everyone = range(begin, min(begin + self.batch_size * self.world, len(first)))
        mine = everyone[self.rank :: self.world]
        height = width = size
        if self.rect:  # all ranks' pictures count, so that their batches have one shape
            shapes = np.array([self.store.shape(int(first[i])) for i in everyone])
            height, width = batch_shape(shapes * (size / shapes.max(1, keepdims=True)), self.stride, 0)
        images = torch.empty((len(mine), 3, height, width), dtype=torch.uint8, pin_memory=self.pin)
        tasks = [
            partial(self._draw, epoch, i, int(first[i]), out, size) for i, out in zip(mine, images.numpy(), strict=True)
        ]
        return Job(images, torch.from_numpy(first[mine.start : mine.stop : mine.step].copy()), tasks)

    def _draw(self, epoch: int, i: int, first: int, out: np.ndarray, size: int) -> Drawn:
        what = plan(self.seed, epoch, i, len(self.index), self.augment, first)
        _, labels = render(what, self.store, self.index.labels, *out.shape[1:], size, out)
        return labels, None


class ValLoader:
    """Letterboxed pictures in one fixed order.

    With `rect`, pictures are sorted by aspect ratio and each batch is the rectangle that holds its pictures, sides
    rounded up to `stride` after adding `pad` strides; otherwise a square of `size`. `Batch.letterbox` leads back to
    the originals' pixels.
    """

    def __init__(
        self,
        index: Labelled,
        store: Store,
        *,
        batch_size: int,
        size: int,
        stride: int = 32,
        pad: float = 0.5,
        rect: bool = True,
        workers: int = 2,
        pin: bool = False,
    ) -> None:
        self.index, self.store = index, store
        self.batch_size, self.size, self.stride, self.pad = batch_size, size, stride, pad
        self.rect, self.workers, self.pin = rect, workers, pin

    def __len__(self) -> int:
        """Batches in all."""
        return math.ceil(len(self.index) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        places = np.arange(len(self.index))
        if self.rect:
            places = np.argsort(self.index.shapes[:, 0] / self.index.shapes[:, 1], kind="stable")
        starts = range(0, len(places), self.batch_size)
        return run((self._job(places[at : at + self.batch_size]) for at in starts), self.workers)

    def _job(self, places: np.ndarray) -> Job:
        shape = (self.size, self.size)
        if self.rect:
            shape = batch_shape(np.array([self.store.shape(int(i)) for i in places]), self.stride, self.pad)
        images = torch.empty((len(places), 3, *shape), dtype=torch.uint8, pin_memory=self.pin)
        tasks = [partial(self._draw, int(i), out) for i, out in zip(places, images.numpy(), strict=True)]
        return Job(images, torch.from_numpy(places.astype(np.int64)), tasks)

    def _draw(self, i: int, out: np.ndarray) -> Drawn:
        picture = self.store[i]
        box = letterbox(picture, self.index.shapes[i], out)
        return letterbox_labels(self.index.labels[i], picture.shape[:2], box, *out.shape[1:]), box
