"""A network that finds many boxes of every class without having learned any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import models
from models import Detector
from tests.golden import fill


def lively(cfg: Path, names: tuple[str, ...]) -> Detector:
    """A detector of `cfg` whose scores and boxes vary from cell to cell: no two boxes are equal."""
    model = models.build(cfg, classes=len(names)).eval()
    model.names = names
    state = model.state_dict()
    for name, value in state.items():
        if not name.endswith(("anchors", "num_batches_tracked")):
            value.copy_(torch.from_numpy(np.asarray(fill.parameter(name, tuple(value.shape)))))
    model.load_state_dict(state)
    with torch.no_grad():
        for conv in model.head.m:
            conv.weight *= 20
    return model
