"""The mean of weights: its value, and the command that averages checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import checkpoint
from utils.average import WeightMean, average, main


@settings(deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_the_mean_is_that_of_float64(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    states = [{"w": torch.randn(3, 2, generator=generator), "n": torch.tensor(i)} for i in range(count)]
    mean = WeightMean()
    for state in states:
        mean.add(state)
    expected = torch.stack([state["w"].double() for state in states]).mean(0)
    assert mean.count == count
    torch.testing.assert_close(mean.mean["w"].double(), expected, atol=2e-6, rtol=0)
    assert mean.mean["n"] == count - 1


def test_what_is_averaged_is_a_copy() -> None:
    mean, state = WeightMean(), {"w": torch.ones(2)}
    mean.add(state)
    state["w"].zero_()
    assert mean.mean["w"].tolist() == [1, 1]


def write(path: Path, value: float, **changed) -> str:
    state = {"kind": "weights", "layout": {"name": "tiny"}, "classes": 1, "names": ["face"], "imgsz": 64, "epoch": 2}
    state |= {"ema": {"model.0.weight": torch.full((2, 2), value), "model.0.count": torch.tensor(3)}, "step": 7}
    checkpoint.save(path, state | changed)
    return str(path)


def test_the_command(tmp_path: Path, capsys) -> None:
    files = [write(tmp_path / f"{value}.pt", value) for value in (1.0, 2.0, 6.0)]
    out = tmp_path / "mean.pt"
    assert main([*files, "--out", str(out)]) == 0
    state = checkpoint.load_weights(out)
    assert state["ema"]["model.0.weight"].tolist() == [[3, 3], [3, 3]]
    assert (state["kind"], state["averaged"], state["names"], state["step"]) == ("weights", 3, ["face"], 7)
    assert main([*files, "--out", str(out)]) == 2  # it is there
    assert "already exists" in capsys.readouterr().out
    assert main([*files, "--out", str(out), "--force"]) == 0


def test_the_place_is_that_of_the_longest_run(tmp_path: Path) -> None:
    files = [Path(write(tmp_path / f"{epoch}.pt", 1.0, epoch=epoch, step=10 * epoch)) for epoch in (2, 9, 4)]
    state = average(files)
    assert (state["epoch"], state["step"]) == (9, 90)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"names": ["mask"]}, "its names differ from those of"),
        ({"layout": {"name": "other"}}, "its layout differ from those of"),
        ({"ema": {"model.0.weight": torch.zeros(3)}}, "its tensors are not those of"),
    ],
)
def test_other_networks_are_refused(changed: dict, told: str, tmp_path: Path, capsys) -> None:
    files = write(tmp_path / "a.pt", 1.0), write(tmp_path / "b.pt", 1.0, **changed)
    assert main([*files, "--out", str(tmp_path / "c.pt")]) == 2
    assert told in capsys.readouterr().out
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize(("words", "told"), [(["a.pt"], "--out is missing"), (["a.pt", "--out", "c.pt"], "needs two")])
def test_what_is_missing_is_told(words: list[str], told: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.pt", 1.0)
    assert main(words) == 2
    assert told in capsys.readouterr().out
