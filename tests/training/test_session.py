"""One session, driven by hand: what a step takes in, what is refused, what a disk's refusal does."""

from __future__ import annotations

import copy
import errno
from pathlib import Path

import pytest
import torch

import train
from benchmarks.compare import differences
from tests.trainer import Runs, is_finite, set_nan
from training import options, start
from training.best import best_weights
from training.meter import NonFiniteLoss
from training.pending_writes import MOST
from training.report import Report
from training.session import Session
from utils import checkpoint
from utils.console.signals import StopRequest


@pytest.fixture
def make(runs: Runs):
    """A new session in a folder of its own, from more flags."""

    def build(text: str = "", **changed) -> Session:
        return start.new(options.parse(runs.flags(text, **changed), "train.py", "")[0])

    return build


def epoch_of(run: Session):
    """One epoch as train_one_epoch drives it; after each full group, before its step, yields the group's batches."""
    run.model.train()
    group = []
    for batch in run.data.train.epoch(run.progress.epoch):
        loss, terms = run.criterion(run.forward(batch), batch.targets)
        run.scaler.scale(loss).backward()
        run.count(terms, batch)
        run.close_batch(batch)
        group.append(batch)
        if run.group_is_complete():
            yield group
            group = []


def test_no_picture_of_an_epoch_is_dropped(make) -> None:
    """11 pictures in batches of 2, 4 batches a step: groups of 8 and 3, each gradient that of its pictures."""
    run = make()
    seen = []
    for group in epoch_of(run):
        model = copy.deepcopy(run.model).requires_grad_(True)
        criterion = type(run.criterion)(model, run.criterion.gains)
        expected = [torch.zeros_like(p) for p in model.parameters()]
        for batch in group:
            loss, _ = criterion(model(batch.images.float() / 255), batch.targets)
            expected = [e + g for e, g in zip(expected, torch.autograd.grad(loss, model.parameters()), strict=True)]
        for p, gradient in zip(run.model.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, gradient, rtol=1e-5, atol=1e-7)
        run.step()
        assert all(p.grad is None for p in run.model.parameters())
        seen.append([i for batch in group for i in batch.indices.tolist()])
    assert [len(group) for group in seen] == [8, 3]
    assert sorted(i for group in seen for i in group) == list(range(11))
    assert run.progress.step == run.steps_per_epoch == 2


def test_a_step_is_taken_at_the_schedules_rate(make) -> None:
    run = make("--lr-policy cosine --warmup-epochs 1")
    for step, _ in enumerate(epoch_of(run)):
        run.step()
        assert run.rates() == run.schedule.values(step)
        assert [g["lr"] for g in run.optimizer.param_groups] == [lr for lr, _ in run.schedule.values(step)]
    assert run.ema.updates == 2


def test_clipping_bounds_the_gradient(make) -> None:
    run = make("--clip-grad 0.001 --optim-arg nesterov=false --momentum 0 --weight-decay 0 --warmup-epochs 0")
    before = copy.deepcopy(run.model.state_dict())
    next(iter(epoch_of(run)))
    run.step()
    lr = run.rates()[0][0]
    moved = [(p.detach() - before[name]).norm() for name, p in run.model.named_parameters()]
    assert float(torch.stack(moved).norm()) == pytest.approx(lr * 0.001, rel=1e-3)


def test_nothing_that_is_not_finite_is_saved(make) -> None:
    run = make()
    run.save()
    set_nan(run)
    with pytest.raises(NonFiniteLoss, match=r"^weights are not finite after step -1; the last good checkpoint is .*pt"):
        run.save()
    assert is_finite(run.last)


def test_a_loss_that_is_not_finite_names_step_and_terms(make) -> None:
    run = make()
    batch = next(iter(run.data.train.epoch(0)))
    run.progress.step = 7
    run.count(torch.tensor([0.5, float("nan"), float("inf")]), batch)
    with pytest.raises(NonFiniteLoss) as caught:
        run.losses()
    assert str(caught.value) == (
        "loss is not finite at step 7 (box 0.5, obj nan, cls inf); no checkpoint was written yet; "
        "try a lower --lr0, --clip-grad 10 or --dtype fp32"
    )


def test_state_comes_back(make) -> None:
    run = make("--optim adamw")
    for _ in epoch_of(run):
        run.step()
    other = make("--optim adamw --seed 5")
    other.restore(copy.deepcopy(run.state()))
    assert not [line for line in differences(run.state(), other.state()) if not line.startswith(".options")]


