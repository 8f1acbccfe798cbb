"""An exponential moving average of a model: what is evaluated and kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class ModelEMA:
    """The running mean of a model's weights and floating-point buffers, in one multi-tensor operation an update.

    After update k the mean is `d mean + (1 - d) model`, `d = decay (1 - exp(-k / tau))`: short at first, so that the
    initial weights are soon forgotten. Integer buffers are copied. Nothing waits for the device.

    Attributes:
        model: the mean, as a model in eval mode whose parameters need no gradient.
        updates: updates so far.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000.0) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.tau = tau
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the present weights of `model`, which has the structure, devices and dtypes of the one given first.

        Raises:
            KeyError: `model` lacks a weight or buffer of the mean.
        """
        self.updates += 1
        decay = self.decay * (1 - math.exp(-self.updates / self.tau))
        source = model.state_dict()
        # by identity, so that a tensor with two names is averaged once
        pairs = {id(mean): (mean, source[name]) for name, mean in self.model.state_dict(keep_vars=True).items()}
        floats = [pair for pair in pairs.values() if pair[0].is_floating_point()]
        others = [pair for pair in pairs.values() if not pair[0].is_floating_point()]
        if floats:
            torch._foreach_lerp_([mean for mean, _ in floats], [now for _, now in floats], 1 - decay)
        if others:
            torch._foreach_copy_([mean for mean, _ in others], [now for _, now in others])

    def state_dict(self) -> dict[str, Any]:
        """`{"updates": int, "model": state dict}`; the tensors are the mean's own, not copies."""
        return {"updates": self.updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave. Raises RuntimeError where the names or shapes differ."""
        self.model.load_state_dict(state["model"])
        self.updates = int(state["updates"])
