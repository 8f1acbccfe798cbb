"""Batches drawn on the host: a task a picture, on threads. OpenCV works without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch

from data.batch import Batch, Dealt, targets_of
from data.letterbox import Letterbox, letterbox, letterbox_labels
from data.render import labels_of, render
from data.request import AHEAD, Labelled, Request, Store, ahead

Drawn = tuple[np.ndarray, Letterbox | None]


@dataclass(frozen=True)
class HostBatches:
    """Makes batches of pictures of `store` with labels of `index`, on `workers` threads, or inline with none."""

    index: Labelled
    store: Store
    workers: int

    def make(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """The batches in order, `AHEAD` of them in advance.

        A picture's exception is raised here when its batch's turn comes. Closing the iterator, or dropping it, cancels
        what has not begun and waits for the pictures being drawn: milliseconds. OpenCV's own threads are switched off
        for the process, as one picture is too small to share and the cores belong to the threads here and to torch.
        """
        cv2.setNumThreads(0)
        if self.workers == 0:
            for request in requests:
                images = self._empty(request)
                drawn = [self._draw(request, place, out) for place, out in enumerate(images.numpy())]
                yield self._batch(request, images, drawn, self._elsewhere(request))
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="render")
        try:
            for request, images, futures, other in ahead((self._begin(pool, request) for request in requests), AHEAD):
                yield self._batch(request, images, _results(futures), other.result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, request: Request) -> tuple[Request, torch.Tensor, list[Future], Future]:
        images = self._empty(request)
        draw = partial(self._draw, request)
        drawn = [pool.submit(draw, place, out) for place, out in enumerate(images.numpy())]
        return request, images, drawn, pool.submit(self._elsewhere, request)

    def _empty(self, request: Request) -> torch.Tensor:
        return torch.empty((len(request.indices), 3, request.height, request.width), dtype=torch.uint8)

    def _draw(self, request: Request, place: int, out: np.ndarray) -> Drawn:
        shape = request.height, request.width
        if request.plan is not None:
            return render(request.plan(place), self.store, self.index.labels, *shape, request.size, out)[1], None
        i = int(request.indices[place])
        picture = self.store[i]
        box = letterbox(picture, self.index.shapes[i], out)
        return letterbox_labels(self.index.labels[i], picture.shape[:2], box, *shape), box

    def _elsewhere(self, request: Request) -> list[np.ndarray]:
        """The labels of the pictures that other processes draw."""
        where = self.store.shapes, self.index.labels, request.height, request.width, request.size
        return [labels_of(request.plan(place), *where) for place in request.elsewhere] if request.plan else []

    def _batch(self, request: Request, images: torch.Tensor, drawn: list[Drawn], elsewhere: list[np.ndarray]) -> Batch:
        boxes = [box for _, box in drawn if box is not None]
        own = [labels for labels, _ in drawn]
        targets = targets_of(own + elsewhere)
        dealt, indices = Dealt.of(request.shares, targets), torch.from_numpy(request.indices)
        return Batch(images, targets[: sum(map(len, own))], indices, boxes or None, dealt=dealt)


def _results(futures: list[Future]) -> list[Drawn]:
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()  # raises at the first failure, without waiting for the rest
    return [future.result() for future in futures]