def test_what_the_disk_refuses_is_remembered_until_it_takes_it(make, capsys) -> None:
    run = make()
    path = run.folder / "file"

    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run.saver.attempt(path, refuse)
    run.saver.attempt(run.folder / "other", lambda: None)
    assert run.saver.errors == {path: f"{path}: could not be saved (No space left on device)"}
    run.saver.attempt(path, lambda: None)
    assert not run.saver.errors


def refuse_at_first(patch: pytest.MonkeyPatch, times: dict[str, int]) -> list[str]:
    """A disk that refuses files of these names so many times. Returns the names in the order of the attempts."""
    save, seen = checkpoint.save, []

    def refusing(path: Path, state: dict, **options) -> None:
        seen.append(path.name)
        if seen.count(path.name) <= times.get(path.name, 0):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, state, **options)

    patch.setattr(checkpoint, "save", refusing)
    return seen


def test_a_best_epoch_that_the_disk_refused_once_is_there_in_the_end(make, monkeypatch, capsys) -> None:
    """Of one class something is found; no epoch after the first is better. The same run without a refusal agrees."""
    flags = "--single-cls --save-period 2 --warmup-epochs 0.5"
    plain = make(flags, epochs=3)
    train.fit(plain, StopRequest())
    plain.saver.writer.wait()
    seen = refuse_at_first(monkeypatch, {"best.pt": 1, "epoch2.pt": 1})
    run = make(flags, epochs=3)
    train.fit(run, StopRequest())
    run.saver.writer.wait()
    assert "best.pt" in seen
    assert seen.count("epoch2.pt") == 2
    assert not run.saver.errors
    assert not run.saver.pending_writes.copies
    for name in ("best.pt", "epoch2.pt"):
        one, two = (checkpoint.load(r.folder / "weights" / name) for r in (plain, run))
        assert not differences(one, two), name


def test_settings_that_the_disk_refused_are_written_at_the_next_save(make) -> None:
    plain, run = make(), make()
    Report(plain).start()
    in_the_way = run.folder / "opt.yaml"
    in_the_way.mkdir()
    Report(run).start()
    for _ in range(2):
        run.save()
        run.saver.writer.wait()
        assert set(run.saver.errors) == {in_the_way}
    in_the_way.rmdir()
    run.save()
    run.saver.writer.wait()
    assert not run.saver.errors
    assert in_the_way.read_text() == (plain.folder / "opt.yaml").read_text()
    written = in_the_way.stat().st_mtime_ns
    run.save()
    run.saver.writer.wait()
    assert in_the_way.stat().st_mtime_ns == written


def test_the_best_weights_are_known_while_the_disk_refuses(make, monkeypatch) -> None:
    run = make()
    assert best_weights(run) is None
    run.progress.best_epoch = run.progress.epoch = 1
    run.write({run.best: run.weights()})
    old = {name: value.clone() for name, value in best_weights(run)["ema"].items()}
    seen = refuse_at_first(monkeypatch, {"best.pt": 2})
    with torch.no_grad():
        next(run.ema.model.parameters()).add_(1)
    new = dict(copy.deepcopy(run.ema.model.state_dict()))
    run.write({run.best: run.weights()})
    with torch.no_grad():
        next(run.ema.model.parameters()).add_(1)
    for saves in range(3):
        assert not differences(new, dict(best_weights(run)["ema"])), saves
        run.save()
    assert differences(old, dict(best_weights(run)["ema"]))
    assert seen == ["best.pt", "best.pt", "last.pt", "best.pt", "last.pt", "last.pt"]
    assert not differences(new, dict(checkpoint.load(run.best)["ema"]))


def test_a_disk_that_stays_full_does_not_fill_the_memory(make, monkeypatch) -> None:
    run = make()
    names = [f"epoch{k}.pt" for k in range(1, MOST + 3)]
    refuse_at_first(monkeypatch, dict.fromkeys((*names, "best.pt"), 1000))
    for path in (run.best, *(run.last.with_name(name) for name in names)):
        run.write({path: run.weights()})
    run.saver.writer.wait()
    assert [path.name for path in run.saver.pending_writes.copies] == ["best.pt", *names[-MOST:]]
    assert len(run.saver.errors) == len(names) + 1  # what was given up is an error in the end too
