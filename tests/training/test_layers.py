"""Frozen and thawed parts, and parts with rates of their own: who is touched, when, and never else."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import optimizers
import schedulers
from models.parts import matching
from tests.trainer import Killed, Runs, assert_identical, at_step, kill, rows, send
from training import layers, options
from training.options import Options
from training.session import Session
from utils import checkpoint

NETWORK = models.build("yolov5n", 1)
WORDS = ["backbone", "neck", "head", "0", "9", "*.bias", "*.bn.*", "model.2"]
SCALED = "--lr-scale backbone=0.1 --lr-scale *.bias=2 --single-cls"
THAWED = "--freeze backbone --freeze-epochs 1 --optim adamw --lr-scale model.2=0.5 --single-cls --project"
BUT = (".options.run.project",)


def asked(text: str) -> Options:
    return options.parse(["--hyp", "yolov5", *text.split()], "train.py", "")[0]


def groups(text: str) -> list[dict]:
    """The groups that a command line makes of the network."""
    return layers.groups(optimizers.parameter_groups(NETWORK, 5e-4), NETWORK, asked(text))


@settings(max_examples=25, deadline=None)
@given(
    scales=st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from([0.1, 0.5, 1.0, 2.0])), max_size=3),
    frozen=st.lists(st.sampled_from([word for word in WORDS if not word.isdigit()]), max_size=2),
    decay=st.sampled_from([1.0, 0.9]),
)
def test_every_parameter_is_in_one_group_with_what_it_was_given(scales, frozen, decay) -> None:
    text = "".join(f" --lr-scale {word}={factor}" for word, factor in scales) + f" --layer-decay {decay}"
    found = groups(text + (f" --freeze {' '.join(frozen)} --freeze-epochs 4" if frozen else ""))
    assert [group["name"] for group in found[:3]] == ["norm", "weight", "bias"]
    assert not any({"role", "lr_scale", "begins"} & group.keys() for group in found[:3])
    assert all(group["params"] for group in found[3:])
    assert len({group["name"] for group in found}) == len(found)
    where = {id(p): group for group in found for p in group["params"]}
    assert len(where) == sum(len(group["params"]) for group in found) == len(list(NETWORK.parameters()))
    roles = {id(p): group["name"] for group in optimizers.parameter_groups(NETWORK, 5e-4) for p in group["params"]}
    thawed = {name for word in frozen for name in matching(NETWORK, word, "")}
    for name, p in NETWORK.named_parameters():
        group = where[id(p)]
        assert group.get("role", group["name"]) == roles[id(p)]
        assert group["weight_decay"] == (5e-4 if roles[id(p)] == "weight" else 0)
        own = next((factor for word, factor in reversed(scales) if name in matching(NETWORK, word, "")), 1.0)
        assert group.get("lr_scale", 1.0) == pytest.approx(own * decay ** (24 - int(name.split(".")[1])))
        assert group.get("begins") == (4 if name in thawed else None)


def test_by_default_there_are_three_groups_as_ever() -> None:
    base = optimizers.parameter_groups(NETWORK, 5e-4)
    assert layers.groups(base, NETWORK, asked("")) is base
    assert layers.groups(base, NETWORK, asked("--freeze backbone")) is base


def test_rates_by_hand() -> None:
    """30 epochs of 10 steps at a constant rate, 2 epochs of warm-up, the backbone thawed after 4."""
    found = groups("--lr-scale head=0.5 --freeze backbone --freeze-epochs 4 --warmup-epochs 2 --lr-scale 9=0.1")
    optimizer = optimizers.build("sgd", found, lr=0.1, momentum=0.9, weight_decay=0)
    policy = schedulers.build("constant", total_steps=300, steps_per_epoch=10, lr0=0.1)
    schedule = schedulers.Schedule(policy, optimizer, 20, warmup_bias_lr=0.2)
    lr = {step: {g["name"]: v for g, (v, _) in zip(found, schedule.values(step), strict=True)} for step in range(300)}
    for step in (0, 5, 10, 19, 20, 39, 40, 45, 59, 60, 61, 299):
        early, late = min(step / 20, 1), min(max((step - 40) / 20, 0), 1)
        assert lr[step] == {
            "norm": pytest.approx(0.1 * early),
            "weight": pytest.approx(0.1 * early),
            "bias": pytest.approx(0.2 + (0.1 - 0.2) * early),
            "weight x0.5": pytest.approx(0.05 * early),
            "bias x0.5": pytest.approx(0.1 + (0.05 - 0.1) * early),
            **{f"{role} from epoch 5": pytest.approx(0.1 * late) for role in ("norm", "weight", "bias")},
            **{f"{role} x0.1 from epoch 5": pytest.approx(0.01 * late) for role in ("norm", "weight", "bias")},
        }
    schedule.apply(50)
    assert [group["lr"] for group in optimizer.param_groups] == [v for v, _ in schedule.values(50)]
    assert schedule.values(50)[0][1] == 0.9
    assert schedule.values(50)[3][1] == pytest.approx(0.8 + 0.1 * 0.5)  # its momentum warms up too


def test_a_warm_up_after_thawing_takes_a_fifth_of_what_is_left() -> None:
    found = groups("--freeze backbone --freeze-epochs 8 --warmup-epochs 3")
    for epochs, steps in ((10, 4), (9, 2), (8, 1), (4, 1)):
        policy = schedulers.build("onecycle", total_steps=10 * epochs, steps_per_epoch=10, lr0=0.1)
        schedule = schedulers.Schedule(
            policy, optimizers.build("sgd", found, lr=0.1)
        )  # it ramps; this warm-up is apart
        for step in range(10 * epochs):
            share = min(max(step - 80, 0) / steps, 1)
            assert schedule.values(step)[-1][0] == pytest.approx(schedule.values(step)[0][0] * share)


@pytest.mark.parametrize("name", optimizers.names())
def test_every_optimizer_passes_over_what_has_no_gradient_yet(name: str) -> None:
    """Also with a group that holds nothing."""
    layer = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.Conv2d(2, 2, 1))
    kinds = ({"name": "norm"}, {"name": "weight"}, {"name": "bias"}, {"name": "weight later", "role": "weight"})
    members = [], [layer[0].weight], [layer[0].bias], [layer[1].weight]
    made = [
        {**k, "params": p, "weight_decay": 0.1 if "weight" in k["name"] else 0.0}
        for k, p in zip(kinds, members, strict=True)
    ]
    optimizer = optimizers.build(name, made, lr=0.01)
    for step in range(4):
        layer[1].weight.requires_grad_(step >= 2)
        before = layer[1].weight.clone()
        layer(torch.ones(1, 2, 3, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(layer[1].weight, before) == (step < 2)
        assert (len(optimizer.state[layer[1].weight]) > 0) == (step >= 2)


def watch(patch: pytest.MonkeyPatch) -> dict[int, dict]:
    """The weights and buffers after each step."""
    seen: dict[int, dict] = {}
    done = Session.step

    def step(self: Session) -> None:
        seen.setdefault(self.progress.step, {k: v.clone() for k, v in self.model.state_dict().items()})
        done(self)
        seen[self.progress.step] = {k: v.clone() for k, v in self.model.state_dict().items()}

    patch.setattr(Session, "step", step)
    return seen


def moved(before: dict, after: dict) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_what_is_frozen_for_good_stays_to_the_bit(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its BatchNorm statistics too; all else moves."""
    seen = watch(monkeypatch)
    assert runs("--freeze backbone *.24.m.0.bias --warmup-epochs 0", epochs=1) == 0
    names = moved(seen[0], seen[2])
    assert not any(int(name.split(".")[1]) < 10 for name in names)
    assert "model.24.m.0.bias" not in names
    still = {name for name in seen[0] if name not in names and int(name.split(".")[1]) >= 10}
    assert still == {"model.24.m.0.bias", "model.24.anchors"}
    state = checkpoint.load(runs.run() / "weights" / "last.pt")
    assert len(state["optimizer"]["param_groups"]) == 3


