"""Batches drawn on a device: pictures kept there or sent there, a batch rendered at once, nothing waited for.

On the host threads work out plans, matrices and labels some batches ahead; on a GPU a side stream copies what they
made while the batch before it trains.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from torch import Tensor

from data import recipe
from data.batch import Batch, Dealt, targets_at, targets_of
from data.geometry import Arrangement, arrange, layer_matrices, place, source_shapes, tile_labels
from data.letterbox import Letterbox, letterbox_labels, lie
from data.pixels import Pixels
from data.plan import Plan, cut
from data.recipe import Recipe
from data.render_batch import Table, render_batch
from data.request import AHEAD, Labelled, Request, ahead

LOGGER = logging.getLogger("anneal")
VARIANTS = 64  # of the compiled renderer, in a process


@dataclass
class Prepared:
    """A batch as the host knows it: all but its pixels."""

    request: Request
    recipe: Recipe
    wanted: np.ndarray  # picture numbers that the device has to be sent
    targets: Tensor  # of the whole, where the batch is dealt
    here: int  # of these, how many are of the pictures drawn here; they are the first
    letterbox: list[Letterbox] | None


@dataclass
class Arranged:
    """Where the pictures of a stacked plan go: their sources' shapes, `geometry`'s tiles and layers, and targets."""

    shapes: np.ndarray
    tiles: Arrangement
    layers: np.ndarray
    targets: Tensor


Sent = tuple[Prepared, tuple[Tensor, ...], torch.cuda.Event | None]


class DeviceBatches:
    """Makes batches of `pixels` with the labels of `index`, prepared by `workers` threads, or inline with none.

    On a GPU the renderer is compiled at its first batch.
    """

    def __init__(self, index: Labelled, pixels: Pixels, workers: int) -> None:
        self.index, self.pixels, self.workers = index, pixels, workers
        on_gpu = pixels.device.type == "cuda"
        self.side = torch.cuda.Stream(pixels.device) if on_gpu else None
        self.render = OrEager(fused()) if on_gpu and _compiles(pixels.device) else render_batch

    def make(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """The batches in order: `AHEAD` prepared, one of which is on its way to the device, while one is in use.

        A failure to read a picture is raised here, up to two batches before its own. An early end is as in
        `HostBatches.make`.
        """
        cv2.setNumThreads(0)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="render") if self.workers else _Inline()
        near, far = (1, AHEAD) if self.workers else (0, 0)
        try:
            prepared = ahead((pool.submit(self._prepare, request) for request in requests), far)
            loading = ahead(((job := f.result(), self.pixels.load(job.wanted, pool)) for f in prepared), near)
            yield from map(self._draw, ahead((self._send(*pair) for pair in loading), near))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, request: Request) -> Prepared:
        return self._of_plans(request) if request.plan is not None else self._of_letterboxes(request)

    def _of_plans(self, request: Request) -> Prepared:
        if not request.elsewhere.stop:
            return self._of_letterboxes(request)
        plans, count = request.stacked(), len(request.indices)
        elsewhere = targets_of([])
        if request.elsewhere:
            elsewhere = self._arranged(cut(plans, slice(count, None)), request).targets
            elsewhere[:, 0] += count
        if not count:
            return replace(self._of_letterboxes(request), targets=elsewhere)
        plans = cut(plans, slice(count))
        made = self._arranged(plans, request)
        offsets = np.zeros(plans.sources.shape, dtype=np.int64)
        present = plans.sources >= 0
        wanted, offsets[present] = self.pixels.locate(plans.sources[present])
        shape = request.height, request.width
        drawn = recipe.of_plans(plans, made.tiles, made.layers, made.shapes, offsets, *shape)
        return Prepared(request, drawn, wanted, torch.cat((made.targets, elsewhere)), len(made.targets), None)

    def _arranged(self, plans: Plan, request: Request) -> Arranged:
        shape, shapes = (request.height, request.width), source_shapes(plans, self.pixels.shapes)
        tiles, layers = arrange(plans, shapes, *shape, request.size), layer_matrices(plans, *shape)
        rows, tile = tile_labels(plans.sources, self.index.labels, place(tiles, layers), shapes, *shape)
        return Arranged(shapes, tiles, layers, targets_at(tile // plans.sources[0].size, rows))

    def _of_letterboxes(self, request: Request) -> Prepared:
        shape = request.height, request.width
        shapes = self.pixels.shapes[request.indices]
        wanted, offsets = self.pixels.locate(request.indices)
        boxes = [lie(s, self.index.shapes[i], *shape) for s, i in zip(shapes, request.indices, strict=True)]
        lying = zip(request.indices.tolist(), shapes, boxes, strict=True)
        each = [letterbox_labels(self.index.labels[i], s, box, *shape) for i, s, box in lying]
        origin = np.array([box.pad for box in boxes], dtype=np.int64).reshape(-1, 2)
        made = recipe.of_letterboxes(origin, shapes, offsets, *shape)
        targets = targets_of(each)
        return Prepared(request, made, wanted, targets, len(targets), boxes or None)

    def _send(self, job: Prepared, loaded: Callable[[], Tensor]) -> Sent:
        """Start the copies of everything the device needs of a batch."""
        made = job.recipe
        arrays = (made.layers, made.colour, made.offsets, job.request.indices)
        with torch.cuda.stream(self.side):  # nothing without one
            small = [self._copied(tensor) for tensor in (*map(torch.from_numpy, arrays), job.targets)]
            tensors = (loaded(), *small)
        return job, tensors, None if self.side is None else self.side.record_event()

    def _copied(self, tensor: Tensor) -> Tensor:
        if self.side is None:
            return tensor.to(self.pixels.device)
        return tensor.pin_memory().to(self.pixels.device, non_blocking=True)

    def _draw(self, sent: Sent) -> Batch:
        job, tensors, arrived = sent
        if arrived is not None:
            here = torch.cuda.current_stream(self.pixels.device)
            here.wait_event(arrived)
            for tensor in tensors:
                tensor.record_stream(here)  # the side stream's memory is not used again before `here` is past it
        pixels, layers, colour, offsets, indices, targets = tensors
        made = job.recipe
        images = self.render(pixels, Table(layers, colour, offsets), made.height, made.width, made.jitter)
        dealt = Dealt.of(job.request.shares, targets)
        return Batch(images, targets[: job.here], indices, job.letterbox, dealt=dealt)


def fused() -> Callable[..., Tensor]:
    """`render_batch` compiled, once for all sizes: the last batch, scales and rectangles change them.

    Sizes that happen to be equal, or 1, make a variant, as colours and a second layer do: more than torch's limit of 8.
    """
    compiled = torch.compile(render_batch, fullgraph=True, dynamic=True)
    return torch._dynamo.config.patch(recompile_limit=VARIANTS)(compiled)


def _compiles(device: torch.device) -> bool:
    """Whether the GPU's compiler is installed and knows the GPU."""
    return find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= (7, 0)


class OrEager:
    """Calls a compiled renderer; once that cannot be compiled or run, which is said, the plain one."""

    def __init__(self, compiled: Callable[..., Tensor]) -> None:
        self.render = compiled

    def __call__(self, *inputs: object) -> Tensor:
        try:
            return self.render(*inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # what is missing (a compiler, headers, a driver) has no error of its own
            if self.render is render_batch:
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            LOGGER.warning(f"torch.compile failed, pictures are drawn without it, more slowly: {reason}")
            self.render = render_batch
            return self.render(*inputs)


class _Inline:
    """Does at once, in the caller's thread, what a pool would do later."""

    def submit(self, task: Callable, *values: object) -> Future:
        future: Future = Future()
        future.set_result(task(*values))
        return future

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """Nothing is left to do."""
