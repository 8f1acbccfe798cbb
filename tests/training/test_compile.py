"""--compile: the run trains, and what it saves has the names and the network of any other."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import models
from tests.trainer import Runs, at_step
from training import options, start
from training.accelerate import compile_model
from training.session import Session
from utils import checkpoint
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def graphs() -> int:
    """Graphs that torch has captured so far in this process."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.slow
def test_a_compiled_run_trains_and_its_checkpoint_loads_uncompiled(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole network is captured, forward and backward; its kernels stay torch's own: making them takes minutes."""
    plain_compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: plain_compile(self, backend="aot_eager"))
    before = graphs()
    assert runs("--compile default", name="compiled", epochs=1) == 0
    assert graphs() > before
    assert runs(name="plain", epochs=1) == 0
    compiled, plain = (checkpoint.load(runs.run(name) / "weights" / "last.pt") for name in ("compiled", "plain"))
    assert list(compiled["model"]) == list(plain["model"])
    assert list(compiled["ema"]) == list(plain["ema"])
    for name, value in plain["model"].items():
        torch.testing.assert_close(compiled["model"][name], value, rtol=1e-3, atol=1e-4)
    models.build(compiled["layout"], classes=3).load_state_dict(compiled["model"])
    resumed = start.resume(options.parse(["--resume", str(runs.run("compiled")), "--epochs", "2"], "train.py", "")[0])
    assert resumed.options.run.compile == "default"


SHORT = """
nc: 3
depth_multiple: 1.0
width_multiple: 1.0
anchors: [[10, 13, 16, 30, 33, 23]]
backbone: [[-1, 1, Conv, [8, 6, 2, 2]], [-1, 1, Conv, [8, 3, 2]], [-1, 1, C3, [8]]]
head: [[-1, 1, Conv, [8, 3, 2]], [[3], 1, Detect, [nc, anchors]]]
"""


@pytest.mark.slow
def test_a_compiled_run_goes_on_when_layers_are_thawed(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is captured anew for the thawed layers, which train; all is as without --compile."""
    plain_compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: plain_compile(self, backend="aot_eager"))
    (runs.folder / "short.yaml").write_text(SHORT)
    flags, captured, weights = "--freeze backbone --freeze-epochs 1 --warmup-epochs 0", {0: graphs()}, {}

    def note(run: Session) -> None:
        captured[run.progress.step] = graphs()
        weights[run.progress.step] = copy.deepcopy(run.model.state_dict())

    for name, more in (("plain", ""), ("compiled", "--compile default")):
        with monkeypatch.context() as patch:
            for step in (1, 2, 3, 4):  # two an epoch
                at_step(patch, step, note)
            assert runs(f"{flags} {more} --name {name}", cfg="short.yaml", epochs=2) == 0
    assert captured[0] < captured[2] < captured[3]
    for name, thawed in weights[2].items():
        layer = int(name.split(".")[1])
        assert layer >= 3 or torch.equal(weights[1][name], thawed), name
        assert layer >= 3 or "weight" not in name or not torch.equal(weights[4][name], thawed), name
    compiled, plain = (checkpoint.load(runs.run(name) / "weights" / "last.pt") for name in ("compiled", "plain"))
    for name, value in plain["model"].items():
        torch.testing.assert_close(compiled["model"][name], value, rtol=1e-3, atol=1e-4)


class Small(nn.Module):
    """Torch's own containers are not compiled by every version."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.silu(self.linear(inputs))


@pytest.mark.slow
def test_the_compiler_makes_kernels() -> None:
    module = Small()
    inputs = torch.randn(3, 8)
    expected = module(inputs)
    compile_model(module, "default", torch.device("cpu"))
    before = graphs()
    torch.testing.assert_close(module(inputs), expected)
    assert graphs() == before + 1


@pytest.mark.slow
def test_a_compiler_that_does_not_work_is_one_line(tmp_path: Path) -> None:
    """In a process of its own, as torch looks for a compiler once."""
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    code = """if True:
        import torch
        from training.accelerate import compile_model
        from utils.errors import UserError
        from tests.training.test_compile import Small
        module = Small()
        compile_model(module, "default", torch.device("cpu"))
        try:
            module(torch.randn(3, 8))
        except UserError as error:
            print(error)
    """
    env = os.environ | {"CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("--compile default: torch.compile failed (")
    assert "C++ compiler" in line
    assert line.endswith("); fix that, or leave --compile out")


def test_copies_and_the_average_are_not_compiled(runs: Runs) -> None:
    run = start.new(options.parse(runs.flags("--compile default"), "train.py", "")[0])
    assert run.model._compiled_call_impl is not None
    assert run.ema.model._compiled_call_impl is None
    assert copy.deepcopy(run.model)._compiled_call_impl is None


def test_without_a_compiler_it_is_one_line(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"^--compile max: a C\+\+ compiler .* is not installed; install it, or"):
        start.new(options.parse(runs.flags("--compile max"), "train.py", "")[0])
