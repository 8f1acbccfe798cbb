"""Batches side by side: the rows, their order and the threads do not depend on how many lanes there are."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from predict.frames import Frame, Origin, Unreadable
from predict.lanes import Lanes, lanes_of
from predict.model import Model, Prepared, load
from predict.pipeline import Item, detect
from tests.predict.conftest import noise
from utils.console.signals import StopRequest
from utils.errors import UserError

SIDES = ((60, 90), (90, 60), (60, 60))


class Slow:
    """Detects nothing but remembers: the number of each batch's frames, the threads they had, and what ran together."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.sizes: list[int] = []
        self.threads: list[int] = []
        self.running = self.most = 0
        self.lock = threading.Lock()

    def detect(self, prepared: Sequence[Prepared], times: Counter[str]) -> list[torch.Tensor]:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.sizes.append(len(prepared))
            self.threads.append(torch.get_num_threads())
            fails = len(self.sizes) == self.fails_at
        time.sleep(0.01)
        with self.lock:
            self.running -= 1
        if fails:
            raise UserError("no memory")
        times["inference"] += 1
        return [torch.full((1, 6), float(each.image.sum())) for each in prepared]


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(weights: Path) -> Model:
    return load(weights, "cpu")


def frames(model: Model, sides: Sequence[tuple[int, int]]) -> list[Item]:
    origin = Origin("a", PurePosixPath("a"))
    items: list[Item] = [Frame(origin, noise(number, *side), number) for number, side in enumerate(sides)]
    for item in items:
        item.prepared = model.prepare(item.picture)
    return [*items, origin]


