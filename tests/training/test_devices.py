"""A whole run, stopped and resumed, and its evaluation: on a CPU as on a GPU."""

from __future__ import annotations

import pytest
import torch

import val
from tests.trainer import Killed, Runs, at_step, is_finite, kill, rows
from training import options, start
from utils import checkpoint

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("text", ["--cache ram --optim adamw --batch-size auto", "--deterministic --cache device"])
def test_a_run_is_stopped_resumed_and_evaluated(runs: Runs, monkeypatch, device: str, text: str) -> None:
    common = {"device": device, "dtype": "auto", "workers": 2, "noplots": None, "nbs": 2, "epochs": 2}
    try:
        with monkeypatch.context() as patch:
            at_step(patch, 2, kill)
            with pytest.raises(Killed):
                runs(f"{text} --save-steps 1", **common)
        assert runs.resume() == 0
    finally:
        torch.use_deterministic_algorithms(False)
    weights = runs.run() / "weights"
    assert [row["epoch"] for row in rows(runs.run() / "results.csv")] == [0, 1]
    assert is_finite(weights / "last.pt")
    state = checkpoint.load(weights / "last.pt")
    assert torch.device(state["environment"]["device"]).type == device
    words = ["--weights", str(weights / "best.pt"), "--device", device, "--save-txt", "--half"]
    assert val.main(words) == 0


@pytest.mark.parametrize("device", DEVICES)
def test_validation_says_the_same_on_every_device(runs: Runs, device: str) -> None:
    """To what a GPU's own sums make of a score; the network is an untrained one, with thousands of candidates."""
    found = []
    for where in ("cpu", device):
        run = start.new(options.parse(runs.flags(device=where, cache="none"), "train.py", "")[0])
        with torch.no_grad():
            for head in run.ema.model.head.m:
                head.bias.zero_()
        found.append(val.evaluate(run.ema.model, run.data.val, criterion=run.criterion))
    here, there = found
    assert there.images == here.images == 4
    assert there.map50 == pytest.approx(here.map50, abs=0.02)
    torch.testing.assert_close(there.losses, here.losses, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_every_number_format_of_a_device_trains(runs: Runs, device: str) -> None:
    formats = ["fp32", "bf16", *(["fp16"] if device == "cuda" else [])]
    for name in formats:
        assert runs(device=device, dtype=name, name=name, epochs=1, nbs=2) == 0
        assert is_finite(runs.run(name) / "weights" / "last.pt")
