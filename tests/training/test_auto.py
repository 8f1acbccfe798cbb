"""The formulas of `--hyp auto`: finite and in order from one picture to a million, YOLOv5's own on COCO."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optimizers
import schedulers
from training import auto, build, options
from training.auto import Facts
from training.hyp import Hyp
from training.run_options import RunOptions

FACTS = st.builds(
    Facts,
    pictures=st.integers(1, 1_000_000),
    boxes=st.integers(0, 10_000_000),
    classes=st.integers(1, 1000),
    size=st.sampled_from([32, 320, 640, 1280]),
    epochs=st.integers(1, 1000),
    batch=st.integers(1, 512),
    pretrained=st.booleans(),
)
COCO = Facts(pictures=118_287, boxes=860_001, classes=80, size=640, epochs=300, batch=64)
MASK = Facts(pictures=580, boxes=2739, classes=3, size=320, epochs=40)
POLICIES = ("linear", "cosine", "onecycle", "sgdr", "clr")


@settings(max_examples=150, deadline=None)
@given(FACTS, st.sampled_from(["", *optimizers.names()]), st.sampled_from(["", *schedulers.names()]))
def test_every_number_is_finite_and_makes_a_schedule(facts: Facts, optimizer: str, policy: str) -> None:
    decided = auto.settings(facts, optimizer, policy)
    numbers = [value for value in decided.values() if isinstance(value, float | int)]
    assert all(math.isfinite(value) and value > 0 for value in numbers)
    assert 16 <= decided["nbs"] <= 64
    assert decided.get("warmup_epochs", 0) <= 3
    own = optimizers.facts(decided["optim"])["lr"]
    share = auto.PRETRAINED if facts.pretrained else 1
    assert own * share * 0.99 <= decided["lr0"] <= own * share * auto.MOST_RATE * auto.CURVED * 1.01
    total = auto.steps(facts, decided["nbs"])
    made = schedulers.build(
        decided["lr_policy"],
        total_steps=total,
        steps_per_epoch=total // facts.epochs,
        lr0=decided["lr0"],
        **schedulers.parse_args(decided["lr_policy"], decided["lr_arg"]),
    )
    assert all(0 <= made.at(step).lr <= 1 + 1e-9 for step in (0, total // 2, total - 1))


@settings(max_examples=150, deadline=None)
@given(FACTS, st.integers(1, 1_000_000))
def test_more_pictures_never_raise_the_rate_or_lower_the_batch(facts: Facts, more: int) -> None:
    few, many = facts.drawn, facts.drawn + more
    assert auto.nominal_batch(few) <= auto.nominal_batch(many)
    for curved in (False, True):
        assert auto.rate(0.01, few, curved) >= auto.rate(0.01, many, curved)
    if auto.choice(few) == auto.OF_LONG_RUN:
        assert auto.choice(many) == auto.OF_LONG_RUN


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 999), st.integers(1, 1000))
def test_more_classes_and_more_epochs(fewer: int, more: int) -> None:
    assert auto.class_gain(fewer) >= auto.class_gain(fewer + more)
    # what the loss makes of it grows with the classes all the same
    assert auto.class_gain(fewer) * fewer < auto.class_gain(fewer + more) * (fewer + more)
    assert auto.warmup_epochs(fewer) <= auto.warmup_epochs(fewer + more)
    assert auto.sgdr_cycles(fewer, 100 * fewer) <= auto.sgdr_cycles(fewer + more, 100 * (fewer + more))


def test_cocos_size_and_length_give_yolov5s_numbers() -> None:
    decided = auto.settings(COCO)
    assert (decided["optim"], decided["lr_policy"], decided["lr_arg"]) == ("sgd", "linear", [])
    theirs = {"nbs": 64, "lr0": 0.01, "cls": 0.5, "warmup_epochs": 3.0}
    assert {name: decided[name] for name in theirs} == pytest.approx(theirs, rel=0.2)


def test_a_small_set_gets_a_step_a_batch_and_classes_that_count() -> None:
    decided = auto.settings(MASK)
    assert (decided["nbs"], decided["optim"], decided["lr_policy"]) == (16, "adamw", "onecycle")
    assert decided["lr0"] == pytest.approx(0.001 * math.sqrt(160_000 / 23_200) * 1.5, rel=0.01)
    assert decided["cls"] == pytest.approx(0.5 * (80 / 3) ** 0.25, rel=0.01)


def test_weights_are_trained_on_at_a_lower_rate() -> None:
    scratch, tuned = (auto.settings(replace(MASK, epochs=15, pretrained=p)) for p in (False, True))
    assert tuned.pop("lr0") == pytest.approx(scratch.pop("lr0") / 4, rel=0.01)
    assert tuned == scratch


def test_a_curve_has_a_higher_peak_than_a_line_in_short_runs_alone() -> None:
    short, long = (
        {policy: auto.settings(facts, policy=policy)["lr0"] for policy in ("linear", "cosine", "sgdr", "onecycle")}
        for facts in (MASK, COCO)
    )
    assert short["cosine"] == short["sgdr"] == short["onecycle"] == pytest.approx(1.5 * short["linear"], rel=0.01)
    assert set(long.values()) == {0.01}


def test_no_sgdr_cycle_is_too_short_to_learn_in() -> None:
    assert [auto.sgdr_cycles(epochs, 37 * epochs) for epochs in (8, 59, 60, 139, 140, 300)] == [1, 1, 2, 2, 3, 3]
    assert auto.sgdr_cycles(300, 300) == 2  # a hundred steps are the least as well


@pytest.mark.parametrize(
    ("flags", "optimizer", "policy"),
    [
        ("", "adamw", "onecycle"),
        ("--optim sgd", "sgd", "onecycle"),
        ("--lr-policy sgdr", "adamw", "sgdr"),
        ("--lr0 0.01", "sgd", "linear"),
        ("--warmup-epochs 1", "adamw", "linear"),
        ("--momentum 0.9", "sgd", "onecycle"),
        ("--hyp yolov5", "sgd", "linear"),
        ("--hyp small.yaml", "sgd", "linear"),
    ],
)
def test_what_is_named_or_meant_stays(faces, flags: str, optimizer: str, policy: str) -> None:
    asked = options.parse(f"--data {faces} --imgsz 64 --batch-size 2 --workers 0 {flags}".split(), "train.py", "")[0]
    build.load_data(asked, build.torch.device("cpu"))
    assert (asked.run.optim, asked.run.lr_policy) == (optimizer, policy)
    assert asked.run.nbs == (64 if "hyp" in flags else 16)
    build.policy_options(asked)  # the policy's own options are options of the policy


def test_yolov5s_numbers_are_those_without_a_file(faces) -> None:
    asked, plain = (options.parse(f"--hyp={name}".split(), "train.py", "")[0] for name in ("yolov5", ""))
    assert asked.hyp == plain.hyp == options.Hyp()
    assert (asked.run.nbs, asked.run.optim, asked.run.lr_policy, asked.auto) == (64, "sgd", "linear", False)


def test_help_says_what_auto_decides() -> None:
    decided = set().union(*(auto.settings(MASK, policy=policy) for policy in POLICIES))
    every = [field for kind in (RunOptions, Hyp) for field in fields(kind)]
    assert {f.name for f in every if "by --hyp auto" in f.metadata["default_help"]} == decided


def test_flags_beat_auto_and_a_resume_keeps_what_the_run_had(runs) -> None:
    assert runs("--lr-policy sgdr --cls 1.25", hyp=None, nbs=None, epochs=1, batch_size=4) == 0
    text = (runs.run() / "hyp.yaml").read_text()
    assert {"cls: 1.25", "lr0: 0.0045"} <= set(text.splitlines())
    opt = (runs.run() / "opt.yaml").read_text()
    assert {"hyp: auto", "optim: adamw", "nbs: 16"} <= set(opt.splitlines())
    assert runs.resume(runs.run(), "--epochs 2 --hyp auto") == 0
    assert (runs.run() / "hyp.yaml").read_text() == text


def test_a_batch_that_is_found_is_settled_for(runs) -> None:
    assert runs("--lr-policy sgdr", hyp=None, nbs=None, epochs=1, batch_size="auto") == 0  # 16 on a CPU, 11 pictures
    opt = (runs.run() / "opt.yaml").read_text()
    assert {"batch_size: 11", "nbs: 16", "optim: adamw"} <= set(opt.splitlines())
