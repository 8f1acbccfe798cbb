"""Detectors from checkpoints, alone or as an ensemble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from models import Detector, build, yolov5_format
from models.layout import read
from utils import checkpoint
from utils import device as devices
from utils.errors import UserError

SIZES = ("yolov5n", "yolov5s", "yolov5m", "yolov5l", "yolov5x")


class Ensemble(nn.Module):
    """Detectors of the same classes as one, for evaluation: their boxes together, for the NMS to choose from."""

    def __init__(self, members: Sequence[Detector]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes, self.names = members[0].classes, members[0].names

    @property
    def stride(self) -> Tensor:
        """(maps,) pixels a cell, those of the first member."""
        return cast(Tensor, self.members[0].stride)

    @property
    def max_stride(self) -> int:
        """Of how many pixels the sides of pictures must be multiples for all members."""
        return math.lcm(*(member.max_stride for member in self.members))

    def forward(self, images: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """(B, 3, H, W) to (B, boxes of all members, 5 + classes) and each member's heads."""
        decoded, heads = zip(*(member(images) for member in self.members), strict=True)
        return torch.cat(decoded, 1), list(heads)


def load_detector(path: str | Path, device: torch.device | str = "cpu") -> Detector:
    """The detector of a checkpoint, its EMA weights where it has them: float32, in evaluation mode, on `device`.

    `path`: a checkpoint of this trainer or a published YOLOv5 one. Raises UserError for a file that is neither, or
    whose weights and layout do not fit.
    """
    return devices.placed(detector_of(checkpoint.load_weights(path), path), device)


def load_ensemble(
    paths: Sequence[str | Path], device: torch.device | str = "cpu"
) -> tuple[Detector | Ensemble, dict[str, Any]]:
    """One checkpoint's detector, or the ensemble of several with the same classes; and the first's dictionary."""
    states = [checkpoint.load_weights(path) for path in paths]
    members = [detector_of(state, path) for state, path in zip(states, paths, strict=True)]
    for path, member in zip(paths, members, strict=True):
        if member.names != members[0].names:
            raise UserError(f"{path}: its classes are not those of {paths[0]}; an ensemble needs the same ones")
    model = members[0] if len(members) == 1 else Ensemble(members)
    return devices.placed(model, device).eval(), states[0]


def detector_of(state: dict[str, Any], path: str | Path) -> Detector:
    """Build the detector that a dictionary of `checkpoint.load_weights` describes, on the CPU. `path` is for errors."""
    model = build(layout_of(state, path), classes=state["classes"])
    model.load_state_dict(state["ema"])
    model.names = tuple(state["names"])
    return model.float().eval()


def layout_of(state: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """The description of the network whose weights a dictionary of `checkpoint.load_weights` holds.

    A published checkpoint describes its own in YOLOv5's format; one that does not is that of the five sizes which has
    the same entries. Raises UserError where description and weights do not belong together. `path` is for errors.
    """
    if "layout" in state:
        sound = isinstance(state["layout"], dict)  # a description, never the path of one
        if sound and _fits(state["layout"], state, path):
            return state["layout"]
        raise UserError(f"{path}: weights and layout do not belong together; use another file")
    described, reason = state.get("described"), ""
    described = described if yolov5_format.is_such(described) else None
    try:
        if described is not None:
            layout = yolov5_format.translate(str(state.get("network") or Path(path).stem), described)
            if _fits(layout, state, path):
                return layout
    except UserError as error:
        reason = f" ({' '.join(str(error).split())[:160]})"
    for size in SIZES:
        if described is None and _fits(size, state, path):
            return read(size)
    raise UserError(
        f"{path}: its network is neither one of {', '.join(SIZES)} nor the one it describes{reason}; use another file"
    )


def _fits(layout: dict[str, Any] | str, state: dict[str, Any], path: str | Path) -> bool:
    """Whether a layout has exactly the entries of the weights; before anything of the size it asks for is allocated."""
    try:
        with torch.device("meta"):
            own = build(layout, classes=state["classes"]).state_dict()
    except UserError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())[:200]}") from None
    return {n: v.shape for n, v in own.items()} == {n: v.shape for n, v in state["ema"].items()}
