"""Rates that are tensors of a GPU that is not there: steps with them wait for nothing, as a recording needs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import optimizers
from optimizers.adamw import AdamW
from optimizers.sgdw import SGDW
from schedulers import Schedule, build
from tests.dry_cuda import DryCuda


def there(value: float) -> Tensor:
    return torch.full((), value, device="cuda")


@pytest.mark.parametrize("convention", ["torch", "paper"])
@pytest.mark.parametrize("rule", [SGDW, AdamW])
def test_steps_at_rates_on_the_device_wait_for_nothing(rule: type, convention: str) -> None:
    with DryCuda() as dry:
        params = [torch.zeros(shape, device="cuda", requires_grad=True) for shape in ((7, 5), (11,))]
        more = {"nesterov": True} if rule is SGDW else {"amsgrad": True}
        optimizer = rule(params, 0.01, weight_decay=0.1, convention=convention, **more)  # a range is checked by waiting
        schedule = Schedule(build("cosine", total_steps=10, steps_per_epoch=2, lr0=0.01), optimizer, warmup_steps=2)
        (group,) = optimizer.param_groups
        group |= {"lr": there(0.01), "weight_decay": there(0.1)}
        group |= {"momentum": there(0.9)} if rule is SGDW else {"betas": (there(0.9), there(0.999))}
        rates = group["lr"], group.get("momentum", group.get("betas"))
        with dry.nothing_waits():
            for step in range(3):
                for p in params:
                    p.grad = torch.zeros_like(p)
                schedule.apply(step)
                optimizer.step()
        assert group["lr"] is rates[0]
        assert group.get("momentum", group.get("betas")) is rates[1]


@pytest.mark.parametrize("name", ["lion", "nadamw", "lamb", "muon", "schedulefree"])
def test_steps_of_the_other_rules_wait_for_nothing(name: str) -> None:
    with DryCuda() as dry:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)).to("cuda")
        optimizer = optimizers.build(name, optimizers.parameter_groups(model), weight_decay=0.1)
        schedule = Schedule(build("cosine", total_steps=10, steps_per_epoch=2, lr0=0.01), optimizer, warmup_steps=2)
        with dry.nothing_waits():
            for step in range(3):
                for p in model.parameters():
                    p.grad = torch.zeros_like(p)
                schedule.apply(step)
                optimizer.step()
        assert all(v.is_cuda for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor))
