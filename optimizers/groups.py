"""The three parameter groups: norm weights, weights, biases. Only the weights decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


def _role(module: nn.Module, name: str, parameter: nn.Parameter) -> str:
    """The group of the parameter a module calls `name`."""
    if name == "bias" or name.endswith("_bias") or name.startswith("bias_"):
        return "bias"
    if "norm" in type(module).__name__.lower():  # torch's, and those people write themselves
        return "norm"
    if name == "weight":
        return "weight"
    return "weight" if parameter.ndim >= 2 else "bias"


def parameter_groups(model: nn.Module, weight_decay: float | None = None) -> list[dict[str, Any]]:
    """Every trainable parameter of `model` in exactly one of three groups, in the order of the columns `x/lr0..2`.

    "norm": weights of BatchNorm and the other norms; "weight": other weights, and bare parameters of two or more
    dimensions; "bias": biases, and the other bare parameters. A shared parameter goes where it is first met; frozen
    ones (`requires_grad` False) are left out. `weight_decay` is that of the weights; None leaves it to the optimizer.
    Parameters of `model.head`, the network's output, get an attribute `is_output`, for rules that treat it otherwise.

    Raises:
        RuntimeError: a trainable parameter in no group, or in more than one.
    """
    members: dict[str, list[nn.Parameter]] = {"norm": [], "weight": [], "bias": []}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                members[_role(module, name, parameter)].append(parameter)
    _check(model, members)
    _mark_output(model)
    decays = {"norm": 0.0, "weight": weight_decay, "bias": 0.0}
    return [{"params": params, "name": name, "weight_decay": decays[name]} for name, params in members.items()]


def _mark_output(model: nn.Module) -> None:
    head = getattr(model, "head", None)
    for parameter in head.parameters() if isinstance(head, nn.Module) else ():
        parameter.is_output = True  # type: ignore[attr-defined]


def _check(model: nn.Module, members: dict[str, list[nn.Parameter]]) -> None:
    """Hold the groups against the model's own list of parameters."""
    grouped = [id(p) for params in members.values() for p in params]
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    missing = [name for key, name in names.items() if key not in set(grouped)]
    if missing:
        raise RuntimeError(f"parameters in no group: {', '.join(missing)}")
    if len(grouped) != len(set(grouped)):
        raise RuntimeError("a parameter is in more than one group")


def describe_groups(optimizer: Optimizer) -> list[str]:
    """One line a group: its name, tensors, values, rate and decay."""
    lines = []
    for index, group in enumerate(optimizer.param_groups):
        params = group["params"]
        values = sum(p.numel() for p in params)
        lr, decay = _number(group.get("initial_lr", group["lr"])), _number(group["weight_decay"])
        name = group.get("name", f"group {index}")
        lines.append(f"{name:8s} {len(params):4d} tensors {values:12,d} values  lr {lr:g}  weight_decay {decay:g}")
    return lines


def _number(value: float | torch.Tensor) -> float:
    return value.item() if isinstance(value, torch.Tensor) else value
