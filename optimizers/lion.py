"""Lion: the sign of a momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from torch import Tensor

import optimizers
from optimizers._step import DecoupledOptimizer, add_scaled_, check_betas


class Lion(DecoupledOptimizer):
    """Lion: "Symbolic Discovery of Optimization Algorithms", arXiv 2302.06675, algorithm 2.

    With gradient g, rate lr, decay lambda, x and m on the right before the step:

        u = sign(beta1 m + (1 - beta1) g)
        x = x - lr (u + lambda x)
        m = beta2 m + (1 - beta2) g

    Each weight moves by lr, whatever its gradient: the paper takes a third to a tenth of AdamW's rate, and as many
    times its decay. State: one tensor a parameter. A few foreach operations; numbers may be tensors.

    Args:
        params: parameters or groups.
        lr: rate, a number or a tensor of one element.
        betas: beta1, which is what "momentum" means here, and beta2; each at least 0, below 1.
        weight_decay: lambda.

    Raises:
        UserError: a value out of range, complex parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-4,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.99),
        weight_decay: float | Tensor = 0.0,
    ) -> None:
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def advance(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor, fused: bool
    ) -> None:
        """The update as it is written above."""
        lr, (beta1, beta2) = group["lr"], group["betas"]
        (average,) = self.buffers(params, ["exp_avg"])
        move = torch._foreach_mul(average, beta1)
        add_scaled_(move, grads, 1 - beta1)
        torch._foreach_sign_(move)
        torch._foreach_mul_(params, 1 - lr * rate)
        add_scaled_(params, move, -lr)
        torch._foreach_mul_(average, beta2)
        add_scaled_(average, grads, 1 - beta2)


@optimizers.register(
    "lion",
    lr=0.0001,
    weight_decay=0.1,
    momentum=0.9,
    warmup_bias_lr=0.0,
    paper="Symbolic Discovery of Optimization Algorithms, arXiv 2302.06675, algorithm 2",
)
def lion(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    beta2: Annotated[float, "decay of the momentum that is kept"] = 0.99,
) -> Lion:
    """The sign of a momentum: every weight moves by the rate; half of Adam's memory. `momentum` is its first beta."""
    return Lion(groups, lr, (momentum, beta2))
