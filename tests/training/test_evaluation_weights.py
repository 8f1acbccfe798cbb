"""An optimizer that averages weights itself: what is validated and kept, and an exact resume."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

import optimizers
from tests.trainer import Killed, Runs, assert_identical, at_step, kill, send
from training import auto
from training.averages import norms_of
from training.build import build_optimizer
from training.options import Options, parse
from training.session import Session
from utils import checkpoint

FREE = "--optim schedulefree --single-cls"


@pytest.fixture(scope="module")
def whole(module_runs: Runs) -> Path:
    """A run of three epochs of two steps."""
    assert module_runs(FREE) == 0
    return module_runs.run()


def test_the_mean_is_validated_and_kept_with_statistics_of_its_own(
    whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """best.pt and last.pt hold x and the estimated statistics; training goes on at y with the ones it had."""
    last = checkpoint.load(whole / "weights" / "last.pt")
    seen: dict[str, dict] = {}

    def look(run: Session) -> None:
        names = {parameter: name for name, parameter in run.model.named_parameters()}
        seen["x"] = {names[p]: x.clone() for p, x in run.optimizer.evaluation_weights().items()}
        seen["y"] = {name: value.clone() for name, value in run.model.state_dict().items()}
        seen["norms"] = dict.fromkeys(norms_of(run.model))

    at_step(monkeypatch, 6, look)
    assert runs(FREE) == 0
    assert seen["x"].keys() == {name for name in last["ema"] if name in seen["x"]}
    for name, x in seen["x"].items():
        assert torch.equal(last["ema"][name], x)
        assert torch.equal(last["model"][name], seen["y"][name])
    assert any(not torch.equal(x, seen["y"][name]) for name, x in seen["x"].items())
    for norm in seen["norms"]:
        assert torch.equal(last["model"][f"{norm}.running_mean"], seen["y"][f"{norm}.running_mean"])
        assert not torch.equal(last["ema"][f"{norm}.running_mean"], last["model"][f"{norm}.running_mean"])
    best = checkpoint.load(whole / "weights" / "best.pt")
    if best["epoch"] == 3:
        assert all(torch.equal(value, last["ema"][name]) for name, value in best["ema"].items())
    assert last["options"]["run"]["ema"] == 0
    assert last["options"]["run"]["lr_policy"] == "constant"


@pytest.mark.parametrize("step", [3, 4])
def test_a_stopped_run_ends_identical(step: int, whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an epoch, and at the end of one, where the stop is heard while statistics are estimated."""
    with monkeypatch.context() as patch:
        at_step(patch, step, send(signal.SIGTERM))
        assert runs(FREE) == 143
    assert runs.resume() == 0
    assert_identical(whole, runs.run())


def test_a_run_killed_while_statistics_are_estimated_ends_identical(
    whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def third(*_, **__) -> int:
        done.append(1)
        return kill(None) if len(done) == 2 else estimate(*_, **__)

    from training.validate import estimate_statistics as estimate

    with monkeypatch.context() as patch:
        patch.setattr("training.validate.estimate_statistics", third)
        with pytest.raises(Killed):
            runs(FREE)
    assert runs.resume(runs.run()) == 0
    assert_identical(whole, runs.run())


def test_frozen_statistics_stay(runs: Runs) -> None:
    """Of a frozen first layer weights and statistics are those it began with, in what is kept too."""
    assert runs(f"{FREE} --freeze 1", epochs=1) == 0
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    frozen = [name for name in state["ema"] if name.startswith("model.0.") and "tracked" not in name]
    assert frozen
    assert all(torch.equal(state["ema"][name], state["model"][name]) for name in frozen)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--ema 0.99", "--ema would do nothing: --optim schedulefree averages the weights itself"),
        ("--ema-tau 20", "--ema-tau would do nothing: --optim schedulefree averages the weights itself"),
        ("--average swa", "--average would do nothing: --optim schedulefree averages the weights itself"),
        ("--lr-policy sgdr", "--optim schedulefree averages over the whole run: --lr-policy sgdr has cycles"),
        ("--lrf 0.1", "policy 'constant' has no such option"),
    ],
)
def test_what_does_not_go_with_it_is_refused(flags: str, told: str, runs: Runs, capsys) -> None:
    assert runs(f"{FREE} {flags}") == 2
    assert told in capsys.readouterr().out


def asked(text: str) -> Options:
    return parse(text.split(), "train.py", "")[0]


def test_its_policy_is_constant_unless_another_is_named() -> None:
    assert asked("--optim schedulefree").run.lr_policy == "constant"
    assert asked("--optim schedulefree --lr-policy cosine").run.lr_policy == "cosine"
    assert asked("--optim schedulefree --cos-lr").run.lr_policy == "cosine"
    assert (asked("").run.lr_policy, asked("").run.ema) == ("linear", 0.9999)
    facts = auto.Facts(pictures=100, boxes=300, classes=2, size=640, epochs=10)
    assert auto.settings(facts, optimizer="schedulefree")["lr_policy"] == "constant"
    assert auto.settings(facts, optimizer="schedulefree", policy="wsd")["lr_policy"] == "wsd"


@pytest.mark.parametrize("name", optimizers.names())
def test_who_says_that_it_averages_does(name: str) -> None:
    built = build_optimizer(asked(f"--optim {name} --hyp yolov5"), torch.nn.Linear(2, 2), accumulate=1)
    assert hasattr(built, "evaluation_weights") == bool(optimizers.facts(name).get("averages"))
