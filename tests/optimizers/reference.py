"""Algorithms 1 and 2 of arXiv 1711.05101 and torch's form of them, one tensor at a time, and a run to compare on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Schedule = Callable[[int], tuple[float, float]]


def sgdr(base: float, steps: int) -> Schedule:
    """Warm-up from 0, then three cosine cycles down to 0.1 % of `base`; momentum moves with them."""

    def at(step: int) -> tuple[float, float]:
        phase = 3 * step / steps % 1
        factor = 0.001 + 0.999 * (1 + math.cos(math.pi * phase)) / 2
        return base * factor * min(1.0, step / 10), 0.8 + 0.15 * phase

    return at


class PlainSGDW:
    def __init__(self, params: list[Tensor], alpha: float, decay: float, *, paper: bool, nesterov: bool, damp: float):
        self.params, self.alpha, self.decay = params, alpha, decay
        self.paper, self.nesterov, self.damp = paper, nesterov, damp
        self.momentum = [torch.zeros_like(p) for p in params]
        self.steps = 0

    @torch.no_grad()
    def step(self, lr: float, mu: float) -> None:
        for p, m in zip(self.params, self.momentum, strict=True):
            before, g = p.clone(), p.grad
            if self.paper:
                eta = lr / self.alpha
                m.copy_(mu * m + (1 - self.damp) * eta * self.alpha * g)
                move = mu * m + eta * self.alpha * g if self.nesterov else m
                p.copy_(before - move - eta * self.decay * before)
            else:
                kept = 1.0 if self.steps == 0 else 1 - self.damp  # as torch.optim.SGD
                m.copy_(mu * m + kept * g)
                move = g + mu * m if self.nesterov else m
                p.copy_(before * (1 - lr * self.decay) - lr * move)
        self.steps += 1


class PlainAdamW:
    def __init__(self, params: list[Tensor], alpha: float, decay: float, *, paper: bool, amsgrad: bool = False):
        self.params, self.alpha, self.decay, self.paper, self.amsgrad = params, alpha, decay, paper, amsgrad
        self.m, self.v, self.top = ([torch.zeros_like(p) for p in params] for _ in range(3))
        self.steps = 0

    @torch.no_grad()
    def step(self, lr: float, beta1: float, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.steps += 1
        for p, m, v, top in zip(self.params, self.m, self.v, self.top, strict=True):
            before, g, eta = p.clone(), p.grad, lr / self.alpha
            m.copy_(beta1 * m + (1 - beta1) * g)
            v.copy_(beta2 * v + (1 - beta2) * g * g)
            top.copy_(torch.maximum(top, v))
            m_hat = m / (1 - beta1**self.steps)
            v_hat = (top if self.amsgrad else v) / (1 - beta2**self.steps)
            factor = eta * self.decay if self.paper else lr * self.decay
            p.copy_(before - lr * m_hat / (v_hat.sqrt() + eps) - factor * before)


SHAPES: tuple[tuple[int, ...], ...] = ((7, 5), (11,))


def start(dtype: torch.dtype, seed: int = 0, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Tensor]:
    """Tensors of about unit size, by default a matrix and a vector."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def gradients(params: list[Tensor], step: int) -> list[Tensor]:
    """A bowl's gradient with noise, the same for the same step."""
    generator = torch.Generator().manual_seed(1000 + step)
    noise = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in params]
    return [(p.detach().double() + n.to(p.device)).to(p.dtype) for p, n in zip(params, noise, strict=True)]


def write(optimizer: torch.optim.Optimizer, lr: float, momentum: float) -> None:
    """Write a schedule's values as the schedule does; a tensor is filled."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"].fill_(lr) if isinstance(group["lr"], Tensor) else lr
        if "momentum" in group:
            old = group["momentum"]
            group["momentum"] = old.fill_(momentum) if isinstance(old, Tensor) else momentum
        else:
            old, beta2 = group["betas"]
            group["betas"] = (old.fill_(momentum) if isinstance(old, Tensor) else momentum, beta2)


def largest_gap(
    ours,
    make_theirs,
    dtype: torch.dtype,
    base: float,
    steps: int = 200,
    sign: float = 1.0,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
) -> float:
    """Run both over the same gradients under a changing schedule; the largest difference of any weight at any step,
    as a share of the largest weight (rounding errors add up in units of it).

    `ours` and `make_theirs` take the parameters; theirs is a torch optimizer or one of the classes above.
    `sign` -1 hands ours the negative gradients.
    """
    a, b = start(dtype, shapes=shapes), start(dtype, shapes=shapes)
    mine, theirs, schedule, gap = ours(a), make_theirs(b), sgdr(base, steps), 0.0
    largest = 0.0
    for step in range(steps):
        lr, momentum = schedule(step)
        write(mine, lr, momentum)
        for p, q, g in zip(a, b, gradients(b, step), strict=True):
            p.grad, q.grad = sign * g, g.clone()
        mine.step()
        if isinstance(theirs, torch.optim.Optimizer):
            write(theirs, lr, momentum)
            theirs.step()
        else:
            theirs.step(lr, momentum)
        gap = max(gap, *((p.detach() - q.detach()).abs().max().item() for p, q in zip(a, b, strict=True)))
        largest = max(largest, *(q.detach().abs().max().item() for q in b))
    return gap / largest
