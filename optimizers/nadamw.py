"""Adam with Nesterov's momentum and decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

import optimizers
from optimizers._counted import CountedOptimizer, move_moments
from optimizers._step import add_scaled_, check_betas, check_range


class NAdamW(CountedOptimizer):
    """NAdamW: "Incorporating Nesterov Momentum into Adam" (ICLR 2016 workshop) with the decay of arXiv 1711.05101.

    In torch's form, torch.optim.NAdam(decoupled_weight_decay=True). With gradient g, rate lr, decay lambda, step t from
    1, mu_t = beta1 (1 - 0.96^(t psi) / 2), P_t = mu_1 ... mu_t, x on the right before the step:

        m = beta1 m + (1 - beta1) g;       v = beta2 v + (1 - beta2) g^2
        u = (mu_(t+1) m / (1 - P_t mu_(t+1)) + (1 - mu_t) g / (1 - P_t)) / (sqrt(v / (1 - beta2^t)) + eps)
        x = x - lr lambda x - lr u

    mu is half of beta1 at first, and near it after some hundred steps. P is kept in double, which torch keeps in
    float32. State: two tensors and two numbers a parameter. A few foreach operations.

    Args:
        params: parameters or groups.
        lr: rate.
        betas: beta1, which is what "momentum" means here, and beta2; each at least 0, below 1.
        eps: added to the denominator.
        weight_decay: lambda.
        momentum_decay: psi; 0 keeps mu at half of beta1.

    Raises:
        UserError: a value out of range, complex parameters, a rate in a tensor.
    """

    counts: ClassVar[dict[str, float]] = {"step": 0, "mu_product": 1.0}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        momentum_decay: float = 0.004,
    ) -> None:
        check_betas(betas, eps)
        check_range("momentum_decay", momentum_decay)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"momentum_decay": momentum_decay})

    def advance(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor, fused: bool
    ) -> None:
        """The update as it is written above."""
        lr, beta1, psi = group["lr"], group["betas"][0], group["momentum_decay"]
        step, product = self.numbers(params[0])
        average, square = self.buffers(params, ["exp_avg", "exp_avg_sq"])
        step += 1
        mu, following = (beta1 * (1 - 0.96 ** (t * psi) / 2) for t in (step, step + 1))
        product *= mu
        torch._foreach_mul_(params, 1 - lr * rate)
        denominator = move_moments(average, square, grads, group["betas"], step, group["eps"])
        move = torch._foreach_mul(average, following / (1 - product * following))
        add_scaled_(move, grads, (1 - mu) / (1 - product))
        torch._foreach_addcdiv_(params, move, denominator, -lr)
        self.count(params, step=step, mu_product=product)


@optimizers.register(
    "nadamw",
    lr=0.001,
    weight_decay=0.01,
    momentum=0.937,
    warmup_bias_lr=0.0,
    paper="Incorporating Nesterov Momentum into Adam, ICLR 2016 workshop; decay of arXiv 1711.05101",
)
def nadamw(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    beta2: Annotated[float, "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, "added to the denominator"] = 1e-8,
    momentum_decay: Annotated[float, "how fast Nesterov's share of the momentum rises"] = 0.004,
) -> NAdamW:
    """AdamW that looks ahead along its momentum, as Nesterov's does. `momentum` is its first beta."""
    return NAdamW(groups, lr, (momentum, beta2), eps, momentum_decay=momentum_decay)
