"""Exact resume under every kind of setting, and what `--epochs` and `--batch-size` change."""

from __future__ import annotations

import math
import signal
from dataclasses import dataclass, field

import pytest

from schedulers import build
from tests.trainer import Killed, Runs, assert_identical, at_step, kill, rows, send
from utils import checkpoint
from utils.metrics import Metrics


@dataclass(frozen=True)
class Setting:
    """A run's flags, the step at which it is stopped, and what the resume says."""

    name: str
    flags: str
    step: int
    resume: str = ""
    changed: dict = field(default_factory=dict)


SETTINGS = [
    Setting("sgdr", "--lr-policy sgdr --lr-arg cycles=4 t_mult=1", 9, changed={"nbs": 2}),  # restarts at 5, 9, 14
    Setting("before a restart", "--lr-policy sgdr --lr-arg cycles=4 t_mult=1 --clip-grad 1", 4, changed={"nbs": 2}),
    Setting("adamw", "--optim adamw --multi-scale --lr-policy cosine", 3, "--workers 0", {"workers": 2}),
    Setting("sgdw", "--optim sgdw --wd-norm 0.01 --lr-policy onecycle --rect", 3, "--workers 2"),
    Setting("adam", "--optim adam --freeze 10 --mixup 0.5 --degrees 10", 3),
    Setting("closed", "--close-mosaic 1 --mixup 0.5", 5),  # in the middle of the last epoch, which is step 4 and 5
    Setting("bf16", "--save-steps 2 --single-cls", 5, changed={"dtype": "bf16", "nbs": 4}),
]
SLOW = {"adam", "adamw", "bf16", "before a restart", "sgdw"}


