"""SGD with momentum and decoupled weight decay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor

import optimizers
from optimizers._step import DecoupledOptimizer, add_scaled_, check_range
from utils.errors import UserError


class Coefficients(NamedTuple):
    """Arguments of torch's coupled kernel that make it do one decoupled step, and what the buffer then holds."""

    lr: float
    momentum: float
    gain: float  # one minus the kernel's dampening
    weight_decay: float
    scale: float
    shift: float


def coefficients(
    scale: float, shift: float, lr: float, decay: float, momentum: float, gain: float, nesterov: bool
) -> Coefficients:
    """One decoupled step as one coupled step, by a change of variables.

    torch's fused kernel knows `z = m z + s (g + w x)`, `x -= L z` (Nesterov: `x -= L (g + w x + m z)`), whose decay
    `w` leaks into the buffer. Wanted is `b = momentum b + gain g`, `x = (1 - lr decay) x - lr b` (Nesterov:
    `- lr (g + momentum b)`). Let the buffer hold `z = scale b + shift x` in place of b. Both maps are linear in
    (b, x, g), so matching them for the next scale and shift too gives m, s, w, L in closed form: one pass over
    memory, no second one for the decay. At decay 0 all of it is the identity.
    """
    keep = 1 - lr * decay
    if not nesterov:
        m = momentum / scale
        return Coefficients(lr, m, gain, (decay - m * shift) / gain, 1 / keep, decay / keep)
    ratio = shift / scale
    y = momentum * (momentum * ratio + decay) / (1 + momentum * keep - lr * momentum**2 * ratio)
    grow = 1 + lr * y
    root = math.sqrt(scale * grow)
    m = momentum / root
    s = (momentum - lr * y) / (grow * m)
    return Coefficients(lr * grow, m, s, (decay - keep * y) / grow, root, root * y / (momentum * grow))


