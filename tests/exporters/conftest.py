from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import exporters
from exporters import Exported, Metadata
from exporters.formats import Export
from models import Detector
from tests.network import lively

NAMES = ("bare", "masked", 'wrong "one"')


@pytest.fixture(scope="session")
def detector(narrow: Path) -> Detector:
    return lively(narrow, NAMES)


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
