"""LAMB: Adam's step, scaled layer by layer to the size of the weights."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

import optimizers
from optimizers._counted import CountedOptimizer, move_moments
from optimizers._step import add_scaled_, check_betas
from utils.errors import UserError, nearest

ADAPTED = ("weights", "all")


class Lamb(CountedOptimizer):
    """LAMB: "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", arXiv 1904.00962, algorithm 2.

    With gradient g, rate lr, decay lambda, step t from 1, each tensor x a layer, phi the identity:

        m = beta1 m + (1 - beta1) g;       v = beta2 v + (1 - beta2) g^2
        r = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
        x = x - lr |x| / |r + lambda x| (r + lambda x)

    Where a norm is 0 the ratio of the two is 1. The algorithm scales every layer; but a bias, which begins at 0, would
    then hardly ever leave it. So by default only tensors of two or more dimensions are scaled, the weights of
    convolutions and linear layers, and the others take r as it is; `adapt="all"` is the algorithm by the letter.

    State: two tensors and a number a parameter. A few foreach operations; nothing waits for the device.

    Args:
        params: parameters or groups.
        lr: rate: the share of its length by which a scaled layer moves in a step.
        betas: beta1, which is what "momentum" means here, and beta2; each at least 0, below 1.
        eps: added to the denominator.
        weight_decay: lambda.
        adapt: "weights" or "all".

    Raises:
        UserError: a value out of range, complex parameters, a rate in a tensor.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        adapt: str = "weights",
    ) -> None:
        check_betas(betas, eps)
        if adapt not in ADAPTED:
            raise UserError(f"unknown adapt '{adapt}'; {nearest(adapt, ADAPTED)}")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"adapt": adapt})

    def kind(self, group: dict[str, Any], parameter: Tensor) -> tuple[Hashable, ...]:
        """The count, and whether the step is scaled."""
        return (*self.numbers(parameter), self.is_scaled(group, parameter))

    def is_scaled(self, group: dict[str, Any], parameter: Tensor) -> bool:
        """Whether the step of a parameter is scaled to its length."""
        return group["adapt"] == "all" or parameter.ndim >= 2

    def advance(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor, fused: bool
    ) -> None:
        """The update as it is written above."""
        lr, beta1 = group["lr"], group["betas"][0]
        (step,) = self.numbers(params[0])
        average, square = self.buffers(params, ["exp_avg", "exp_avg_sq"])
        step += 1
        denominator = move_moments(average, square, grads, group["betas"], step, group["eps"])
        move = torch._foreach_div(average, 1 - beta1**step)
        torch._foreach_div_(move, denominator)
        add_scaled_(move, params, rate)
        if self.is_scaled(group, params[0]):
            lengths, moves = (torch.stack(torch._foreach_norm(tensors)) for tensors in (params, move))
            ratios = torch.where((lengths > 0) & (moves > 0), lengths / moves, 1.0)
            torch._foreach_mul_(move, list(ratios.unbind()))
        add_scaled_(params, move, -lr)
        self.count(params, step=step)


@optimizers.register(
    "lamb",
    lr=0.002,
    weight_decay=0.01,
    momentum=0.9,
    warmup_bias_lr=0.0,
    paper="Large Batch Optimization for Deep Learning, arXiv 1904.00962, algorithm 2",
)
def lamb(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    beta2: Annotated[float, "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, "added to the denominator"] = 1e-6,
    adapt: Annotated[Literal["weights", "all"], "which tensors' steps are scaled to their size"] = "weights",
) -> Lamb:
    """Adam's step scaled to the size of each layer, for large batches. `momentum` is its first beta."""
    return Lamb(groups, lr, (momentum, beta2), eps, adapt=adapt)
