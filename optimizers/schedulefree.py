"""AdamW without a schedule: an average of the weights in place of a falling rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

import optimizers
from optimizers._counted import CountedOptimizer
from optimizers._step import add_scaled_, check_betas


class ScheduleFree(CountedOptimizer):
    """Schedule-Free AdamW: "The Road Less Scheduled", arXiv 2405.15682, algorithm 1.

    The parameters are y, where gradients are taken; z takes the steps, and x, the mean of z, is to be evaluated. All
    three begin as the parameters. With gradient g at y, rate lr, decay lambda, step t from 1:

        v = beta2 v + (1 - beta2) g^2;     gamma = lr sqrt(1 - beta2^t)
        z = z - gamma (g / (sqrt(v) + eps) + lambda y)
        c = gamma^2 / (gamma_1^2 + ... + gamma_t^2);     x = (1 - c) x + c z
        y = (1 - beta1) z + beta1 x

    The rate may be scheduled, as its warm-up is: steps at a lower rate count for less in the mean. x is kept, where the
    authors' code computes it from y and z, so that beta1 may change, and x is exact. State: three tensors and two
    numbers a parameter. A few foreach operations.

    Args:
        params: parameters or groups.
        lr: rate.
        betas: beta1, which is what "momentum" means here, and beta2; each at least 0, below 1.
        eps: added to the denominator.
        weight_decay: lambda.

    Raises:
        UserError: a value out of range, complex parameters, a rate in a tensor.
    """

    counts: ClassVar[dict[str, float]] = {"step": 0, "weight_sum": 0.0}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        check_betas(betas, eps)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def evaluation_weights(self) -> dict[Tensor, Tensor]:
        """x of each parameter that has been stepped: the state's own tensors, to be read and not written."""
        return {p: state["x"] for p, state in self.state.items()}

    def advance(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor, fused: bool
    ) -> None:
        """The update as it is written above."""
        beta1, beta2 = group["betas"]
        step, total = self.numbers(params[0])
        for p in params:
            if "z" not in self.state[p]:
                self.state[p] |= {name: p.clone(memory_format=torch.preserve_format) for name in ("z", "x")}
        z, x, square = self.buffers(params, ["z", "x", "exp_avg_sq"])
        step += 1
        gamma = group["lr"] * (1 - beta2**step) ** 0.5
        total += gamma**2
        torch._foreach_mul_(square, beta2)
        torch._foreach_addcmul_(square, grads, grads, 1 - beta2)
        denominator = torch._foreach_sqrt(square)
        torch._foreach_add_(denominator, group["eps"])
        torch._foreach_addcdiv_(z, grads, denominator, -gamma)
        add_scaled_(z, params, -gamma * rate)
        torch._foreach_lerp_(x, z, gamma**2 / total if total else 1.0)
        torch._foreach_copy_(params, torch._foreach_lerp(z, x, beta1))
        self.count(params, step=step, weight_sum=total)


@optimizers.register(
    "schedulefree",
    lr=0.0025,
    weight_decay=0.01,
    momentum=0.9,
    warmup_bias_lr=0.0,
    paper="The Road Less Scheduled, arXiv 2405.15682, algorithm 1",
    policy="constant",
    averages=True,
)
def schedulefree(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    beta2: Annotated[float, "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, "added to the denominator"] = 1e-8,
) -> ScheduleFree:
    """AdamW that averages its weights in place of a schedule. `momentum` is its first beta."""
    return ScheduleFree(groups, lr, (momentum, beta2), eps)
