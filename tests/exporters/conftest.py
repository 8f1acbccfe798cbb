from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import exporters
import models
from exporters import Exported, Metadata
from exporters.formats import Export
from models import Detector
from tests.golden import fill

NAMES = ("bare", "masked", 'wrong "one"')


@pytest.fixture(scope="session")
def detector(narrow: Path) -> Detector:
    """A narrow network that finds many boxes of several classes, without having learned any."""
    model = models.build(narrow, classes=3).eval()
    model.names = NAMES
    fixed = ("anchors", "num_batches_tracked")
    state = model.state_dict()
    for name, value in state.items():
        if not name.endswith(fixed):
            value.copy_(torch.from_numpy(np.asarray(fill.parameter(name, tuple(value.shape)))))
    model.load_state_dict(state)
    with torch.no_grad():
        for conv in model.head.m:
            conv.weight *= 20
    return model


class Files:
    """Exports by format and options, each made once."""

    def __init__(self, detector: Detector, folder: Path) -> None:
        self.detector, self.folder = detector, folder
        self.facts = Metadata(names=NAMES, stride=32, size=(64, 96), batch=1, conf=0.3)

    def __call__(self, name: str, **changed: object) -> Path:
        facts = replace(self.facts, **changed)
        form = exporters.get(name)
        folder = self.folder / "-".join(f"{key}{value}" for key, value in changed.items())
        out = folder / f"m{form.suffix}"
        if not out.exists():
            folder.mkdir(exist_ok=True)
            source = {"onnx": self("onnx", **changed)} if name == "openvino" else {}
            form.write(Export(self.detector, facts, torch.device("cpu"), made=source), out)
        return out

    def open(self, name: str, **changed: object) -> Exported:
        return exporters.open_exported(self(name, **changed))


@pytest.fixture(scope="session")
def files(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(detector, tmp_path_factory.mktemp("exported"))
