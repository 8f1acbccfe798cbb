"""Whole runs whose pictures are kept on the device and drawn there, on a CPU small: they train and resume exactly."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.trainer import Runs, assert_identical, at_step, rows, send

FLAGS = "--warmup-epochs 0.5 --single-cls --cache device --mosaic9 0.3 --mixup 0.3"


@pytest.fixture(scope="module")
def whole(module_runs: Runs) -> Path:
    assert module_runs(FLAGS) == 0
    return module_runs.run()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_resumed(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, step, send(signal.SIGTERM))
        assert runs(FLAGS) == 143
    assert runs.resume(runs.run(), "--workers 2") == 0
    assert_identical(whole, runs.run(), but=(".options.run.workers",))


def test_another_renderer_is_said(runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 1, send(signal.SIGTERM))
        assert runs(FLAGS, epochs=1) == 143
    assert runs.resume(runs.run(), "--cache ram") == 0
    assert "--cache device becomes ram: another renderer" in capsys.readouterr().out


def test_it_learns_what_the_host_renderer_teaches(whole: Path, runs: Runs) -> None:
    assert runs(FLAGS.replace("device", "ram")) == 0
    ours, host = (rows(run / "results.csv") for run in (whole, runs.run()))
    for name in ("train/box_loss", "train/obj_loss", "val/box_loss"):
        assert [row[name] for row in ours] == pytest.approx([row[name] for row in host], rel=0.02)


def test_the_file_on_disk_is_used(runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANNEAL_CACHE", str(tmp_path / "cache"))
    assert runs("--cache disk", epochs=1) == 0
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert runs("--cache ram", epochs=1) == 0
    assert_identical(runs.run(), runs.run("exp2"), but=(".options.run",))
