"""What a run leaves, what it says, and with which code it ends."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import schedulers
import train
from tests.trainer import Runs, assert_identical, at_step, interrupt, is_finite, rows, send, set_nan, wait_for
from training import folder
from utils import checkpoint

COLUMNS = (
    "epoch,train/box_loss,train/obj_loss,train/cls_loss,metrics/precision,metrics/recall,metrics/mAP_0.5,"
    "metrics/mAP_0.5:0.95,val/box_loss,val/obj_loss,val/cls_loss,x/lr0,x/lr1,x/lr2"
)
PICTURES = {
    "results.png", "lr.png", "labels.png", "PR_curve.png", "F1_curve.png", "P_curve.png", "R_curve.png",
    "confusion_matrix.png", "train_batch0.jpg", "train_batch1.jpg", "train_batch2.jpg",
    "val_batch0_labels.jpg", "val_batch0_pred.jpg",
}  # fmt: skip
SETTINGS = {"opt.yaml", "hyp.yaml", "results.csv", "lr.csv", "train.log"}


@pytest.mark.slow
def test_what_a_run_leaves(runs: Runs, capsys) -> None:
    assert runs(cfg="yolov5n", noplots=None, epochs=2) == 0
    left = {path.name for path in runs.run().iterdir()}
    events = {name for name in left if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert left - events == PICTURES | SETTINGS | {"weights", ".lock"}
    assert {p.name for p in (runs.run() / "weights").iterdir()} == {"last.pt", "last.previous.pt", "best.pt"}
    table = (runs.run() / "results.csv").read_text().splitlines()
    assert table[0] == COLUMNS
    assert [row["epoch"] for row in rows(runs.run() / "results.csv")] == [0, 1]
    board = EventAccumulator(str(runs.run()), size_guidance={"images": 0})
    board.Reload()
    wanted = {*COLUMNS.split(",")[1:], *(f"x/momentum{i}" for i in range(3))}
    assert set(board.Tags()["scalars"]) == wanted
    assert [event.step for event in board.Scalars("train/box_loss")] == [0, 1]
    assert {"train_batch0", "results", "val_batch0_pred"} <= set(board.Tags()["images"])
    shown = capsys.readouterr()
    assert shown.err == ""  # no progress bars where nobody watches
    assert "epoch 1/2  box 0." in shown.out
    assert shown.out.splitlines()[-1] == "weights, tables and pictures are in runs/train/exp"
    assert (runs.run() / "train.log").read_text() in shown.out


def test_rates_are_the_policys_at_every_step(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With accumulation, warm-up of weights, biases and momentum, and a resume in the middle of it."""
    flags = "--lr-policy cosine --warmup-epochs 1 --optim adam --lr0 0.02 --lrf 0.1"
    with monkeypatch.context() as patch:
        at_step(patch, 1, send(signal.SIGTERM))
        assert runs(flags, epochs=5) == 143
    assert runs.resume() == 0
    policy = schedulers.build("cosine", total_steps=10, steps_per_epoch=2, lr0=0.02, lrf=0.1)
    table = rows(runs.run() / "lr.csv")
    assert [row["step"] for row in table] == list(range(10))
    for step, row in enumerate(table):
        warm = min(step / 2, 1)
        lr = 0.02 * policy.at(step).lr
        for i in range(3):  # adam warms biases up from 0 as well
            assert row[f"x/lr{i}"] == pytest.approx(warm * lr, rel=1e-12)
            assert row[f"x/momentum{i}"] == pytest.approx(0.8 + warm * (0.937 - 0.8), rel=1e-12)
    assert [row["x/lr1"] for row in rows(runs.run() / "results.csv")] == [
        pytest.approx(table[step]["x/lr1"], rel=1e-5) for step in (1, 3, 5, 7, 9)
    ]


def test_saved_settings_make_the_same_run(runs: Runs) -> None:
    assert runs("--lr0 0.02 --mosaic 0.5 --optim sgdw", epochs=1) == 0
    saved = yaml.safe_load((runs.run() / "opt.yaml").read_text())
    assert (saved["cfg"], saved["optim"], saved["epochs"]) == (str(runs.narrow), "sgdw", 1)
    hyp = yaml.safe_load((runs.run() / "hyp.yaml").read_text())
    assert (hyp["lr0"], hyp["mosaic"], hyp["weight_decay"]) == (0.02, 0.5, 0.0005)
    assert runs("--optim sgdw", epochs=1, hyp=runs.run() / "hyp.yaml") == 0
    assert_identical(runs.run(), runs.run("exp2"), but=(".options.run.hyp", ".options.run.name"))


@pytest.mark.slow
def test_numbers_names_and_saves(runs: Runs) -> None:
    assert runs("--save-period 1 --name a", epochs=2) == 0
    assert runs("--nosave --name a", epochs=1) == 0
    weights = {name: {p.name for p in (runs.run(name) / "weights").iterdir()} for name in ("a", "a2")}
    saved = {"last.pt", "last.previous.pt"}
    assert weights == {"a": saved | {"best.pt", "epoch1.pt", "epoch2.pt"}, "a2": saved}
    assert runs("--nosave --name a --exist-ok --seed 1", epochs=1) == 0  # the earlier weights are not this run's
    assert {p.name for p in (runs.run("a") / "weights").iterdir()} == saved
    assert len(rows(runs.run("a") / "results.csv")) == 1
    assert len(rows(runs.run("a") / "lr.csv")) == 2


