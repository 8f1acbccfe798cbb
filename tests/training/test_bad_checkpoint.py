"""A last.pt that somebody edited: one line says that it does not hold a whole run, whatever it lacks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer import Runs
from utils import checkpoint


@pytest.fixture(scope="module")
def saved(module_runs: Runs) -> dict[str, Any]:
    """The state of a run of one epoch that is to go on."""
    assert module_runs(epochs=1) == 0
    state = checkpoint.load(module_runs.run() / "weights" / "last.pt")
    assert (state["epoch"], state["step"]) == (1, 2)
    state["options"]["run"]["epochs"] = 2
    return state | {"finished": False}


def put(*keys: Any, to: Any) -> Callable[[dict], None]:
    """What replaces one entry, found by its keys."""

    def edit(state: dict) -> None:
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = to

    return edit


def without(*keys: Any) -> Callable[[dict], None]:
    """What removes one entry."""

    def edit(state: dict) -> None:
        for key in keys[:-1]:
            state = state[key]
        del state[keys[-1]]

    return edit


EDITS = {
    "batch": put("batch", to=999),
    "batch under 0": put("batch", to=-5),
    "at_once under 0": put("at_once", to=-1),
    "step of another epoch": put("step", to=50),
    "step under 0": put("step", to=-1),
    "epoch as text": put("epoch", to="1"),
    "epoch that is true": put("epoch", to=True),
    "fitness as text": put("best_fitness", to="0"),
    "best epoch to come": put("best_epoch", to=7),
    "cycles under 0": put("cycles", to=-1),
    "batch size 0": put("options", "run", "batch_size", to=0),
    "batch size under 0": put("options", "run", "batch_size", to=-4),
    "nbs 0": put("options", "run", "nbs", to=0),
    "size": put("options", "run", "imgsz", to=10**7),
    "rate as text": put("options", "hyp", "lr0", to="fast"),
    "rate 0": put("options", "hyp", "lr0", to=0.0),
    "dtype": put("environment", "dtype", to="int8"),
    "no dtype of torch": put("environment", "dtype", to="fp3"),
    "threads": put("environment", "threads", to=0),
    "steps an epoch": put("schedule", "steps_per_epoch", to=0),
    "a group less": without("optimizer", "param_groups", 0),
    "a parameter less": without("optimizer", "param_groups", 0, "params", 0),
    "no initial_lr": without("optimizer", "param_groups", 1, "initial_lr"),
    "initial_lr as text": put("optimizer", "param_groups", 1, "initial_lr", to="fast"),
    "no options": without("options"),
    "no cache": without("options", "run", "cache"),
    "weights": without("model", "model.0.conv.weight"),
    "plugins": put("plugins", to=3),
    "environment": without("environment", "device"),
}


def with_state(runs: Runs, state: dict[str, Any]) -> Path:
    folder = runs.folder / "runs" / "train" / "edited"
    (folder / "weights").mkdir(parents=True)
    checkpoint.save(folder / "weights" / "last.pt", state)
    return folder


def test_unedited_it_goes_on(saved: dict, runs: Runs) -> None:
    assert runs.resume(with_state(runs, saved)) == 0


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edited_one_is_refused_in_a_line(saved: dict, runs: Runs, edit: Callable, capsys) -> None:
    state = copy.deepcopy(saved)
    edit(state)
    folder = with_state(runs, state)
    capsys.readouterr()
    assert runs.resume(folder) == 2
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"error: {folder}/weights/last.pt: does not hold a whole run (")
    assert line.endswith("); use another checkpoint")
