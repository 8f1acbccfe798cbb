"""What all tests share: a small drawn data set, a narrow network, and a logger left as it was found."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from data.sample import render
from tests.trainer import Runs

# A loaded machine is no fault of the code under test
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")

PICTURES = 11  # with batches of 2: five full ones and a tail of one picture


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """A shell has what it starts in the background ignore SIGINT; the programs under test would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Have `caplog` hear it, at INFO whatever ran before; take back what `utils.console.log.setup` does in the test."""
    logger = logging.getLogger("anneal")
    logger.setLevel(logging.INFO)
    yield
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of a drawn data set: 11 pictures to train on, 4 to validate on, three classes."""
    folder = tmp_path_factory.mktemp("data")
    render(folder / "faces", seed=0, train=PICTURES, val=4)
    yaml = folder / "faces.yaml"
    yaml.write_text(f"path: {folder / 'faces'}\ntrain: images/train\nval: images/val\nnames: [bare, masked, wrong]\n")
    return yaml


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of yolov5n with a quarter of its channels: 0.1 M parameters."""
    path = tmp_path_factory.mktemp("cfg") / "narrow.yaml"
    path.write_text("layout: yolov5\ndepth: 0.33\nwidth: 0.0625\n")
    return path


@pytest.fixture
def runs(faces: Path, narrow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs train.py in an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)  # as in `Runs.child`: sums of several threads round otherwise
    return Runs(faces, narrow, tmp_path)


@pytest.fixture(scope="module")
def module_runs(faces: Path, narrow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The same for a whole module, for references that several tests compare with."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("runs")
        patch.chdir(folder)
        torch.set_num_threads(1)
        yield Runs(faces, narrow, folder)