@pytest.fixture(scope="module")
def thawed(module_runs: Runs) -> Path:
    """Three epochs of two steps, the backbone frozen in the first."""
    with pytest.MonkeyPatch.context() as patch:
        seen = watch(patch)
        at_step(patch, 2, lambda run: seen.__setitem__(-1, {"state": len(run.optimizer.state)}))
        assert module_runs(f"{THAWED} whole") == 0
    early, late = moved(seen[0], seen[2]), moved(seen[3], seen[6])  # a warm-up's first rate is 0
    assert early
    assert not any(int(name.split(".")[1]) < 10 for name in early)
    assert any(int(name.split(".")[1]) < 10 and "running" in name for name in moved(seen[2], seen[3]))
    assert {name for name in late if int(name.split(".")[1]) < 10}
    state = checkpoint.load(module_runs.folder / "whole" / "exp" / "weights" / "last.pt")["optimizer"]
    assert seen[-1]["state"] < len(state["state"])  # the optimizer's state of what is thawed begins there
    return module_runs.folder / "whole" / "exp"


def test_groups_have_their_columns(thawed: Path) -> None:
    table, log = rows(thawed / "results.csv"), rows(thawed / "lr.csv")
    groups = checkpoint.load(thawed / "weights" / "last.pt")["optimizer"]["param_groups"]
    names = [
        "norm",
        "weight",
        "bias",
        *(f"{role}{x} from epoch 2" for x in ("", " x0.5") for role in ("norm", "weight", "bias")),
    ]
    assert [group["name"] for group in groups] == names
    assert {f"x/lr{i}" for i in range(9)} == {name for name in table[0] if name.startswith("x/lr")}
    assert [row["x/lr3"] > 0 for row in log] == [False] * 3 + [True] * 3
    for step, row in enumerate(log):
        assert row["x/lr6"] == pytest.approx(0.5 * row["x/lr3"]), step
    assert [row["x/lr8"] for row in table] == [pytest.approx(log[2 * i + 1]["x/lr8"], rel=1e-4) for i in range(3)]


