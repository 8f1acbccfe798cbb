"""The one writer: a policy and a warm-up become the rates, momenta and normalised decay of an optimizer."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from schedulers.policy import Policy, build, option_fields
from utils.errors import UserError


@dataclass(frozen=True)
class NormalisedDecay:
    """Weight decay that does not depend on a run's length: lambda = lambda_norm sqrt(b / (B E)).

    Decoupled Weight Decay Regularization, arXiv 1711.05101, appendix B.1. `batch` is the effective batch b, `images`
    the training images B; E is the run's epochs, or the current cycle's under a policy with restarts.
    """

    lambda_norm: float
    batch: int
    images: int

    def at(self, epochs: float) -> float:
        """The decay for `epochs` epochs."""
        return self.lambda_norm * math.sqrt(self.batch / (self.images * epochs))


class Schedule:
    """Writes lr, momentum (`momentum`, or the first of `betas`) and normalised decay; nothing else may.

    A group's base rate is its `initial_lr` (its `lr` where it has none); the group called `bias_group` warms up from
    `warmup_bias_lr`, the others from 0, momentum from `warmup_momentum`. Where the policy leaves momentum alone it goes
    to `momentum`, by default the group's own (kept in the group as `initial_momentum`, so that a resume in the middle
    of a warm-up finds it). `wd_norm` writes `weight_decay` into the groups that have one.

    A group may have more to say: `role`, the kind that it is of in place of its name; `lr_scale`, its share of
    `warmup_bias_lr`; `begins`, the epoch before which its rate is 0 because it is frozen, and `rises`, the epochs of
    its own warm-up from there, from 0 and at most a fifth of what is left.

    `thaws` has (first step, steps of warm-up) of each group that begins later, None of the others.

    Of `optimizer` only `param_groups` is used, a list of dicts; any object that has it will do. A warm-up of a policy
    that ramps by itself is a UserError.
    """

    def __init__(
        self,
        policy: Policy,
        optimizer: Any,
        warmup_steps: int = 0,
        *,
        warmup_bias_lr: float = 0.1,
        warmup_momentum: float = 0.8,
        momentum: float | None = None,
        bias_group: str = "bias",
        wd_norm: NormalisedDecay | None = None,
    ) -> None:
        if policy.ramps and warmup_steps > 0:
            raise UserError(f"policy '{policy.name}' ramps up by itself and takes no warm-up; set its epochs to 0")
        self.policy = policy
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.warmup_bias_lr = warmup_bias_lr
        self.warmup_momentum = warmup_momentum
        self.wd_norm = wd_norm
        self._starts, self._momenta, self._decays, self.thaws = [], [], [], []
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
            own = group["momentum"] if "momentum" in group else group["betas"][0] if "betas" in group else None
            if own is not None:
                own = group.setdefault("initial_momentum", float(own))
            bias = group.get("role", group.get("name")) == bias_group and "begins" not in group
            self._starts.append(warmup_bias_lr * group.get("lr_scale", 1.0) if bias else 0.0)
            self.thaws.append(_thaw(group, policy) if "begins" in group else None)
            self._momenta.append(own if own is None or momentum is None else momentum)
            self._decays.append(group.get("weight_decay", 0) > 0)
        if wd_norm is not None and not any(self._decays):
            raise UserError("normalised weight decay needs a group that decays; give a weight decay above 0")

    @property
    def momentum(self) -> float | None:
        """Where momentum goes when the policy leaves it; None for an optimizer without."""
        return next((m for m in self._momenta if m is not None), None)

    def values(self, step: int) -> list[tuple[float, float | None]]:
        """(lr, momentum) of each group at `step`, without writing them."""
        point = self.policy.at(step)
        values = []
        # read from the optimizer each time: load_state_dict replaces its groups
        own = zip(self.optimizer.param_groups, self._starts, self._momenta, self.thaws, strict=True)
        for group, start, momentum, thaw in own:
            begin, rise = thaw or (0, self.warmup_steps)
            warm = max(step - begin, 0) / rise if step < begin + rise else None
            lr = group["initial_lr"] * point.lr if step >= begin else 0.0
            if momentum is not None and point.momentum is not None:
                momentum = point.momentum
            if warm is not None:
                lr = start + (lr - start) * warm
                if momentum is not None:
                    momentum = self.warmup_momentum + (momentum - self.warmup_momentum) * warm
            values.append((lr, momentum))
        return values

    def apply(self, step: int) -> None:
        """Write the values of `step` (counted from 0) into the optimizer, before its step."""
        for group, (lr, momentum) in zip(self.optimizer.param_groups, self.values(step), strict=True):
            _write(group, "lr", lr)
            if momentum is None:
                continue
            if "momentum" in group:
                _write(group, "momentum", momentum)
            elif hasattr(group["betas"][0], "fill_"):
                group["betas"][0].fill_(momentum)
            else:
                group["betas"] = (momentum, group["betas"][1])
        if self.wd_norm is not None:
            decay = self.wd_norm.at(self.policy.cycle_epochs(step))
            for group, decays in zip(self.optimizer.param_groups, self._decays, strict=True):
                if decays:
                    _write(group, "weight_decay", decay)


def _thaw(group: dict[str, Any], policy: Policy) -> tuple[int, int]:
    """The step at which a group that is frozen before begins, and the steps of its warm-up, from 1 on."""
    begin = round(group["begins"] * policy.steps_per_epoch)
    left = max(policy.total_steps - begin, 0)
    return begin, max(min(round(group["rises"] * policy.steps_per_epoch), left // 5), 1)


def _write(group: dict[str, Any], key: str, value: float) -> None:
    old = group[key]
    if hasattr(old, "fill_"):  # a tensor that a captured graph reads: it must stay the same one
        old.fill_(value)
    else:
        group[key] = value


def warmup_steps(policy: Policy, total_steps: int, steps_per_epoch: int, epochs: float) -> int:
    """Steps of a warm-up of `epochs`: at most what the policy has room for, and none where it ramps by itself.

    That is a fifth of the run, with restarts a fifth of the first cycle, and with wsd all that is before the decay.
    """
    return 0 if policy.ramps else min(round(epochs * steps_per_epoch), policy.longest_warmup(total_steps))


def facts(schedule: Schedule) -> dict[str, Any]:
    """A schedule as plain values, for a checkpoint; `from_facts` builds it again."""
    policy = schedule.policy
    return {
        "policy": policy.name,
        "options": {field.name: getattr(policy, field.name) for field in option_fields(type(policy))},
        "total_steps": policy.total_steps,
        "steps_per_epoch": policy.steps_per_epoch,
        "lr0": policy.lr0,
        "momentum": schedule.momentum,
        "warmup_steps": schedule.warmup_steps,
        "warmup_bias_lr": schedule.warmup_bias_lr,
        "warmup_momentum": schedule.warmup_momentum,
        "wd_norm": asdict(schedule.wd_norm) if schedule.wd_norm else None,
    }


def from_facts(facts: dict[str, Any], optimizer: Any) -> Schedule:
    """The schedule that `facts` describe, writing to `optimizer`."""
    run = {key: facts[key] for key in ("total_steps", "steps_per_epoch", "lr0")}
    warm = {key: facts[key] for key in ("warmup_steps", "warmup_bias_lr", "warmup_momentum", "momentum")}
    decay = NormalisedDecay(**facts["wd_norm"]) if facts.get("wd_norm") else None
    return Schedule(build(facts["policy"], **run, **facts["options"]), optimizer, **warm, wd_norm=decay)
