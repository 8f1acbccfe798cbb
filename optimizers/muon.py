"""Muon: an orthogonal step for the matrices, AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import Annotated, Any

import torch
from torch import Tensor

import optimizers
from optimizers._step import add_scaled_
from optimizers.adamw import AdamW
from utils.errors import UserError

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's: steepest at zero; singular values end between 0.7 and 1.2
SMALLEST_NORM = 1e-7
RMS_OF_ADAMW = 0.2


def orthogonalised(matrices: Tensor, steps: int) -> Tensor:
    """The nearest semi-orthogonal matrices to `matrices` (B, rows, columns), roughly: their singular values become
    about 1. By `steps` of a quintic Newton-Schulz iteration, X = a X + (b X X^T + c (X X^T)^2) X."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(steps):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(AdamW):
    """Muon: "Muon: An optimizer for hidden layers in neural networks" (Jordan and others, 2024), with the step's size
    and the decay of "Muon is Scalable for LLM Training", arXiv 2502.16982, section 2.2.

    For a weight x of two or more dimensions, as a matrix of A rows, its outputs, and B columns, all else (a
    convolution's inputs, height and width), with gradient g, momentum mu, rate lr, decay lambda:

        m = mu m + (1 - mu) g
        u = orthogonalised(mu m + (1 - mu) g)                 nesterov=False: of m
        x = x - lr lambda x - lr 0.2 sqrt(max(A, B)) u

    0.2 sqrt(max(A, B)) gives u the mean square that AdamW's steps have, so that one rate serves both. Tensors of one
    dimension, those of groups called "norm" or "bias", and the network's output, which `parameter_groups` marks
    `is_output`, take AdamW's step, with mu as its beta1.

    Matrices of one shape are orthogonalised together, in the weights' own number format. State: one tensor a matrix.

    Args:
        params: parameters or groups.
        lr: rate, that of AdamW.
        betas: mu, and AdamW's beta2; each at least 0, below 1.
        eps: AdamW's.
        weight_decay: lambda.
        nesterov: look ahead along the momentum.
        ns_steps: steps of the iteration, 1 or more.

    Raises:
        UserError: a value out of range, complex parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.95, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Tensor = 0.0,
        *,
        nesterov: bool = True,
        ns_steps: int = 5,
    ) -> None:
        if ns_steps < 1:
            raise UserError(f"ns_steps={ns_steps} is out of range; it must be at least 1")
        super().__init__(params, lr, betas, eps, weight_decay)
        own = {"nesterov": nesterov, "ns_steps": ns_steps}
        self.defaults |= own
        for group in self.param_groups:
            group |= own | group

    def kind(self, group: dict[str, Any], parameter: Tensor) -> tuple[Hashable, ...]:
        """(rows, columns) of a matrix; () of what takes AdamW's step."""
        role = str(group.get("name", "")).startswith(("norm", "bias"))
        if parameter.ndim < 2 or not parameter.numel() or role or getattr(parameter, "is_output", False):
            return ()
        return len(parameter), parameter.numel() // len(parameter)

    def advance(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor, fused: bool
    ) -> None:
        """Step matrices of one shape as it is written above, all else as AdamW does."""
        if not self.kind(group, params[0]):
            super().advance(group, params, grads, rate, fused)
            return
        lr, mu = group["lr"], group["betas"][0]
        (average,) = self.buffers(params, ["momentum_buffer"])
        torch._foreach_mul_(average, mu)
        add_scaled_(average, grads, 1 - mu)
        ahead = average
        if group["nesterov"]:
            ahead = list(torch._foreach_mul(average, mu))
            add_scaled_(ahead, grads, 1 - mu)
        matrices = orthogonalised(torch.stack([m.reshape(len(m), -1) for m in ahead]), group["ns_steps"])
        torch._foreach_mul_(params, 1 - lr * rate)
        size = RMS_OF_ADAMW * math.sqrt(max(matrices.shape[1:]))
        add_scaled_(params, [m.view_as(p) for m, p in zip(matrices.contiguous(), params, strict=True)], -lr * size)


@optimizers.register(
    "muon",
    lr=0.001,
    weight_decay=0.01,
    momentum=0.95,
    warmup_bias_lr=0.0,
    paper="Muon, Jordan and others 2024; Muon is Scalable for LLM Training, arXiv 2502.16982",
)
def muon(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    beta2: Annotated[float, "AdamW's: decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, "AdamW's: added to the denominator"] = 1e-8,
    nesterov: Annotated[bool, "look ahead along the momentum"] = True,
    ns_steps: Annotated[int, "steps of the iteration that makes a step orthogonal"] = 5,
) -> Muon:
    """Orthogonal steps for convolutions; AdamW's for norms, biases and the output. `momentum` is both's."""
    return Muon(groups, lr, (momentum, beta2), eps, nesterov=nesterov, ns_steps=ns_steps)
