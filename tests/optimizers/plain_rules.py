"""The algorithms of lion, nadamw, lamb, muon and schedulefree as their papers have them, one tensor at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from optimizers.lamb import Lamb
from optimizers.lion import Lion
from optimizers.muon import Muon
from optimizers.nadamw import NAdamW
from optimizers.schedulefree import ScheduleFree


class Plain:
    """Moments of each parameter, and a count of steps; a rule gives `move(p, g, m, v, lr, beta1)`, the new weights."""

    def __init__(self, params: list[Tensor], decay: float, **options: float | str) -> None:
        self.params, self.decay, self.options = params, decay, options
        self.m, self.v = ([torch.zeros_like(p) for p in params] for _ in range(2))
        self.steps = 0

    @torch.no_grad()
    def step(self, lr: float, beta1: float) -> None:
        self.steps += 1
        self.begin(beta1)
        for p, m, v in zip(self.params, self.m, self.v, strict=True):
            p.copy_(self.move(p.clone(), p.grad, m, v, lr, beta1))

    def begin(self, beta1: float) -> None:
        """What is the same for all parameters of a step."""

    def move(self, x: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: float, beta1: float) -> Tensor:
        raise NotImplementedError


class PlainLion(Plain):
    def move(self, x, g, m, v, lr, beta1, beta2=0.99):
        c = beta1 * m + (1 - beta1) * g
        m.copy_(beta2 * m + (1 - beta2) * g)
        return x - lr * (torch.sign(c) + self.decay * x)


class PlainNAdamW(Plain):
    product = 1.0

    def begin(self, beta1):
        self.mu, self.after = (beta1 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (self.steps, self.steps + 1))
        self.product *= self.mu

    def move(self, x, g, m, v, lr, beta1, beta2=0.999):
        m.copy_(beta1 * m + (1 - beta1) * g)
        v.copy_(beta2 * v + (1 - beta2) * g**2)
        m_hat = self.after * m / (1 - self.product * self.after) + (1 - self.mu) * g / (1 - self.product)
        v_hat = v / (1 - beta2**self.steps)
        return x - lr * self.decay * x - lr * m_hat / (v_hat.sqrt() + 1e-8)


class PlainLamb(Plain):
    def move(self, x, g, m, v, lr, beta1, beta2=0.999):
        m.copy_(beta1 * m + (1 - beta1) * g)
        v.copy_(beta2 * v + (1 - beta2) * g**2)
        r = (m / (1 - beta1**self.steps)) / ((v / (1 - beta2**self.steps)).sqrt() + 1e-6)
        whole = r + self.decay * x
        length, moved, ratio = (x**2).sum().sqrt().item(), (whole**2).sum().sqrt().item(), 1.0
        if length and moved and (x.ndim >= 2 or self.options.get("adapt") == "all"):
            ratio = length / moved
        return x - lr * ratio * whole


class PlainMuon(Plain):
    def move(self, x, g, m, v, lr, mu, beta2=0.999):
        m.copy_(mu * m + (1 - mu) * g)
        if x.ndim < 2:
            v.copy_(beta2 * v + (1 - beta2) * g**2)
            r = (m / (1 - mu**self.steps)) / ((v / (1 - beta2**self.steps)).sqrt() + 1e-8)
            return x - lr * (r + self.decay * x)
        u = (mu * m + (1 - mu) * g if self.options.get("nesterov", True) else m).reshape(len(x), -1)
        u = u / (u**2).sum().sqrt()
        for _ in range(5):
            a = u @ u.T
            u = 3.4445 * u + (-4.7750 * a + 2.0315 * a @ a) @ u
        return x - lr * (0.2 * max(u.shape) ** 0.5 * u.reshape(x.shape) + self.decay * x)


class PlainScheduleFree(Plain):
    """Here `m` holds z; x, the mean, beside it."""

    def __init__(self, params, decay, **options):
        super().__init__(params, decay, **options)
        self.m, self.x = ([p.detach().clone() for p in params] for _ in range(2))
        self.squares = 0.0

    def begin(self, beta1):
        self.left = iter(self.x)

    def move(self, y, g, z, v, lr, beta1, beta2=0.999):
        x = next(self.left)
        gamma = lr * (1 - beta2**self.steps) ** 0.5
        self.squares += gamma**2 if x is self.x[0] else 0.0  # once a step
        v.copy_(beta2 * v + (1 - beta2) * g**2)
        z.copy_(z - gamma * g / (v.sqrt() + 1e-8) - gamma * self.decay * y)
        c = gamma**2 / self.squares if self.squares else 1.0
        x.copy_((1 - c) * x + c * z)
        return (1 - beta1) * z + beta1 * x


PAIRS = [
    pytest.param(Lion, PlainLion, {}, id="lion"),
    pytest.param(NAdamW, PlainNAdamW, {}, id="nadamw"),
    pytest.param(Lamb, PlainLamb, {}, id="lamb"),
    pytest.param(Lamb, PlainLamb, {"adapt": "all"}, id="lamb-all"),
    pytest.param(Muon, PlainMuon, {}, id="muon"),
    pytest.param(Muon, PlainMuon, {"nesterov": False}, id="muon-heavy-ball"),
    pytest.param(ScheduleFree, PlainScheduleFree, {}, id="schedulefree"),
]
