"""What the update rules share: which multi-tensor kernels a device has, buckets of tensors, and the checks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from utils.errors import UserError, nearest

FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")
CONVENTIONS = ("torch", "paper")


def has_fused(parameters: Iterable[Tensor]) -> bool:
    """True where torch has fused optimizer kernels for every one of these: real floating point, a known device.

    On a CPU of at least 32 bits: the SGD kernel of torch 2.11 errs in bfloat16.
    """
    return all(
        p.device.type in FUSED_DEVICES and p.is_floating_point() and (p.device.type != "cpu" or p.element_size() >= 4)
        for p in parameters
    )


def fused_or_foreach(groups: Iterable[Mapping[str, Any]]) -> dict[str, bool]:
    """The keyword that turns on the fastest of torch's own paths for these groups."""
    return {"fused": True} if has_fused(p for group in groups for p in group["params"]) else {"foreach": True}


def add_scaled_(targets: list[Tensor], others: list[Tensor], alpha: float | Tensor) -> None:
    """`targets += alpha others`; a tensor `alpha` stays on the device, at the price of a temporary."""
    if isinstance(alpha, Tensor):
        torch._foreach_add_(targets, torch._foreach_mul(others, alpha))
    else:
        torch._foreach_add_(targets, others, alpha=alpha)


class DecoupledOptimizer(Optimizer):
    """An optimizer whose decay acts on the parameters alone; a rule gives `advance`.

    A group's `convention` says what its `weight_decay` (lambda) means at the rate `lr`, base rate `initial_lr`:
    "torch" takes `lr lambda` of each parameter a step, "paper" `(lr / initial_lr) lambda` (arXiv 1711.05101). A rule
    that sets none has "torch".
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; also notes the base rate, and refuses complex parameters and values out of range."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("initial_lr", float(group["lr"]))
        group.setdefault("convention", "torch")
        if any(p.is_complex() for p in group["params"]):
            raise UserError(f"{type(self).__name__} does not take complex parameters; give their real views")
        check_range("lr", group["lr"])
        check_range("weight_decay", group["weight_decay"])
        if group["convention"] not in CONVENTIONS:
            raise UserError(f"unknown convention '{group['convention']}'; {nearest(group['convention'], CONVENTIONS)}")
        if group["convention"] == "paper" and group["initial_lr"] <= 0:
            raise UserError("convention=paper divides by the base rate; lr must be above 0")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step over every parameter that has a gradient; returns what `closure` returns.

        Raises:
            RuntimeError: a gradient is sparse, or a CUDA graph is being captured while `lr` is a number.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            buckets: dict[tuple[Hashable, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.layout is not torch.strided:
                    raise RuntimeError(f"{type(self).__name__} does not take sparse gradients; give dense ones")
                # fused kernels walk the memory of both alike, and torch does not check that they may
                alike = p.grad.stride() == p.stride()
                buckets.setdefault((alike, p.device, p.dtype, *self.kind(group, p)), []).append(p)
            on_gpu = bool(buckets) and group["params"][0].is_cuda
            if on_gpu and not isinstance(group["lr"], Tensor) and torch.cuda.is_current_stream_capturing():
                raise RuntimeError("a CUDA graph would freeze lr; give lr, momentum and weight_decay as tensors")
            rate = group["weight_decay"]
            if group["convention"] == "paper":
                rate = rate / group["initial_lr"]  # lr times this is eta lambda
            for (alike, *_), params in buckets.items():
                grads = [p.grad for p in params if p.grad is not None]  # all of them, by the loop above
                self.advance(group, params, grads, rate, alike and has_fused(params[:1]))
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; tensors saved from another memory format take that of their parameters."""
        super().load_state_dict(state_dict)
        for p, state in self.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == p.shape and value.stride() != p.stride():
                    state[key] = torch.empty_like(p, dtype=value.dtype).copy_(value)

    def kind(self, group: dict[str, Any], parameter: Tensor) -> tuple[Hashable, ...]:
        """What parameters must share, besides device and dtype, to be stepped in one call."""
        return ()

    def buffers(self, params: list[Tensor], names: Iterable[str]) -> list[list[Tensor]]:
        """The tensors that the state calls `names`, a list a name; new ones are zero, of their parameter's layout."""
        names = list(names)
        for p in params:
            for name in names:
                if name not in self.state[p]:
                    self.state[p][name] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return [[self.state[p][name] for p in params] for name in names]

    def advance(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], rate: float | Tensor, fused: bool
    ) -> None:
        """Step `params`, all of one kind; the decay takes `lr * rate` of each. `fused`: torch's kernels may be used."""
        raise NotImplementedError


def check_range(name: str, value: float | Tensor, below: float = float("inf")) -> None:
    """Raise a UserError unless `0 <= value < below`."""
    if not 0 <= value < below:
        limit = "" if below == float("inf") else f" and below {below:g}"
        raise UserError(f"{name}={float(value):g} is out of range; it must be at least 0{limit}")


def check_betas(betas: tuple[float | Tensor, float | Tensor], eps: float = 0.0) -> None:
    """Raise a UserError for what no rule with two averages takes."""
    check_range("momentum (beta1)", betas[0], below=1)
    check_range("beta2", betas[1], below=1)
    check_range("eps", eps)
