"""What rules with bias corrections share: counts in plain numbers, and moments that are zero before the first step."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from optimizers._step import DecoupledOptimizer, add_scaled_
from utils.errors import UserError


class CountedOptimizer(DecoupledOptimizer):
    """A rule that keeps numbers beside each parameter, such as the count of its steps.

    They are Python's, so that what is computed of them is so in double, waits for no device, and comes back from a
    checkpoint to the bit. Parameters whose numbers are equal are stepped in one call. A CUDA graph would freeze them:
    rates must be numbers too, and a step is refused while a graph is being captured.
    """

    counts: ClassVar[dict[str, float]] = {"step": 0}  # name: value before the first step

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As `DecoupledOptimizer`'s; a rate in a tensor is a UserError."""
        super().add_param_group(param_group)
        if any(isinstance(value, Tensor) for key, value in self.param_groups[-1].items() if key != "params"):
            raise UserError(f"{type(self).__name__} takes lr and weight_decay as numbers, not as tensors")

    def numbers(self, parameter: Tensor) -> tuple[float, ...]:
        """What is kept beside a parameter, in the order of `counts`."""
        state = self.state.get(parameter, {})
        return tuple(state.get(name, start) for name, start in self.counts.items())

    def kind(self, group: dict[str, Any], parameter: Tensor) -> tuple[Hashable, ...]:
        """Parameters are stepped together when their numbers are equal."""
        return self.numbers(parameter)

    def count(self, params: list[Tensor], **numbers: float) -> None:
        """Note the numbers of parameters that have been stepped."""
        for p in params:
            self.state[p].update(numbers)


def move_moments(
    average: list[Tensor], square: list[Tensor], grads: list[Tensor], betas: tuple[float, float], step: int, eps: float
) -> list[Tensor]:
    """Move Adam's two averages towards the gradients; returns sqrt(v / (1 - beta2^t)) + eps of each.

    "Adam" (arXiv 1412.6980), algorithm 1, `step` counted from 1.
    """
    beta1, beta2 = betas
    torch._foreach_mul_(average, beta1)
    add_scaled_(average, grads, 1 - beta1)
    torch._foreach_mul_(square, beta2)
    torch._foreach_addcmul_(square, grads, grads, 1 - beta2)
    denominator = list(torch._foreach_sqrt(square))
    torch._foreach_div_(denominator, (1 - beta2**step) ** 0.5)
    torch._foreach_add_(denominator, eps)
    return denominator
