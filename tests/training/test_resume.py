"""A run that was interrupted and resumed ends as the one that was not: to the bit."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

import train
from benchmarks.compare import differences
from data.loader import ValLoader
from tests.trainer import Killed, Runs, assert_identical, at_step, kill, rows, send
from training.changes import MAY_CHANGE
from training.session import Session
from utils import checkpoint

FLAGS = "--warmup-epochs 0.5 --single-cls"  # of one class something is found, so that there is a best epoch
STEPS = 2  # steps of an epoch: 11 pictures in batches of 2 are 6, accumulated by 4 to a full group and a tail


@pytest.fixture(scope="module")
def whole(module_runs: Runs) -> Path:
    """A run of 3 epochs, 6 steps, that nothing interrupted: linear, with warm-up, accumulation and a tail."""
    assert module_runs(FLAGS) == 0
    assert checkpoint.load(module_runs.run() / "weights" / "last.pt")["best_fitness"] > 0
    return module_runs.run()


def test_the_compare_helper_sees_one_bit() -> None:
    one = {"a": [torch.zeros(3), 1], "date": "now"}
    two = {"a": [torch.zeros(3), 1], "date": "then"}
    assert differences(one, two) == []
    two["a"][0][1] = 1e-45
    assert differences(one, two) == [".a[0]"]
    assert differences({"a": 1}, {"a": 1.0}) == [".a: 1 against 1.0"]
    assert differences({"a": 1}, {"b": 1}) == [": keys ['a', 'b']"]


def test_killed_after_the_last_step(runs: Runs) -> None:
    """Only the last validation is left: not even a rate may be written anew."""
    assert runs("--lr-policy sgdr", epochs=2) == 0  # its rate at the step after the last would be another
    whole = shutil.copytree(runs.run(), runs.folder / "whole")
    last = runs.run() / "weights" / "last.pt"
    checkpoint.save(last, checkpoint.load(last) | {"finished": False})
    assert runs.resume() == 0
    assert_identical(whole, runs.run())


@pytest.mark.slow
def test_twice_the_same_run(whole: Path, runs: Runs) -> None:
    assert runs(FLAGS) == 0
    assert_identical(whole, runs.run())


SLOW = pytest.mark.slow


@pytest.mark.parametrize("step", [STEPS, 2 * STEPS + 1, *(pytest.param(s, marks=SLOW) for s in (1, 3 * STEPS))])
def test_stopped_by_a_signal(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, step: int, capsys) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, step, send(signal.SIGTERM))
        assert runs(FLAGS) == 143
    last = runs.run() / "weights" / "last.pt"
    assert f"stopped by SIGTERM; continue with: python train.py --resume {last.relative_to(runs.folder)}" in (
        capsys.readouterr().out
    )
    assert checkpoint.load(last)["step"] == step
    assert runs.resume() == 0
    assert_identical(whole, runs.run())


@pytest.mark.slow
def test_interrupted_at_every_step(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the keyboard, resumed, and again; with other numbers of workers."""
    with monkeypatch.context() as patch:
        at_step(patch, 1, send(signal.SIGINT))
        assert runs(FLAGS) == 130
    for step in range(2, 3 * STEPS):
        with monkeypatch.context() as patch:
            at_step(patch, step, send(signal.SIGINT))
            assert runs.resume(runs.run(), f"--workers {step % 3}") == 130
    assert runs.resume(runs.run(), "--workers 0") == 0
    assert_identical(whole, runs.run())


