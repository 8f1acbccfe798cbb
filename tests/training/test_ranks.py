"""N processes are one process that passes each batch in N parts, to the bit; whatever ends one of them ends all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data.batch import Batch
from data.plan import order
from data.sample import render
from tests.trainer import Runs, assert_identical, wait_for
from training.session import Session
from utils import checkpoint

BUT = (".options.run.processes", ".options.run.name", ".options.run.timeout")
LIMIT = 240  # seconds, on a loaded machine
pytestmark = pytest.mark.slow


def by(runs: Runs, processes: int, flags: list[str], code: int = 0) -> str:
    """train.py in so many processes; what it printed."""
    child = runs.child([*flags, "--processes", str(processes)])
    out = child.communicate(timeout=LIMIT)[0]
    assert child.returncode == code, out
    return out


@pytest.mark.parametrize(
    ("processes", "flags", "changed"),
    [
        (2, "--lr-policy sgdr --optim sgdw", {"batch_size": 4}),
        (3, "--lr-policy onecycle --optim adamw", {"batch_size": 4}),
        (4, "--lr-policy clr --optim adam --multi-scale", {"batch_size": 3}),
        (2, "--lr-policy linear --optim sgd --rect", {"batch_size": 11}),
        (2, "--lr-policy cosine --optim adamw --save-steps 1", {"batch_size": 1, "nbs": 4}),
    ],
)
def test_processes_are_parts(runs: Runs, processes: int, flags: str, changed: dict) -> None:
    """Policies and optimizers, accumulation and tails, ranks without a picture, tables and pictures of one writer."""
    out = by(runs, processes, runs.flags(f"{flags} --name several", **changed))
    assert runs(f"{flags} --parts {processes} --name one", **changed) == 0
    assert_identical(runs.run("several"), runs.run("one"), but=BUT)
    left = [{path.name.partition(".")[0] for path in runs.run(name).iterdir()} for name in ("several", "one")]
    assert left[0] == left[1]
    assert out.count("holds the built-in sample") == 1
    assert "rank" not in out


@pytest.mark.parametrize("bare", [0, 1])
def test_a_rank_without_boxes(runs: Runs, bare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each step one rank of two has pictures that are all without boxes, and the other has boxes."""
    render(runs.folder / "faces", seed=0, train=11, val=4)
    data = runs.folder / "faces.yaml"
    data.write_text(f"path: {runs.folder / 'faces'}\ntrain: images/train\nval: images/val\nnames: [a, b, c]\n")
    labels = sorted((runs.folder / "faces" / "labels" / "train").iterdir())
    for number in order(0, 0, 11)[bare::2]:  # batches of 4: places 0 and 2 are rank 0's, 1 and 3 rank 1's
        labels[number].write_text("")
    flags = "--mosaic 0 --scale 0 --translate 0 --seed 0 --optim adamw"
    by(runs, 2, runs.flags(f"{flags} --name several", data=data, batch_size=4, nbs=4, epochs=1))
    seen: list[tuple[int, int, int]] = []  # step, part, boxes
    gradient = Session.gradient

    def and_count(self: Session, batch: Batch, weight: float = 1.0) -> torch.Tensor:
        seen.append((self.progress.step, batch.part.number, int((batch.targets[:, 0] >= 0).sum())))
        return gradient(self, batch, weight)

    monkeypatch.setattr(Session, "gradient", and_count)
    assert runs(f"{flags} --parts 2 --name one", data=data, batch_size=4, nbs=4, epochs=1) == 0
    assert sorted((step, part, boxes > 0) for step, part, boxes in seen) == [
        (step, part, part != bare) for step in range(3) for part in range(2)
    ]
    assert_identical(runs.run("several"), runs.run("one"), but=BUT)


def test_a_resume_may_change_the_number_of_processes(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """1, 3, 2 and 1 processes are 1, 3, 2 and 1 parts in one process, each of an epoch."""
    for name in ("several", "one"):
        assert runs(f"--name {name} --optim adamw --lr-policy cosine --batch-size 4", epochs=1) == 0
    for epochs, number in ((2, 3), (3, 2), (4, 1)):
        last = str(runs.run("several") / "weights" / "last.pt")
        by(runs, number, ["--resume", last, "--epochs", str(epochs)])
        assert runs.resume(runs.run("one"), f"--epochs {epochs} --parts {number}") == 0
        assert_identical(runs.run("several"), runs.run("one"), but=BUT)


def test_sync_bn_is_the_unsplit_batch(runs: Runs) -> None:
    """After one step; in float32 a deep network makes more of a rounding at each further one, whatever rounds."""
    changed = {"batch_size": 11, "nbs": 11, "epochs": 1}
    by(runs, 3, runs.flags("--name several --sync-bn --warmup-epochs 0", **changed))
    assert runs("--name one --warmup-epochs 0", **changed) == 0
    several, one = (checkpoint.load(runs.run(name) / "weights" / "last.pt")["model"] for name in ("several", "one"))
    floats = [name for name, weight in one.items() if weight.is_floating_point()]
    apart = sum((several[name] - one[name]).double().square().sum() for name in floats)
    assert apart.sqrt() < 1e-5 * sum(one[name].double().square().sum() for name in floats).sqrt()


def ranks_of(launcher: subprocess.Popen) -> list[int]:
    """The processes that a launcher has started, by rank."""
    return [int(pid) for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]


def begun(runs: Runs, flags: str, processes: int = 3) -> subprocess.Popen:
    """A long run in several processes that has had an epoch."""
    child = runs.child([*runs.flags(flags, epochs=3000, batch_size=4), "--processes", str(processes)])
    wait_for(child, (runs.run() / "weights" / "last.pt").is_file, LIMIT)
    return child


needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")


@needs_proc
@pytest.mark.parametrize("whom", ["launcher", "0", "2"])
def test_a_stop_of_any_process_stops_all_at_one_step(runs: Runs, whom: str) -> None:
    child = begun(runs, "")
    os.kill(child.pid if whom == "launcher" else ranks_of(child)[int(whom)], signal.SIGTERM)
    out = child.communicate(timeout=LIMIT)[0]
    assert child.returncode == 128 + signal.SIGTERM, out
    assert out.count("stopped by SIGTERM; continue with") == 1
    assert "Traceback" not in out
    step = checkpoint.load(runs.run() / "weights" / "last.pt")["step"]
    assert len((runs.run() / "lr.csv").read_text().splitlines()) == step + 1


@needs_proc
@pytest.mark.parametrize(("how", "whom"), [(signal.SIGKILL, 0), (signal.SIGKILL, 2), (signal.SIGSTOP, 1)])
def test_a_rank_that_dies_or_hangs_ends_all(runs: Runs, how: int, whom: int) -> None:
    child = begun(runs, "--timeout 5")
    lost = ranks_of(child)[whom]
    os.kill(lost, how)
    try:
        out = child.communicate(timeout=LIMIT)[0]
    finally:
        if how == signal.SIGSTOP:
            with contextlib.suppress(ProcessLookupError):  # the launcher may have done it
                os.kill(lost, signal.SIGKILL)
    assert child.returncode != 0
    assert "Traceback" not in out
    assert f"rank {whom} died or did not answer; continue with: python train.py --resume" in out
    checkpoint.load(runs.run() / "weights" / "last.pt")