@given(st.lists(st.sampled_from(SIDES), max_size=20), st.integers(1, 5), st.integers(1, 4), st.integers(0, 20))
def test_all_items_come_in_order_with_their_rows(model: Model, sides, batch: int, count: int, fault: int) -> None:
    items = frames(model, sides)
    items.insert(min(fault, len(items)), Unreadable("broken"))
    sums = [float(item.prepared.image.sum()) if isinstance(item, Frame) else None for item in items]
    slow = Slow()
    out = list(detect(iter(items), slow, batch, Counter(), count, StopRequest()))
    assert all(a is b for a, b in zip(out, items, strict=True))
    assert [float(item.rows[0, 0]) if isinstance(item, Frame) else None for item in out] == sums
    assert slow.most <= count
    assert max(slow.sizes, default=1) <= batch
    assert sum(slow.sizes) == len(sides)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_real_network_finds_the_same(model: Model, count: int) -> None:
    sides = [SIDES[number % 3] for number in range(23)]

    def rows(lanes: int) -> list[torch.Tensor]:
        items = detect(frames(model, sides), model, 4, Counter(), lanes, StopRequest())
        return [item.rows for item in items if isinstance(item, Frame)]

    alone, beside = rows(1), rows(count)
    assert sum(map(len, alone)) > 100
    for a, b in zip(alone, beside, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_batches_run_together_and_share_the_threads(model: Model, four_threads: None) -> None:
    slow, times = Slow(), Counter()
    list(detect(frames(model, [SIDES[0]] * 40), slow, 4, times, 2, StopRequest()))
    assert slow.most == 2
    assert set(slow.threads) == {2}
    assert times["inference"] == pytest.approx(5), "ten batches of a second, two at a time"
    assert torch.get_num_threads() == 4


def ran(model: Model, sides: Sequence[tuple[int, int]], batch: int, count: int) -> tuple[list[int], list[int], float]:
    """Sizes of the batches, the threads they had, and the seconds that were counted: one a batch, shared."""
    slow, times = Slow(), Counter()
    list(detect(frames(model, sides), slow, batch, times, count, StopRequest()))
    return sorted(slow.sizes), slow.threads, times["inference"]


def test_few_frames_use_all_threads(model: Model, four_threads: None) -> None:
    a, b = SIDES[0], SIDES[1]
    assert ran(model, [a], 8, 4) == ([1], [4], 1), "one picture has them all"
    assert ran(model, [a] * 7, 8, 4) == ([1, 2, 2, 2], [1] * 4, 1), "less than a batch is shared out"
    assert ran(model, [a] * 8, 8, 4) == ([2] * 4, [1] * 4, 1), "a single batch too"
    assert ran(model, [a] * 24, 8, 4) == ([6] * 4, [1] * 4, 1), "and fewer than there are lanes"
    assert ran(model, [a, b], 8, 4) == ([1, 1], [2, 2], 1)
    assert ran(model, [a] * 4 + [b] * 4, 8, 2) == ([4, 4], [2, 2], 1), "no smaller than that takes"


def test_one_lane_waits_for_each_batch(model: Model) -> None:
    slow = Slow()
    stream = detect(frames(model, [SIDES[0]] * 3), slow, 1, Counter(), 1, StopRequest())
    for number in range(1, 4):
        assert next(stream).rows is not None
        assert len(slow.sizes) == number, "a live stream's frame is shown before the next is taken"


def test_a_fault_of_a_batch_is_raised_and_the_threads_end(model: Model) -> None:
    before, threads = threading.active_count(), torch.get_num_threads()
    with pytest.raises(UserError, match="no memory"):
        list(detect(frames(model, [SIDES[0]] * 40), Slow(fails_at=3), 2, Counter(), 2, StopRequest()))
    assert (threading.active_count(), torch.get_num_threads()) == (before, threads)


def test_who_stops_early_waits_only_for_what_runs(model: Model) -> None:
    slow, before = Slow(), threading.active_count()
    stream = detect(frames(model, [SIDES[0]] * 100), slow, 2, Counter(), 2, StopRequest())
    next(stream)
    stream.close()
    assert sum(slow.sizes) < 20
    assert threading.active_count() == before


def asked_at(place: int, items: list[Item], stop_request: StopRequest) -> Iterator[Item]:
    """Items, of which one comes together with a request to stop."""
    for number, item in enumerate(items):
        if number == place:
            stop_request.stop = 15
        yield item


@pytest.mark.parametrize("count", [1, 2])
def test_after_a_request_to_stop_what_is_done_still_comes(model: Model, count: int) -> None:
    stop_request, slow = StopRequest(), Slow()
    items = asked_at(50, frames(model, [SIDES[0]] * 100), stop_request)
    out = list(detect(items, slow, 4, Counter(), count, stop_request))
    assert [item.number for item in out] == list(range(48)), "twelve batches had begun, and all are written"
    assert sum(slow.sizes) == 48


@pytest.mark.parametrize("count", [1, 2])
def test_after_a_request_to_stop_pictures_behind_an_open_one_come_and_frames_of_its_video_do_not(
    model: Model, count: int
) -> None:
    sides = [SIDES[0], SIDES[1], *[SIDES[0]] * 30]
    for pictures in (True, False):
        stop_request, slow, items = StopRequest(), Slow(), frames(model, sides)[:-1]
        for item in items if pictures else []:
            item.origin = Origin(str(item.number), PurePosixPath(str(item.number)))
        out = list(detect(asked_at(20, items, stop_request), slow, 4, Counter(), count, stop_request))
        assert slow.sizes == [4]
        assert [item.number for item in out] == ([0, 2, 3, 4] if pictures else [0])


def test_the_last_frames_hear_a_request_to_stop(model: Model) -> None:
    stop_request, slow = StopRequest(), Slow()
    sides = [(30 + 32 * number, 200) for number in range(12)]
    for item in detect(frames(model, sides), slow, 4, Counter(), 1, stop_request):
        if isinstance(item, Frame):
            stop_request.stop = 15
    assert sum(slow.sizes) < 3


def test_what_is_done_comes_without_waiting_for_more_to_begin(model: Model) -> None:
    given: list[int] = []

    def slowly() -> Iterator[Item]:
        for number, item in enumerate(frames(model, [SIDES[0]] * 60)[:-1]):
            given.append(number)
            time.sleep(0.02)
            yield item

    stream = detect(slowly(), Slow(), 2, Counter(), 4, StopRequest())
    next(stream)
    assert len(given) < 12, "eight fill the lanes"


def test_closed_lanes_begin_nothing(model: Model) -> None:
    with closing(Lanes(Slow(), 2, Counter())) as network:
        pass
    with pytest.raises(RuntimeError):
        network.run(frames(model, [SIDES[0]])[:1])


@pytest.mark.parametrize(
    ("threads", "batch", "count"),
    [
        (4, 16, 2),
        (4, 32, 1),
        (4, 1000, 1),
        (1, 8, 1),
        (2, 8, 2),
        (3, 8, 3),
        (4, 8, 4),
        (5, 8, 1),
        (6, 8, 3),
        (14, 8, 2),
        (64, 8, 4),
        (4, 1, 4),
    ],
)
def test_how_many_lanes(
    model: Model, monkeypatch: pytest.MonkeyPatch, four_threads: None, threads: int, batch: int, count: int
) -> None:
    torch.set_num_threads(threads)
    assert lanes_of(model, batch) == count
    assert threads % count == 0
    monkeypatch.setattr(model, "device", torch.device("cuda"))
    assert lanes_of(model, batch) == 1
