"""Frames through the network: decoded ahead by threads, in batches of one shape, given back in their order."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from queue import Empty, Full, Queue

import cv2

from data.pictures import decode
from predict.background import let_network_go_first
from predict.films import read
from predict.frames import Frame, Origin, Unreadable
from predict.lanes import Lanes
from predict.model import Model
from utils.console.signals import StopRequest
from utils.errors import UserError

READERS = 4
AHEAD = 3  # batches that may be prepared before the network takes them
WINDOW, LARGEST_WINDOW = 4, 16  # batches' worth of frames among which those of one shape are looked for
WINDOW_BYTES = 256 << 20  # of waiting pictures, from which the smaller window holds

Item = Frame | Unreadable | Origin  # an origin: it is finished


def read_files(
    origins: Sequence[Origin], model: Model, size: int | tuple[int, int] | None, stride: int, ahead: int
) -> Generator[Item]:
    """The frames of pictures and videos, prepared; faults in their place; and each origin when it is finished."""
    cv2.setNumThreads(1)  # a picture has one thread; more would take turns with the network's
    queue: Queue[Future | Item | None] = Queue(ahead)
    stopped = threading.Event()
    pool = ThreadPoolExecutor(READERS, "read", initializer=let_network_go_first)
    work = (origins, model, size, stride, queue, pool, stopped)
    feeder = threading.Thread(target=_feed, args=work, name="read", daemon=True)
    feeder.start()
    try:
        while (item := queue.get()) is not None:
            yield item.result() if isinstance(item, Future) else item
    finally:
        stopped.set()
        while feeder.is_alive():  # it may wait for room
            try:
                queue.get(timeout=0.05)
            except Empty:
                continue
        pool.shutdown(cancel_futures=True)


def _feed(origins, model, size, stride, queue, pool, stopped) -> None:
    def put(item: Future | Item | None) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=0.1)
                return True
            except Full:
                continue
        return False

    def prepared(frame: Frame) -> Frame:
        frame.prepared = model.prepare(frame.picture, size)
        return frame

    def picture(origin: Origin) -> Item:
        try:
            return prepared(Frame(origin, decode(origin.file)))
        except UserError as error:
            return Unreadable(str(error).replace(origin.file, origin.shown))

    let_network_go_first()
    for origin in origins:
        try:
            if origin.kind == "folder":
                alive = put(Unreadable(f"{origin.shown}: cannot be listed; check its permissions"))
            elif origin.kind == "picture":
                alive = put(pool.submit(picture, origin))
            else:
                alive = all(put(pool.submit(prepared, frame)) for frame in read(origin, stride))
        except Unreadable as fault:
            alive = put(fault)
        except Exception as error:  # to be raised by whoever reads the queue
            failed: Future = Future()
            failed.set_exception(error)
            alive = put(failed)
        if not (alive and put(origin)):
            return
    put(None)


def detect(
    items: Iterable[Item], model: Model, batch: int, times: Counter[str], lanes: int, stop_request: StopRequest
) -> Iterator[Item]:
    """Give each frame its rows; everything comes back in the order in which it came.

    lanes: batches at once. Once somebody asks to stop no other batch begins, and those that are done still come.
    """
    waiting: deque[Item] = deque()
    with closing(Lanes(model, lanes, times)) as network:
        clock = time.perf_counter()
        for item in items:
            times["load"] += time.perf_counter() - clock
            if stop_request.stop is not None:
                break
            waiting.append(item)
            while _ready(waiting, batch, 1 if network.begun else lanes):
                network.run(_next(_open(waiting), batch))
                yield from _finished(waiting)
            network.collect()
            yield from _finished(waiting)
            clock = time.perf_counter()
        rest = list(_shared_out(_open(waiting), batch, lanes))
        for frames in rest:
            if stop_request.stop is not None:
                break
            network.run(frames, among=len(rest))
            yield from _finished(waiting)
        network.collect(remaining=0)
        yield from _without_gaps(waiting)


def _open(waiting: deque[Item]) -> list[Frame]:
    """The frames that the network has not been given."""
    return [item for item in waiting if isinstance(item, Frame) and item.prepared is not None]


def _ready(waiting: deque[Item], batch: int, batches: int) -> bool:
    """Whether the frames that wait hold a whole batch of the first one's shape, or are many.

    batches: so many they must be at least, so that no lane has nothing to begin with.
    """
    frames = _open(waiting)
    sizes: list[int] = [frame.picture.nbytes for frame in frames]
    window = WINDOW if sum(sizes) >= WINDOW_BYTES else LARGEST_WINDOW
    many = len(frames) >= window * batch
    return many or (len(frames) >= batches * batch and len(_next(frames, batch)) == batch)


def _next(frames: list[Frame], batch: int) -> list[Frame]:
    """At most a batch of frames of the first one's shape."""
    return [frame for frame in frames if frame.prepared.image.shape == frames[0].prepared.image.shape][:batch]


def _shared_out(frames: list[Frame], batch: int, lanes: int) -> Iterator[list[Frame]]:
    """The last frames in batches of one shape, none larger than a lane's share of all of them."""
    part = min(batch, -(-len(frames) // lanes))
    while frames:
        same = _next(frames, len(frames))
        yield from (same[i : i + part] for i in range(0, len(same), part))
        frames = [frame for frame in frames if frame.prepared.image.shape != same[0].prepared.image.shape]


def _finished(waiting: deque[Item]) -> Iterator[Item]:
    """What is done, up to the first frame that is not."""
    while waiting and not (isinstance(waiting[0], Frame) and waiting[0].rows is None):
        yield waiting.popleft()


def _without_gaps(waiting: deque[Item]) -> Iterator[Item]:
    """All that is done; of a video, nothing after a frame that is not."""
    cut: set[Origin] = set()
    for item in waiting:
        if isinstance(item, Frame) and item.rows is None:
            cut.add(item.origin)
        elif not (isinstance(item, Frame) and item.origin in cut):
            yield item