def test_killed_without_warning(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done since the last save is done again: since the epoch's end, or since what --save-steps saved."""
    with monkeypatch.context() as patch:
        at_step(patch, 3 * STEPS, kill)
        with pytest.raises(Killed):
            runs(FLAGS)
    assert checkpoint.load(runs.run() / "weights" / "last.pt")["epoch"] == 2
    assert len(rows(runs.run() / "lr.csv")) == 2 * STEPS + 1  # one to be done again
    assert runs.resume(runs.run()) == 0
    assert_identical(whole, runs.run())


def test_save_and_go_on(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 1, send(signal.SIGUSR1))
        at_step(patch, STEPS + 2, kill)
        with pytest.raises(Killed):
            runs(FLAGS)
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    assert (state["epoch"], state["step"], state["batch"]) == (1, STEPS + 1, 4)
    assert runs.resume(runs.run()) == 0
    assert_identical(whole, runs.run())


def test_stopped_in_a_validation(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is begun again by the resume, without a step more."""
    with monkeypatch.context() as patch:
        begun = ValLoader.__iter__

        def begin(self: ValLoader):
            os.kill(os.getpid(), signal.SIGTERM)
            return begun(self)

        patch.setattr(ValLoader, "__iter__", begin)
        assert runs(FLAGS) == 143
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    assert (state["epoch"], state["step"], state["batch"]) == (0, STEPS, 6)
    assert runs.resume(runs.run()) == 0
    assert_identical(whole, runs.run())


def test_in_another_folder_with_the_data_elsewhere(
    whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 1, send(signal.SIGTERM))
        assert runs(FLAGS) == 143
    moved = tmp_path / "other" / "name"
    shutil.copytree(runs.run(), moved)
    shutil.copytree(runs.faces.parent / "faces", tmp_path / "pictures")
    yaml = tmp_path / "elsewhere.yaml"
    yaml.write_text(runs.faces.read_text().replace(str(runs.faces.parent / "faces"), str(tmp_path / "pictures")))
    assert runs.resume(moved, f"--data {yaml}") == 0
    assert_identical(whole, moved, but=(".data", ".options.run.data"))


def test_other_data_is_refused(runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    shutil.copytree(runs.faces.parent / "faces", tmp_path / "pictures")
    yaml = tmp_path / "elsewhere.yaml"
    yaml.write_text(runs.faces.read_text().replace(str(runs.faces.parent / "faces"), str(tmp_path / "pictures")))
    with monkeypatch.context() as patch:
        at_step(patch, 1, send(signal.SIGTERM))
        assert runs(data=yaml) == 143
    label = next((tmp_path / "pictures" / "labels" / "train").iterdir())
    label.write_text("0 0.5 0.5 0.25 0.25\n")
    before = checkpoint.load(runs.run() / "weights" / "last.pt")
    capsys.readouterr()
    assert runs.resume(runs.run()) == 2
    assert "error: runs/train/exp/weights/last.pt: the pictures or labels are not those" in (
        capsys.readouterr().out.replace(f"{tmp_path}/", "")
    )
    assert not differences(before, checkpoint.load(runs.run() / "weights" / "last.pt"))
    assert runs.resume(runs.run(), "--force") == 0


@pytest.mark.parametrize(("step", "kept"), [(STEPS, 3), (STEPS + 1, 3), (STEPS, 10)])
def test_fewer_pictures_end_too(runs: Runs, monkeypatch, tmp_path: Path, step: int, kept: int, capsys) -> None:
    """6 batches become 2 or 5: the place in the epoch is a place among those."""
    shutil.copytree(runs.faces.parent / "faces", tmp_path / "pictures")
    yaml = tmp_path / "elsewhere.yaml"
    yaml.write_text(runs.faces.read_text().replace(str(runs.faces.parent / "faces"), str(tmp_path / "pictures")))
    with monkeypatch.context() as patch:
        at_step(patch, step, send(signal.SIGTERM))
        assert runs(data=yaml) == 143
    for picture in sorted((tmp_path / "pictures" / "images" / "train").iterdir())[kept:]:
        picture.unlink()
    assert runs.resume(runs.run(), "--force") == 0
    assert "the data changed: the run continues, but is no longer identical" in capsys.readouterr().out
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    per_epoch = state["schedule"]["steps_per_epoch"]
    assert per_epoch == (1 if kept == 3 else 2)
    assert (state["epoch"], state["step"], state["finished"]) == (3, 3 * per_epoch, True)


def test_moved_data_are_the_same_to_the_bit(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Two sources, which sort the other way round where they lie afterwards, and a YAML elsewhere with whole paths."""
    source = runs.faces.parent / "faces"
    for name, part in (("a", "train"), ("b", "val")):
        for kind in ("images", "labels"):
            shutil.copytree(source / kind / part, tmp_path / name / kind)

    def yaml(path: str, *parts: str) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"train: [{parts[0]}, {parts[1]}]\nval: {parts[1]}\nnames: [bare, masked, wrong]\n")
        return file

    before = yaml("data.yaml", "a/images", "b/images")
    assert runs("--project whole", data=before) == 0
    with monkeypatch.context() as patch:
        at_step(patch, 3, send(signal.SIGTERM))
        assert runs("--project again", data=before) == 143
    (tmp_path / "a").rename(tmp_path / "z")
    before.unlink()
    capsys.readouterr()
    again = tmp_path / "again" / "exp"
    assert runs.resume(again) == 2
    assert "give --data with the set's YAML" in capsys.readouterr().out
    after = yaml("other/place/moved.yaml", f"{tmp_path / 'z' / 'images'}", f"{tmp_path / 'b' / 'images'}")
    assert runs.resume(again, f"--data {after}") == 0
    assert_identical(tmp_path / "whole" / "exp", again, but=(".options.run.project", ".options.run.data", ".data"))


def test_flags_that_cannot_change_are_refused_by_name(whole: Path, capsys, module_runs: Runs) -> None:
    for words, named in (
        ("--lr0 0.1", "--lr0"),
        ("--optim adam --lr-policy sgdr", "--lr-policy, --optim"),
        ("--seed 1 --epochs 4", "--seed"),
        ("--hyp high.yaml", "--hyp"),
    ):
        capsys.readouterr()
        assert module_runs.resume(whole, words) == 2
        assert f"{named} cannot change" in capsys.readouterr().out
    assert {"epochs", "device", "workers", "batch_size", "data", "force"} <= MAY_CHANGE


def train_until_saved(words: list[str], folder: Path) -> None:
    """train.py, ended by SIGKILL inside its second epoch once a checkpoint from inside that epoch is on the disk."""

    def act(session: Session) -> None:
        while checkpoint.load(session.folder / "weights" / "last.pt")["step"] <= STEPS:
            time.sleep(0.01)
        send(signal.SIGKILL)(session)

    os.chdir(folder)
    torch.set_num_threads(1)  # as in the run that it is compared with
    at_step(pytest.MonkeyPatch(), STEPS + 2, act)
    train.main(words)


@pytest.mark.slow
def test_a_killed_process_with_save_steps(runs: Runs, whole: Path) -> None:
    words = (runs.flags(FLAGS + " --save-steps 1"), runs.folder)
    process = multiprocessing.get_context("spawn").Process(target=train_until_saved, args=words)
    process.start()
    process.join(300)
    if process.is_alive():
        process.kill()
        pytest.fail("no checkpoint of the second epoch came to the disk")
    assert process.exitcode == -signal.SIGKILL
    assert checkpoint.load(runs.run() / "weights" / "last.pt")["step"] > STEPS
    assert runs.resume(runs.run()) == 0
    assert_identical(whole, runs.run(), but=(".options.run.save_steps",))