@pytest.mark.parametrize("step", [1, 2, 3, *(pytest.param(s, marks=pytest.mark.slow) for s in (4, 5))])
def test_resumed_frozen_at_the_thaw_and_after(step: int, thawed: Path, runs: Runs, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, step, send(signal.SIGTERM))
        assert runs(f"{THAWED} again") == 143
    again = runs.folder / "again" / "exp"
    assert runs.resume(again) == 0
    assert_identical(thawed, again, BUT)


def test_killed_after_the_thaw(thawed: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 4, kill)
        with pytest.raises(Killed):
            runs(f"{THAWED} again")
    again = runs.folder / "again" / "exp"
    assert runs.resume(again) == 0
    assert_identical(thawed, again, BUT)


def test_scaled_rates_in_a_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed in the middle too."""
    assert runs(f"{SCALED} --project whole", epochs=2) == 0
    with monkeypatch.context() as patch:
        at_step(patch, 3, send(signal.SIGTERM))
        assert runs(f"{SCALED} --project again", epochs=2) == 143
    assert runs.resume(runs.folder / "again" / "exp") == 0
    assert_identical(runs.folder / "whole" / "exp", runs.folder / "again" / "exp", BUT)
    for row in rows(runs.folder / "whole" / "exp" / "lr.csv"):
        assert row["x/lr3"] == pytest.approx(0.1 * row["x/lr0"])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--lr-scale backbone", "--lr-scale backbone: must be PATTERN=FACTOR"),
        ("--lr-scale backbone=0", "a factor above 0, such as backbone=0.1"),
        ("--lr-scale backbone=inf", "a factor above 0"),
        ("--lr-scale spine=0.1", "--lr-scale spine: no parameter of narrow is called that"),
        ("--freeze backbone --lr-scale 3=0.1", "--lr-scale 3=0.1: would do nothing, since all of that is frozen"),
        ("--freeze-epochs 3", "--freeze-epochs would do nothing: nothing is frozen"),
        ("--freeze backbone neck head", "nothing is left to train"),
        ("--freeze * --freeze-epochs 1", "nothing is left to train"),
        ("--layer-decay 1.5", "--layer-decay 1.5: "),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(flags: str, told: str, runs: Runs, capsys) -> None:
    assert runs(flags) == 2
    assert told in capsys.readouterr().out
