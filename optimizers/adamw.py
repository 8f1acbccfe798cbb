"""Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

import optimizers
from optimizers._step import DecoupledOptimizer, add_scaled_, check_betas


class AdamW(DecoupledOptimizer):
    """AdamW: "Decoupled Weight Decay Regularization", arXiv 1711.05101, algorithm 2, and torch's form of it.

    With gradient g, rate lr, base rate alpha, decay lambda, step t from 1, x on the right before the step:

        m = beta1 m + (1 - beta1) g;       v = beta2 v + (1 - beta2) g^2
        u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
        convention="torch":  x = x - lr lambda x - lr u                   as torch.optim.AdamW
        convention="paper":  x = x - (lr / alpha) lambda x - lr u         eta = lr / alpha is the schedule's factor

    With amsgrad ("On the Convergence of Adam and Beyond", arXiv 1904.09237) v in u is the largest so far.

    On devices with torch's fused AdamW kernel a step is one such kernel. Where a beta or `weight_decay` is a tensor,
    as for CUDA graphs, or there is no such kernel, foreach operations do the same. Step counts live on the device.

    Args:
        params: parameters or groups; a group may have its own `initial_lr`, the base rate (default: its lr).
        lr: rate, a number or a tensor of one element.
        betas: beta1, which is what "momentum" means here, and beta2; each at least 0, below 1.
        eps: added to the denominator.
        weight_decay: lambda.
        amsgrad: divide by the largest v so far.
        convention: "torch" or "paper".
        maximize: climb instead of descend.

    Raises:
        UserError: a value out of range, complex parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Tensor = 0.0,
        *,
        amsgrad: bool = False,
        convention: str = "torch",
        maximize: bool = False,
    ) -> None:
        check_betas(betas, eps)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        # capturable makes load_state_dict put the step counts on the parameters' device
        super().__init__(params, defaults | {"convention": convention, "maximize": maximize, "capturable": True})

    def advance(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor, fused: bool
    ) -> None:
        """Step with torch's fused kernel where there is one and it can take the numbers, else with `_plain`."""
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        for p in params:
            if not self.state.get(p):
                self.state[p]["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
        steps = [self.state[p]["step"] for p in params]
        moments = self.buffers(params, names)
        torch._foreach_add_(steps, 1)
        if fused and not any(isinstance(value, Tensor) for value in (*group["betas"], rate)):
            torch._fused_adamw_(
                params,
                grads,
                moments[0],
                moments[1],
                moments[2] if group["amsgrad"] else [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=rate,
                eps=group["eps"],
                amsgrad=group["amsgrad"],
                maximize=group["maximize"],
            )
        else:
            self._plain(group, params, grads, moments, steps, rate)

    def _plain(self, group, params, grads, moments, steps, rate) -> None:
        """The update as it is written above; numbers may be tensors, which are read on the device."""
        lr, (beta1, beta2) = group["lr"], group["betas"]
        average, square = moments[0], moments[1]
        torch._foreach_mul_(params, 1 - lr * rate)
        torch._foreach_mul_(average, beta1)
        add_scaled_(average, grads, (1 - beta1) * (-1 if group["maximize"] else 1))
        torch._foreach_mul_(square, beta2)
        add_scaled_(square, torch._foreach_mul(grads, grads), 1 - beta2)
        if group["amsgrad"]:
            torch._foreach_maximum_(moments[2], square)
        # in double, for 1 - beta^t loses seven digits of float32 where beta2 is near 1
        count = torch.stack(steps).double()
        first, second = (1 - torch.pow(beta, count) for beta in (beta1, beta2))
        denominator = torch._foreach_sqrt(moments[-1])
        torch._foreach_div_(denominator, list(second.sqrt().unbind()))
        torch._foreach_add_(denominator, group["eps"])
        torch._foreach_mul_(denominator, list((-first / lr).unbind()))
        torch._foreach_addcdiv_(params, average, denominator)


@optimizers.register(
    "adamw",
    lr=0.001,
    weight_decay=0.01,
    momentum=0.937,
    warmup_bias_lr=0.0,
    paper="Decoupled Weight Decay Regularization, arXiv 1711.05101, algorithm 2",
)
def adamw(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    beta2: Annotated[float, "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, "added to the denominator"] = 1e-8,
    amsgrad: Annotated[bool, "divide by the largest mean squared gradient so far"] = False,
    convention: Annotated[
        Literal["torch", "paper"], "decay by lr * weight_decay, or apart from the base rate"
    ] = "torch",
    maximize: Annotated[bool, "climb instead of descend"] = False,
) -> AdamW:
    """Adam whose decay acts on the weights alone. `momentum` is its first beta."""
    betas = (momentum, beta2)
    return AdamW(groups, lr, betas, eps, amsgrad=amsgrad, convention=convention, maximize=maximize)