class SGDW(DecoupledOptimizer):
    """SGDW: "Decoupled Weight Decay Regularization", arXiv 1711.05101, algorithm 1, and torch's form of it.

    With gradient g, momentum mu, rate lr, base rate alpha, decay lambda, dampening d, x on the right before the step:

        convention="torch":  b = mu b + (1 - d) g;      x = x - lr lambda x - lr b            (first step: b = g)
            with nesterov:                              x = x - lr lambda x - lr (g + mu b)
        convention="paper":  b = mu b + (1 - d) lr g;   x = x - (lr / alpha) lambda x - b
            with nesterov:                              x = x - (lr / alpha) lambda x - (lr g + mu b)

    "torch" without decay is torch.optim.SGD. In "paper", which has no Nesterov form, the rate a gradient came with
    stays with it in the momentum, and Nesterov looks ahead along that momentum.

    On devices with torch's fused SGD kernel a step is one such kernel, and the saved `momentum_buffer` is
    `scale b + shift x` (see `coefficients`), scale and shift being saved with it. Writing to the parameters between
    steps therefore moves the momentum by about lambda times the change. Where `lr`, `momentum` or `weight_decay` is
    a tensor, as for CUDA graphs, or there is no such kernel, a few foreach operations do the same.

    Args:
        params: parameters or groups; a group may have its own `initial_lr`, the base rate (default: its lr).
        lr: rate, a number or a tensor of one element.
        momentum: mu, at least 0, below 1.
        weight_decay: lambda.
        nesterov: look ahead along the momentum; needs momentum and no dampening.
        dampening: share of each gradient kept out of the momentum, at least 0, below 1.
        convention: "torch" or "paper".
        maximize: climb instead of descend.

    Raises:
        UserError: a value out of range, complex parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 0.01,
        momentum: float | Tensor = 0.937,
        weight_decay: float | Tensor = 0.0,
        *,
        nesterov: bool = False,
        dampening: float = 0.0,
        convention: str = "torch",
        maximize: bool = False,
    ) -> None:
        check_range("momentum", momentum, below=1)
        check_range("dampening", dampening, below=1)
        if nesterov and (momentum == 0 or dampening != 0):
            raise UserError("nesterov=true needs momentum above 0 and dampening=0; pass nesterov=false")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, defaults | {"dampening": dampening, "convention": convention, "maximize": maximize})

    def kind(self, group: dict[str, Any], parameter: Tensor) -> tuple[Any, ...]:
        """Buffers are stepped together when they hold the same mixture; a new one holds nothing."""
        state = self.state.get(parameter, {})
        return (state.get("scale", 1.0), state.get("shift", 0.0)) if "momentum_buffer" in state else (None, 0.0)

    def advance(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor, fused: bool
    ) -> None:
        """Step with torch's fused kernel where there is one and it can take the numbers, else with `_plain`."""
        lr, momentum = group["lr"], group["momentum"]
        fused = fused and not any(isinstance(value, Tensor) for value in (lr, momentum, rate))
        scale, shift = self.kind(group, params[0])
        if fused and momentum == 0:
            self._fused(group, params, grads, [], Coefficients(lr, 0.0, 1.0, rate, 1.0, 0.0))
            return
        fresh = scale is None
        for p in params if fresh else ():
            self.state[p]["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        paper = group["convention"] == "paper"
        gain = 1.0 if fresh and not paper else 1.0 - group["dampening"]
        unit = lr if paper else 1.0  # the buffer in units of the kernel's, which has no rate inside
        if not fused or unit == 0 or lr * rate >= 1:
            self._plain(group, params, grads, buffers, (1.0 if fresh else scale, shift), rate, gain)
            scale, shift = 1.0, 0.0
        else:
            before = 1.0 if fresh else scale * unit
            step = coefficients(before, shift, lr, rate, momentum, gain, group["nesterov"])
            self._fused(group, params, grads, buffers, step)
            scale, shift = step.scale / unit, step.shift
        for p in params:
            self.state[p].update(scale=scale, shift=shift)

    def _fused(self, group: dict[str, Any], params, grads, buffers, step: Coefficients) -> None:
        torch._fused_sgd_(
            params,
            grads,
            buffers,
            lr=step.lr,
            momentum=step.momentum,
            dampening=1 - step.gain,
            weight_decay=step.weight_decay,
            nesterov=group["nesterov"] and step.momentum != 0,
            maximize=group["maximize"],
            is_first_step=False,
        )

    def _plain(self, group, params, grads, buffers, mixture: tuple[float, float], rate, gain: float) -> None:
        """The update as it is written above; numbers may be tensors, which are read on the device."""
        scale, shift = mixture
        if (scale, shift) != (1.0, 0.0):
            add_scaled_(buffers, params, -shift)
            torch._foreach_div_(buffers, scale)
        lr, momentum, paper = group["lr"], group["momentum"], group["convention"] == "paper"
        sign = -1 if group["maximize"] else 1
        inside, outside = (lr, 1.0) if paper else (1.0, lr)
        torch._foreach_mul_(params, 1 - lr * rate)
        torch._foreach_mul_(buffers, momentum)
        add_scaled_(buffers, grads, sign * gain * inside)
        if group["nesterov"]:
            add_scaled_(params, grads, -sign * lr)
            outside = outside * momentum
        add_scaled_(params, buffers, -outside)


@optimizers.register(
    "sgdw",
    lr=0.01,
    weight_decay=0.0005,
    momentum=0.937,
    warmup_bias_lr=0.1,
    paper="Decoupled Weight Decay Regularization, arXiv 1711.05101, algorithm 1",
)
def sgdw(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    nesterov: Annotated[bool, "look ahead along the momentum"] = True,
    dampening: Annotated[float, "share of the gradient kept out of the momentum"] = 0.0,
    convention: Annotated[
        Literal["torch", "paper"], "decay by lr * weight_decay, or apart from the base rate"
    ] = "torch",
    maximize: Annotated[bool, "climb instead of descend"] = False,
) -> SGDW:
    """SGD whose decay acts on the weights alone."""
    ahead = nesterov and momentum > 0
    return SGDW(groups, lr, momentum, nesterov=ahead, dampening=dampening, convention=convention, maximize=maximize)
