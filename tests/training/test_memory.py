"""Memory that runs out in training: nothing is lost, and the gradient stays that of the whole batch."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

import train
from benchmarks.compare import differences
from benchmarks.stages import Watch
from data.batch import Batch
from tests.trainer import Runs, assert_identical, at_step
from training import options, start
from training.memory import halve_on_out_of_memory
from training.session import Session
from utils.console.signals import Interrupted, StopRequest
from utils.errors import UserError

FLAGS = "--save-steps 1 --warmup-epochs 0.5"
SIZES = {"batch_size": 4, "nbs": 8, "epochs": 2}  # 11 pictures: batches of 4, 4, 3; steps of two batches and of one
BATCHES = 3  # an epoch


def make(runs: Runs, text: str = FLAGS, **changed) -> Session:
    return start.new(options.parse(runs.flags(text, **SIZES | changed), "train.py", "")[0])


def ways(run: Session) -> dict[str, Callable[[Callable[[], None]], None]]:
    """Where memory can run out: each entry has a function called whenever training passes that place."""
    early, loader = run.model.model[1], run.data.train
    plain = loader.epoch

    def load(act: Callable[[], None]) -> None:
        def epoch(number: int, start: int = 0) -> Iterator[Batch]:
            for batch in plain(number, start):
                act()
                yield batch

        loader.epoch = epoch

    return {
        "load": load,
        "forward": lambda act: run.model.head.register_forward_pre_hook(lambda *_: act()),
        "backward": lambda act: early.register_full_backward_hook(lambda *_: act()),
    }


def run_out(run: Session, where: str, passes: set[int], error: Callable = torch.OutOfMemoryError) -> None:
    """Let memory run out the given times that training passes a place, counted from 0."""
    seen = iter(range(10_000))

    def act() -> None:
        if next(seen) in passes:
            raise error("CUDA out of memory")

    ways(run)[where](act)


def drive(run: Session) -> list[int]:
    """All epochs, without files; the pictures of every step, in order."""
    seen: list[int] = []
    count, place = run.count, run.last_step

    def and_note(terms: Tensor, batch: Batch) -> None:
        count(terms, batch)
        group.extend(batch.indices.tolist())

    def step() -> None:
        plain_step()
        seen.append(sorted(group))
        group.clear()

    group: list[int] = []
    plain_step, go_back = run.step, place.go_back
    run.count, run.step = and_note, step
    place.go_back = lambda session: (group.clear(), go_back(session))
    while run.progress.epoch < run.epochs:
        while not run.epoch_is_complete():
            with halve_on_out_of_memory(run):
                train.train_one_epoch(run, Watch(run), StopRequest())
        run.losses()
        run.end_epoch(None)
    return seen


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_a_run_that_ran_out_is_the_run_in_parts_from_that_step_on(module_runs: Runs, data: st.DataObject) -> None:
    """Two epochs of steps of 8 and 3 pictures; memory runs out at any batch, in loading, forward or backward."""
    where = data.draw(st.sampled_from(["load", "forward", "backward"]))
    at = data.draw(st.integers(0, 2 * BATCHES - 1))
    failed = make(module_runs)
    run_out(failed, where, {at})
    pictures = drive(failed)

    expected = make(module_runs)
    first = (at // BATCHES) * 2 + (at % BATCHES == 2)  # the step that the batch belongs to
    plain = expected.step

    def step() -> None:
        plain()
        if expected.progress.step == first:
            expected.progress.at_once = 2
            expected.last_step.keep(expected)

    if first == 0:
        expected.progress.at_once = 2
    expected.step = step
    assert drive(expected) == pictures
    assert [len(group) for group in pictures] == [8, 3, 8, 3]
    assert failed.progress.at_once == 2
    assert not differences(expected.state(), failed.state())


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, lambda _: RuntimeError("unable to find an engine")])
def test_what_did_not_fit_is_gone_before_it_is_tried_again(runs: Runs, where: str, error) -> None:
    """Nothing of the failed pass may be left in memory; on a GPU the smaller parts would find it taken."""
    run, held = make(runs), []
    early = run.model.model[2]
    early.register_forward_hook(lambda _, __, out: held.append(StorageWeakRef(out.untyped_storage())))
    run_out(run, where, {0}, error)
    gc.disable()
    try:
        with halve_on_out_of_memory(run):
            train.train_one_epoch(run, Watch(run), StopRequest())
        assert run.at_once == 2
        assert [reference.expired() for reference in held] == [True]
        assert all(p.grad is None for p in run.model.parameters())
    finally:
        gc.enable()


def test_it_splits_again_and_says_so(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    run = make(runs)
    run_out(run, "forward", {1, 2})
    assert [len(group) for group in drive(run)] == [8, 3, 8, 3]
    assert [r.getMessage() for r in caplog.records if "memory" in r.getMessage()] == [
        "out of memory in step 0 with 4 pictures at once; continuing with parts of 2",
        "out of memory in step 0 with 2 pictures at once; continuing with parts of 1",
    ]
    assert run.meter.pictures == 0
    assert run.progress.step == 4


def test_one_picture_too_many_is_an_error(runs: Runs) -> None:
    run = make(runs)
    run_out(run, "backward", set(range(10)))
    with pytest.raises(UserError, match=r"^out of memory in step 0: not even one picture fits; .*--imgsz, --cfg or"):
        drive(run)


def test_memory_that_runs_out_while_weights_change_is_an_error(runs: Runs, monkeypatch) -> None:
    """Half of the weights may have taken the step: no going on. In the first step there is nothing to go back to."""
    run = make(runs)

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run.optimizer, "step", fail)
    with pytest.raises(
        UserError, match=r"^out of memory in step 0, while the weights changed; no checkpoint was .* yet"
    ):
        drive(run)
    run.last.touch()
    with pytest.raises(UserError, match=r"; the last good checkpoint is .*last\.pt; give a smaller --imgsz"):
        drive(run)


def test_a_resume_keeps_the_parts(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(name: str, stop: bool) -> Session:
        run = make(runs, name=name)
        run_out(run, "backward", {1})
        stop_request = StopRequest()
        if stop:
            at_step(monkeypatch, 3, lambda _: setattr(stop_request, "stop", 15))
        train.fit(run, stop_request)
        return run

    whole = trained("whole", stop=False)
    with pytest.raises(Interrupted):
        trained("cut", stop=True)
    folder = runs.run("cut")
    resumed = start.resume(options.parse(["--resume", str(folder)], "train.py", "")[0])
    assert resumed.at_once == 2
    train.fit(resumed, StopRequest())
    resumed.saver.writer.wait()
    whole.saver.writer.wait()
    assert_identical(whole.folder, folder, but=(".options.run.name",))


def test_parts_add_up_to_the_batch(runs: Runs) -> None:
    """With BatchNorm's statistics held, in float64: any size of part gives the gradient and terms of the whole."""
    run = make(runs, batch_size=7)
    model = copy.deepcopy(run.model).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    criterion = type(run.criterion)(model, run.criterion.gains)
    batch = next(run.data.train.epoch(0))

    def gradient(size: int) -> tuple[list[Tensor], Tensor]:
        model.zero_grad()
        terms = 0
        for part in batch.parts(size):
            loss, each = criterion(model(part.images.double() / 255), part.targets.double(), part.whole)
            loss.backward()
            terms = terms + each * len(part)
        return [p.grad.clone() for p in model.parameters()], terms / len(batch)

    expected, terms = gradient(7)
    for size in range(1, 7):
        found, same = gradient(size)
        torch.testing.assert_close(same, terms, rtol=1e-12, atol=1e-14)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12 * float(b.abs().max() + 1))


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 30), st.integers(0, 2**31))
@settings(deadline=None)
def test_parts_hold_every_picture_and_box_once(pictures: int, size: int, boxes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    place = torch.randint(0, pictures, (boxes, 1), generator=generator).float().sort(0).values
    targets = torch.cat((place, torch.rand(boxes, 5, generator=generator)), 1)
    images = torch.randint(0, 256, (pictures, 3, 2, 2), generator=generator, dtype=torch.uint8)
    batch = Batch(images, targets, torch.arange(pictures) * 10)
    parts = batch.parts(size)
    assert all(1 <= len(part) <= size for part in parts)
    assert torch.equal(torch.cat([part.images for part in parts]), images)
    assert torch.equal(torch.cat([part.indices for part in parts]), batch.indices)
    starts = [sum(map(len, parts[:k])) for k in range(len(parts))]
    found = []
    for begin, part in zip(starts, parts, strict=True):
        mine = part.targets[part.targets[:, 0] >= 0].clone()
        assert (mine[:, 0] < len(part)).all()
        mine[:, 0] += begin
        found.append(mine)
    assert torch.equal(torch.cat(found), targets)
