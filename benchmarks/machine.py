"""What a figure was measured on: every benchmark writes it beside its figures."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "pycocotools")


def describe(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Machine, versions, date and command, as plain values."""
    device = torch.device(device)
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        "command": "python -m " + shlex.join([_module(), *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform(), **gpu},
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def write(out: Path, results: Any, device: torch.device | str = "cpu") -> None:
    """Write figures as JSON, with `describe()` before them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**describe(device), "results": results}, indent=2) + "\n", encoding="utf-8")


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def version(package: str) -> str:
    """An installed package's version, or that there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else sys.argv[0]
