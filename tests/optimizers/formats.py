"""A rule on a weight whose memory format changes between its steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def trained_in(rule: Any, options: dict[str, Any], formats: tuple[torch.memory_format, torch.memory_format]) -> Tensor:
    """A weight after four steps, the last two in the second format with the state loaded; gradients take turns."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=formats[0]).requires_grad_()
    optimizer = rule([weight], 0.1, weight_decay=0.1, **options)
    for step in range(4):
        if step == 2:
            saved = optimizer.state_dict()
            weight = weight.detach().to(memory_format=formats[1]).requires_grad_()
            optimizer = rule([weight], 0.1, weight_decay=0.1, **options)
            optimizer.load_state_dict(saved)
        weight.grad = torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=formats[step % 2])
        optimizer.step()
    return weight
