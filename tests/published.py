"""Checkpoints in the published layout, made here: module objects of classes that exist only while they are saved."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from utils.checkpoint import inert
from utils.checkpoint.archive import Archive
from utils.checkpoint.published import weights_of


def read_published(path: Path) -> dict[str, Any]:
    """The weights in a published checkpoint, as `published.weights_of` has them."""
    with Archive(path) as archive:
        return weights_of(archive, inert.read(archive))


def save_published(
    path: Path, state: dict[str, Tensor], *, key: str = "model", half: bool = True, **extra: Any
) -> Path:
    """Save a pickled `models.yolo.DetectionModel` whose state dict is `state`; `extra` are attributes of it."""
    yolo, common = ModuleType("models.yolo"), ModuleType("models.common")
    yolo.DetectionModel = type("DetectionModel", (nn.Module,), {"__module__": "models.yolo"})
    common.Conv = type("Conv", (nn.Module,), {"__module__": "models.common"})
    with patch.dict(sys.modules, {"models.yolo": yolo, "models.common": common}):
        network = yolo.DetectionModel()
        for name, value in state.items():
            place(network, name, value.detach().clone(), common.Conv)
        network.register_buffer("scratch", torch.ones(3), persistent=False)
        for name, value in extra.items():
            setattr(network, name, value)
        network = network.half() if half else network
        other = {"ema": "model", "model": "ema"}[key]
        torch.save({"epoch": -1, "best_fitness": None, key: network, other: None, "optimizer": None}, path)
    return path


def place(network: nn.Module, name: str, value: Tensor, kind: type[nn.Module]) -> None:
    """Put an entry where its name says, with modules on the way."""
    *folders, last = name.split(".")
    for folder in folders:
        if folder not in network._modules:
            network.add_module(folder, kind())
        network = network._modules[folder]
    if last in ("weight", "bias"):
        network.register_parameter(last, nn.Parameter(value))
    else:
        network.register_buffer(last, value)
