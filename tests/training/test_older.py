"""Runs begun by an earlier version go on: what its checkpoints lack has a default."""

from __future__ import annotations

import signal

import pytest

from tests.trainer import Runs, assert_identical, at_step, send
from utils import checkpoint

ADDED = (
    "close_mosaic",
    "ema",
    "ema_tau",
    "average",
    "average_from",
    "freeze_epochs",
    "lr_scale",
    "layer_decay",
    "history",
)
BUT = (".options",)


@pytest.mark.parametrize("flags", ["--lr-policy cosine", "--freeze 2"])
def test_a_checkpoint_without_the_later_options(flags: str, runs: Runs, monkeypatch, capsys) -> None:
    assert runs(f"{flags} --project whole", epochs=2) == 0
    with monkeypatch.context() as patch:
        at_step(patch, 3, send(signal.SIGTERM))
        assert runs(f"{flags} --project again", epochs=2) == 143
    again = runs.folder / "again" / "exp"
    state = checkpoint.load(again / "weights" / "last.pt")
    for name in ADDED:
        del state["options"]["run"][name]
    state["options"]["run"]["freeze"] = [int(word) for word in state["options"]["run"]["freeze"]]  # as they were
    checkpoint.save(again / "weights" / "last.pt", state)
    assert runs.resume(again) == 0
    assert_identical(runs.folder / "whole" / "exp", again, BUT)
    assert ("frozen layers keep BatchNorm's statistics from here on" in capsys.readouterr().out) == ("freeze" in flags)
