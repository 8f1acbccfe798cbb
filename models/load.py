"""Detectors from checkpoints, alone or as an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import Detector, build
from utils import checkpoint
from utils.errors import UserError


class Ensemble(nn.Module):
    """Detectors of the same classes as one, for evaluation: their boxes together, for the NMS to choose from."""

    def __init__(self, members: Sequence[Detector]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes, self.names = members[0].classes, members[0].names

    @property
    def stride(self) -> Tensor:
        """(maps,) pixels a cell, those of the first member."""
        return self.members[0].stride

    def forward(self, images: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """(B, 3, H, W) to (B, boxes of all members, 5 + classes) and each member's heads."""
        decoded, heads = zip(*(member(images) for member in self.members), strict=True)
        return torch.cat(decoded, 1), list(heads)


def load_detector(path: str | Path, device: torch.device | str = "cpu") -> Detector:
    """The detector of a checkpoint, its EMA weights where it has them: float32, in evaluation mode, on `device`.

    Raises UserError for a file that is no checkpoint, or whose weights and layout do not fit.
    """
    return detector_of(checkpoint.load(path), path).to(device, memory_format=torch.channels_last)


def load_ensemble(
    paths: Sequence[str | Path], device: torch.device | str = "cpu"
) -> tuple[Detector | Ensemble, dict[str, Any]]:
    """One checkpoint's detector, or the ensemble of several with the same classes; and the first's dictionary."""
    states = [checkpoint.load(path) for path in paths]
    members = [detector_of(state, path) for state, path in zip(states, paths, strict=True)]
    for path, member in zip(paths, members, strict=True):
        if member.names != members[0].names:
            raise UserError(f"{path}: its classes are not those of {paths[0]}; an ensemble needs the same ones")
    model = members[0] if len(members) == 1 else Ensemble(members)
    return model.to(device, memory_format=torch.channels_last).eval(), states[0]


def detector_of(state: dict[str, Any], path: str | Path) -> Detector:
    """Build the detector that a checkpoint's dictionary describes, on the CPU. `path` is for the error's line."""
    try:
        model = build(state["cfg"], classes=state["classes"])
        model.load_state_dict(state.get("ema") or state["model"])
        model.names = tuple(state["names"])
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: weights and layout do not belong together ({reason}); take another file") from error
    return model.float().eval()