def test_a_second_process_is_refused(runs: Runs, capsys) -> None:
    assert runs(epochs=1) == 0
    before = {path: path.stat().st_mtime_ns for path in runs.run().rglob("*.pt")}
    with folder.lock(runs.run()):
        assert runs("--exist-ok", epochs=1) == 2
        assert "runs/train/exp: another process is training here" in capsys.readouterr().out
        assert runs.resume(runs.run(), "--epochs 2") == 2
    assert before == {path: path.stat().st_mtime_ns for path in runs.run().rglob("*.pt")}


@pytest.mark.parametrize("step", [3, 4])
def test_a_loss_that_is_not_finite_stops_the_run(runs: Runs, monkeypatch, capsys, step: int) -> None:
    """In the middle of an epoch, or in its last step: the last checkpoint is a good one either way."""
    at_step(monkeypatch, step, set_nan)
    assert runs() == 2
    line = capsys.readouterr().out.splitlines()[-1]
    what = "loss is not finite at step 3 (box nan, obj nan, cls nan)" if step == 3 else "weights are not finite"
    assert line.startswith(f"error: {what}")
    assert f"the last good checkpoint is {runs.run().relative_to(runs.folder)}/weights/last.pt; try a lower" in line
    for name in ("last.pt", "best.pt"):
        assert is_finite(runs.run() / "weights" / name)
    assert checkpoint.load(runs.run() / "weights" / "last.pt")["epoch"] == 1
    assert len(rows(runs.run() / "results.csv")) == 1
    monkeypatch.undo()
    monkeypatch.chdir(runs.folder)
    assert runs.resume(runs.run()) == 0


def test_a_rate_far_too_high(runs: Runs, capsys) -> None:
    assert runs("--lr0 1e9 --warmup-epochs 0") == 2
    line = capsys.readouterr().out.splitlines()[-1]
    assert "not finite" in line
    assert "step" in line
    for path in (runs.run() / "weights").iterdir():
        assert is_finite(path)


def test_a_save_that_fails_does_not_end_the_training(runs: Runs, monkeypatch, capsys) -> None:
    def occupy(_) -> None:
        (runs.run() / "weights" / "last.pt").mkdir()

    with monkeypatch.context() as patch:
        at_step(patch, 1, occupy)
        assert runs(epochs=2) == 1
    out = capsys.readouterr().out
    line = "runs/train/exp/weights/last.pt: could not be saved (Is a directory)"
    assert out.count(f"warning: {line}; training continues and tries again at the next save") == 3
    assert out.splitlines()[-1] == f"error: {line}"
    assert len(rows(runs.run() / "results.csv")) == 2
    assert checkpoint.load(runs.run() / "weights" / "best.pt")["kind"] == "weights"


def test_a_save_that_fails_once_is_tried_again(runs: Runs, monkeypatch) -> None:
    last = runs.run() / "weights" / "last.pt"
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda _: last.mkdir())
        at_step(patch, 3, lambda _: last.rmdir())
        assert runs(epochs=2) == 0
    assert checkpoint.load(last)["finished"]


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "quiet"), [(60_000, True), (3_000, None)], ids=["checkpoints", "pictures"])
def test_a_full_disk(runs: Runs, limit: int, quiet: bool | None) -> None:
    """No file may grow past a limit: no checkpoint can be written, nor pictures where they are asked for."""

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = runs.child(runs.flags(epochs=2, noplots=quiet), preexec_fn=full)
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 1, text
    assert "Traceback" not in text
    assert text.count("could not be saved (File too large); training continues") >= 3
    assert not [path for path in runs.run().rglob("*") if path.suffix in (".pt", ".tmp")]
    assert len(rows(runs.run() / "results.csv")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_in_a_process_of_its_own(runs: Runs, number: int) -> None:
    process = runs.child(runs.flags(epochs=500))
    wait_for(process, lambda: len(list(runs.run().glob("weights/last.pt"))) == 1)
    code, text = interrupt(process, number)
    assert code == 128 + number
    assert "Traceback" not in text
    assert text.splitlines()[-1].endswith("continue with: python train.py --resume runs/train/exp/weights/last.pt")
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    assert len(rows(runs.run() / "lr.csv")) == state["step"]
    assert runs.resume(runs.run(), f"--epochs {state['epoch'] + 1}") == 0


def test_plugins_work_end_to_end_and_are_remembered(runs: Runs, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "my_rules.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    flags = "--plugin my_rules --lr-policy halving --lr-arg every=2 --optim signs"
    with monkeypatch.context() as patch:
        at_step(patch, 3, send(signal.SIGTERM))
        assert runs(flags) == 143
    assert checkpoint.load(runs.run() / "weights" / "last.pt")["plugins"] == ["my_rules"]
    assert runs.resume(runs.run()) == 0
    assert [row["x/lr1"] for row in rows(runs.run() / "lr.csv")] == [0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625]


PLUGIN = '''"""A policy and an update rule from outside the tree."""

from dataclasses import dataclass

import torch

import optimizers
import schedulers


@schedulers.register("halving", source="a test")
@dataclass(frozen=True, kw_only=True)
class Halving(schedulers.Policy):
    """Halves the rate again and again."""

    every: int = schedulers.option(10, "steps between two halvings", low=1)
    ramps = True

    def at(self, step: int) -> schedulers.Point:
        return schedulers.Point(0.5 ** (step // self.every))


@optimizers.register("signs", lr=0.25, weight_decay=0.0, momentum=0.0)
class Signs(torch.optim.Optimizer):
    """Steps of one size."""

    def __init__(self, groups, lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.sign(), alpha=1e-6 * group["lr"])
'''


def test_main_is_the_command(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        train.main(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in (*schedulers.names(), "adamw", "--save-steps", "--lr-policy", "--hsv-h"):
        assert name in text