@pytest.mark.parametrize(
    "setting", [pytest.param(s, id=s.name, marks=[pytest.mark.slow] * (s.name in SLOW)) for s in SETTINGS]
)
@pytest.mark.parametrize("how", ["stopped", pytest.param("killed", marks=pytest.mark.slow)])
def test_resumed_run_is_the_same(setting: Setting, how: str, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs(f"{setting.flags} --project whole", **setting.changed) == 0
    with monkeypatch.context() as patch:
        if how == "stopped":
            at_step(patch, setting.step, send(signal.SIGTERM))
            assert runs(f"{setting.flags} --project again", **setting.changed) == 143
        else:
            at_step(patch, setting.step, send(signal.SIGUSR1))
            at_step(patch, setting.step + 1, kill)
            with pytest.raises(Killed):
                runs(f"{setting.flags} --project again", **setting.changed)
    assert runs.resume(runs.folder / "again" / "exp", setting.resume) == 0
    but = (".options.run.project", ".options.run.workers")
    assert_identical(runs.folder / "whole" / "exp", runs.folder / "again" / "exp", but)


def test_an_old_run_keeps_its_warm_up(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of earlier versions sgdr's could take more of the first cycle; the checkpoint says how much."""
    flags, changed = "--lr-policy sgdr --lr-arg cycles=2 --project", {"nbs": 2, "epochs": 2}
    with monkeypatch.context() as patch:
        patch.setattr("schedulers.warmup_steps", lambda *_: 3)
        assert runs(f"{flags} whole", **changed) == 0
        at_step(patch, 2, send(signal.SIGTERM))
        assert runs(f"{flags} again", **changed) == 143
    assert runs.resume(runs.folder / "again" / "exp") == 0
    assert_identical(runs.folder / "whole" / "exp", runs.folder / "again" / "exp", (".options.run.project",))
    assert checkpoint.load(runs.folder / "again" / "exp" / "weights" / "last.pt")["schedule"]["warmup_steps"] == 3


@pytest.mark.slow
def test_early_stopping(runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Patience counts across an interruption; a run that it ended is finished, and can be extended."""
    monkeypatch.setattr(Metrics, "fitness", property(lambda _: 0.25))  # at 0 a later epoch is the better
    assert runs("--patience 2 --project whole", epochs=9) == 0
    assert len(rows(runs.folder / "whole" / "exp" / "results.csv")) == 3
    with monkeypatch.context() as patch:
        at_step(patch, 4, send(signal.SIGTERM))
        assert runs("--patience 2 --project again", epochs=9) == 143
    again = runs.folder / "again" / "exp"
    assert runs.resume(again) == 0
    assert_identical(runs.folder / "whole" / "exp", again, but=(".options.run.project",))
    capsys.readouterr()
    assert runs.resume(again) == 2
    assert "is finished (3 epochs); to extend it, add --epochs N with N over 3" in capsys.readouterr().out
    assert runs.resume(again, "--epochs 4") == 0
    assert len(rows(again / "results.csv")) == 4


def test_no_patience_without_validation(runs: Runs) -> None:
    assert runs("--patience 1 --noval") == 2  # it would do nothing
    assert runs("--noval") == 0
    table = rows(runs.run() / "results.csv")
    assert [math.isnan(row["metrics/mAP_0.5"]) for row in table] == [True, True, False]


def test_extending_a_finished_run(runs: Runs, capsys) -> None:
    assert runs(epochs=2) == 0
    done = rows(runs.run() / "lr.csv")
    capsys.readouterr()
    assert runs.resume() == 2
    assert "the one run under runs/train is finished; give --resume PATH --epochs N" in capsys.readouterr().out
    for words in ("", "--epochs 2"):
        assert runs.resume(runs.run(), words) == 2
        assert "this run is finished (2 epochs); to extend it, add --epochs N with N over 2" in capsys.readouterr().out
    assert runs.resume(runs.run(), "--epochs 4") == 0
    assert "epochs 2 become 4: the rate here was 0.0001 and is" in capsys.readouterr().out
    assert [row["epoch"] for row in rows(runs.run() / "results.csv")] == [0, 1, 2, 3]
    rates = rows(runs.run() / "lr.csv")
    assert rates[:4] == done
    longer = build("linear", total_steps=8, steps_per_epoch=2, lr0=0.01, lrf=0.01)
    assert [row["x/lr1"] for row in rates[4:]] == [0.01 * longer.at(step).lr for step in range(4, 8)]
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    assert (state["finished"], state["epoch"], state["options"]["run"]["epochs"]) == (True, 4, 4)


@pytest.mark.slow
def test_shortening_a_run(runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 5, send(signal.SIGTERM))
        assert runs(epochs=9) == 143
    assert runs.resume(runs.run(), "--epochs 1") == 2
    assert "error: --epochs 1: the run has reached epoch 3; give 3 or more" in capsys.readouterr().out
    assert runs.resume(runs.run(), "--epochs 3") == 0
    shorter = build("linear", total_steps=6, steps_per_epoch=2, lr0=0.01, lrf=0.01)
    assert rows(runs.run() / "lr.csv")[-1]["x/lr1"] == 0.01 * shorter.at(5).lr


def test_another_batch_size_keeps_the_place_in_epochs(runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 9, send(signal.SIGTERM))  # half of epoch 2
        assert runs(nbs=2) == 143
    assert runs.resume(runs.run(), "--batch-size 4") == 0
    out = capsys.readouterr().out
    assert "warning: batch size 2 becomes 4: the run continues, but is no longer identical" in out
    assert "resuming runs/train/exp at epoch 2 of 3, step " in out.replace(f"{runs.folder}/", "")
    assert [row["epoch"] for row in rows(runs.run() / "results.csv")] == [0, 1, 2]
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    assert state["options"]["run"]["batch_size"] == 4
    assert state["step"] == state["schedule"]["total_steps"]


def test_more_steps_by_another_batch_size_are_no_lost_rows(runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Nor is the gap that they leave, at a later resume."""
    with monkeypatch.context() as patch:
        at_step(patch, 4, send(signal.SIGTERM))
        assert runs(nbs=1, batch_size=4) == 143
    with monkeypatch.context() as patch:
        at_step(patch, 10, send(signal.SIGTERM))
        assert runs.resume(runs.run(), "--batch-size 2") == 143
    assert runs.resume(runs.run()) == 0
    assert "rows from before the resume" not in capsys.readouterr().out
    assert [row["step"] for row in rows(runs.run() / "lr.csv")] == [0, 1, 2, 3, *range(8, 18)]


REPEATED = [  # how the run is started; what is given with --resume beside all of it, in other words or another order
    "",
    "--lr-policy cosine --lr0 0.02 --hyp high.yaml --freeze 3 --clip-grad 10 --seed 7",
    "--lr-policy sgdr --lr-arg cycles=2 t_mult=1 --optim adamw --single-cls --multi-scale --save-period 1",
]


@pytest.mark.parametrize("flags", REPEATED)
def test_the_runs_own_flags_repeated_are_no_change(flags: str, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs(f"{flags} --project whole", epochs=2, imgsz=60) == 0
    with monkeypatch.context() as patch:
        at_step(patch, 1, send(signal.SIGTERM))
        assert runs(f"{flags} --project again", epochs=2, imgsz=60) == 143
    again = runs.folder / "again" / "exp"
    assert runs(f"{flags} --project again --resume {again} --exist-ok --name exp", epochs=2, imgsz=60) == 0
    assert_identical(runs.folder / "whole" / "exp", again, but=(".options.run.project",))


def test_other_values_and_an_edited_file_are_refused(runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (runs.folder / "h.yaml").write_text("lr0: 0.02\nfliplr: 0.1\n")
    (runs.folder / "net.yaml").write_text(runs.narrow.read_text())
    words = {"cfg": "net.yaml", "hyp": "h.yaml", "epochs": 1}
    with monkeypatch.context() as patch:
        at_step(patch, 1, send(signal.SIGTERM))
        assert runs("--lr-policy cosine", **words) == 143
    last = runs.run() / "weights" / "last.pt"

    def refused(text: str, expected: str, **changed: object) -> None:
        capsys.readouterr()
        assert runs(f"--resume {last} {text}", **{**words, **changed}) == 2
        out = capsys.readouterr().out.strip().splitlines()[-1]
        assert expected in out

    refused("", "--imgsz cannot change (the run has imgsz 64; start", imgsz=96)
    refused(
        "--lr-policy sgdr --freeze 2", "--freeze, --lr-policy cannot change (the run has freeze none, lr_policy cosine"
    )
    refused("--lr0 find", "--lr0 cannot change (the run has lr0 0.02")
    refused("", "--cfg cannot change (the run has cfg net", cfg="yolov5n")
    (runs.folder / "h.yaml").write_text("lr0: 0.02\nfliplr: 0.2\n")
    refused("", "--fliplr cannot change (the run has fliplr 0.1")
    (runs.folder / "h.yaml").write_text("lr0: 0.02\nfliplr: 0.1\n")
    (runs.folder / "net.yaml").write_text(runs.narrow.read_text().replace("0.33", "0.66"))
    refused("", "--cfg cannot change")
    (runs.folder / "net.yaml").unlink()
    assert runs(f"--resume {last} --cos-lr", **words) == 0
