"""The measurement of throughput, end to end on the tiny data set."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks import throughput
from benchmarks.rates import Utilisation, step_flops
from tests.trainer import Runs
from training import options, start


def test_the_figures_are_whole_and_agree(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    words = runs.flags("--out figures.json --profile", epochs=2, noplots=None)
    assert throughput.main(words) == 0
    figures = json.loads(Path("figures.json").read_text())
    rate = figures["images_per_s"]
    assert set(rate) == {"end_to_end", "bare_step", "validation"}
    assert figures["ratio"] == rate["end_to_end"] / rate["bare_step"]
    assert 0.05 < figures["ratio"] < 2
    for name, spread in figures["spread"].items():
        assert len(spread["all"]) == 2
        assert 0 < spread["min"] <= rate[name] <= spread["max"]
    assert sum(figures["shares"].values()) == pytest.approx(1)
    assert min(figures["shares"].values()) >= 0
    assert figures["shares"]["backward"] > figures["shares"]["to device"]  # nothing moves on a CPU
    assert figures["gpu_utilisation_percent"] is None
    assert "cpu" in figures["gpu_utilisation_note"]
    assert figures["time_to_first_step_s"] > 0
    assert figures["peak_memory_gb"] > 0.1
    assert 0 < figures["share_of_matrix_rate"] < 1
    assert figures["settings"]["run"]["batch_size"] == 2
    assert figures["settings"]["dtype"] == "fp32"
    assert figures["machine"]["cores"]
    assert figures["versions"]["torch"]
    assert "end to end / bare" in capsys.readouterr().out
    (trace,) = Path("trace").iterdir()
    assert any(e.get("name") == "aten::convolution" for e in json.loads(trace.read_text())["traceEvents"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("flag", ["--resume", "--save-steps 1", "--save-period 1", "--nosave"])
def test_flags_that_would_do_nothing_are_refused(runs: Runs, capsys: pytest.CaptureFixture, flag: str) -> None:
    assert throughput.main(runs.flags(flag)) == 2
    assert f"{flag.split()[0]} would do nothing: a measurement resumes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "named"), [("--out file/f.json", "file"), ("--out folder", "folder"), ("--profile file", "file")]
)
def test_a_place_that_cannot_be_written_is_said_before_measuring(runs, capsys, monkeypatch, flags, named) -> None:
    monkeypatch.setattr(throughput, "measure", lambda *_: pytest.fail("measured"))
    Path("file").touch()
    Path("folder").mkdir()
    assert throughput.main(runs.flags(flags)) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"error: {named}: ")
    assert "give another --out" in line


def test_memory_that_runs_out_is_one_line(runs: Runs, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(throughput, "measure", refuse)
    assert throughput.main(runs.flags()) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("error: out of memory; give a smaller --imgsz")


def test_a_stop_is_one_line(runs: Runs, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(throughput, "measure", stop)
    assert throughput.main(runs.flags()) == 130
    assert capsys.readouterr().out.splitlines()[-1] == "warning: stopped: nothing was measured"


def test_a_batch_that_memory_does_not_hold_is_counted_by_its_parts(runs: Runs, monkeypatch) -> None:
    run = start.prepare(options.parse(runs.flags(batch_size=4), "", "")[0])
    batch = next(run.data.train.epoch(0))
    whole = throughput.arithmetic(run, batch, 1.0)["flop_per_image"]
    run.progress.at_once, sizes, plain = 2, [], run.forward
    monkeypatch.setattr(run, "forward", lambda part: (sizes.append(len(part)), plain(part))[1])
    assert throughput.arithmetic(run, batch, 1.0)["flop_per_image"] == whole
    assert sizes == [2]


def test_operations_are_counted_as_by_hand(runs: Runs) -> None:
    """Every convolution three times, forward and for its two gradients, but the first: pictures get none."""
    run = start.prepare(options.parse(runs.flags(), "", "")[0])
    work = []  # operations of each convolution's forward pass, a picture

    def note(module: nn.Conv2d, _: object, out: Tensor) -> None:
        work.append(2 * module.weight[0].numel() * out[0].numel())

    for module in run.model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    batch = next(run.data.train.epoch(0))
    assert step_flops(run, batch) == len(batch.images) * (3 * sum(work) - work[0])
    assert all(p.grad is None for p in run.model.parameters())


def test_a_mistake_is_one_line(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    assert throughput.main(runs.flags(cfg="yolov5q")) == 2
    assert capsys.readouterr().out.count("\n") == 1


class NVMLError(Exception):
    """As NVIDIA's package has it: no RuntimeError."""


@pytest.mark.parametrize("error", [ModuleNotFoundError("nvidia-ml-py is not\ninstalled"), NVMLError("Not Supported")])
def test_a_gpu_that_tells_no_utilisation_has_none(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def utilization(_: torch.device) -> int:
        asked.set()
        raise error

    asked = threading.Event()
    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    usage = Utilisation(torch.device("cuda", 0))
    with usage.measured():
        assert asked.wait(120)
    assert usage.mean is None
    assert usage.why == f"{type(error).__name__}: {' '.join(str(error).split())}"
