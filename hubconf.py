"""A model through torch.hub: `torch.hub.load("path/to/clone", "custom", path="best.pt", source="local")`.

Without the hub, the same is `from predict.model import load; model = load("best.pt")`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

import models
from models.load import SIZES
from predict.model import Model, default_device, load

dependencies = ["torch", "torchvision", "numpy", "cv2", "PIL", "yaml", "tqdm"]


def custom(path: str | Path, device: torch.device | str | None = None) -> Model:
    """The model of a checkpoint or an exported file, on the GPU where there is one."""
    return load(path, device)


def _published(
    name: str, pretrained: bool = True, classes: int = 80, device: torch.device | str | None = None
) -> Model:
    """The published network of that size, fetched into the current folder where it is not there; or, not `pretrained`,
    one with fresh weights for `classes` classes."""
    if pretrained:
        return load(f"{name}.pt", device)
    network = models.build(name, classes).eval()
    return Model(network.to(default_device(device)), network.names, 640)


globals().update({name: partial(_published, name) for name in SIZES})
