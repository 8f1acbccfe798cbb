"""A model through torch.hub: `torch.hub.load("path/to/clone", "custom", path="best.pt", source="local")`.

Without the hub, the same is `from predict.model import load; model = load("best.pt")`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

import models
from models.load import SIZES
from predict.model import Model, default_device, load
from utils.errors import UserError

dependencies = ["torch", "torchvision", "numpy", "cv2", "PIL", "yaml", "tqdm"]
# of the hub itself, or of no effect
INDIFFERENT = {"_verbose", "verbose", "force_reload", "trust_repo", "skip_validation"}


def custom(path: str | Path, device: torch.device | str | None = None, **others: Any) -> Model:
    """The model of a checkpoint or an exported file, on the GPU where there is one.

    `others`: what YOLOv5's entry takes besides, as far as it changes nothing here. Raises UserError for the rest.
    """
    _check(others)
    return load(path, device)


def _published(
    name: str, pretrained: bool = True, classes: int = 80, device: torch.device | str | None = None, **others: Any
) -> Model:
    """The published network of that size, whose file is in the current folder; or, not `pretrained`, one with fresh
    weights for `classes` classes. Raises UserError that says where to get a file that is not there."""
    _check(others)
    if pretrained:
        if classes != 80:
            raise UserError(f"classes={classes}: published weights have 80; add pretrained=False, or train")
        return load(f"{name}.pt", device)
    network = models.build(name, classes).eval()
    return Model(network.to(default_device(device)), network.names, 640)


def _check(others: dict[str, Any]) -> None:
    if others.get("autoshape", True) is not True:
        raise UserError("autoshape=False: the bare network is models.load.load_detector(path); leave autoshape out")
    if others.get("channels", 3) != 3:
        raise UserError(f"channels={others['channels']}: pictures have 3; leave channels out")
    unknown = sorted(others.keys() - INDIFFERENT - {"autoshape", "channels"})
    if unknown:
        remedy = "give path and device, and set conf, iou and the like on the model"
        raise UserError(f"{unknown[0]}= is not known here; {remedy}")


globals().update({name: partial(_published, name) for name in SIZES})
