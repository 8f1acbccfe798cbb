"""Optimizers: one update rule a file, a registry of them, and the three parameter groups.

A file dropped into this folder, a `--plugin`, or a package with entry points in `anneal.optimizers` adds a rule:

    @optimizers.register("belief", lr=0.001, weight_decay=0.01, warmup_bias_lr=0.0, paper="arXiv 2010.07468")
    def belief(groups, lr: float, momentum: float, beta2: Annotated[float, "second beta"] = 0.999):
        return AdaBelief(groups, lr=lr, betas=(momentum, beta2))

A rule is called with the groups, the rate and the momentum; its other parameters are its options (`--optim-arg`).
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from optimizers.groups import describe_groups, parameter_groups
from utils.config import key_value as arguments
from utils.config.key_value import Option
from utils.errors import UserError
from utils.registry import Registry, import_siblings, load_entry_points

__all__ = [
    "Option",
    "build",
    "defaults",
    "describe",
    "describe_groups",
    "facts",
    "listing",
    "names",
    "options",
    "parameter_groups",
    "parse_args",
    "register",
]

_REGISTRY = Registry("optimizer")
_FIXED = ("groups", "lr", "momentum")  # what `build` hands every rule; the rest are options


def register(
    name: str, *, lr: float, weight_decay: float, momentum: float = 0.937, warmup_bias_lr: float = 0.1, **facts: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that enters an update rule. `lr`, `weight_decay`, `momentum` are the defaults `build` uses.

    `warmup_bias_lr` is the rate from which biases warm up; other facts, such as `paper`, are kept as they are. `policy`
    names the learning-rate policy that the rule is made for. `averages=True` says that it averages weights itself: the
    optimizer then has `evaluation_weights()`, a dict from each parameter to the tensor to evaluate and keep in its
    place, and a run keeps no moving average beside.
    """
    return _REGISTRY.register(
        name, lr=lr, weight_decay=weight_decay, momentum=momentum, warmup_bias_lr=warmup_bias_lr, **facts
    )


@functools.cache
def _load() -> Registry:
    """The registry, after the files of this folder and the installed plug-ins have entered themselves."""
    import_siblings(__name__, __path__, skip=("groups",))
    load_entry_points("anneal.optimizers")
    return _REGISTRY


def names() -> list[str]:
    """All rules, sorted."""
    return _load().names()


def facts(name: str) -> dict[str, Any]:
    """What a rule said of itself: lr, weight_decay, momentum, warmup_bias_lr, paper."""
    return _load().facts(name)


def defaults(name: str) -> dict[str, float]:
    """The rule's own rate, momentum and decay, by the names of `build`'s arguments."""
    return {key: facts(name)[key] for key in ("lr", "momentum", "weight_decay")}


def options(name: str) -> list[Option]:
    """A rule's own options, as `--optim-arg` takes them."""
    rule = _load().get(name)
    hints = typing.get_type_hints(rule.__init__ if inspect.isclass(rule) else rule, include_extras=True)
    found = []
    for parameter in inspect.signature(rule).parameters.values():
        if parameter.name in _FIXED or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        hint = hints.get(parameter.name, str)
        note = hint.__metadata__[0] if typing.get_origin(hint) is typing.Annotated else ""
        kind = hint.__origin__ if note else hint
        found.append(Option(parameter.name, kind, parameter.default, note))
    return found


def describe(name: str) -> str:
    """What a rule is, its defaults, and a line an option."""
    return arguments.describe(name, _load().get(name), facts(name), options(name))


def listing() -> str:
    """What `--optim help` prints: a line a rule, with its paper."""
    return arguments.listing({name: (_load().get(name), facts(name).get("paper", "")) for name in names()})


def parse_args(name: str, pairs: Iterable[str]) -> dict[str, Any]:
    """`["nesterov=false", "dampening=0.1"]` as typed options of the rule `name`; UserError for what cannot be read."""
    return arguments.parse("--optim-arg", f"optimizer '{name}'", options(name), pairs)


def build(
    name: str,
    groups: Sequence[Mapping[str, Any]],
    lr: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    **options: Any,
) -> Optimizer:
    """The optimizer `name` over `groups`, as `parameter_groups` gives them.

    What is None comes from the rule's own defaults. `weight_decay` goes to the groups that decay: the one named
    "weight", and any whose own `weight_decay` is not zero; every other group gets zero, whatever the rule's default.
    Each group gets `initial_lr`, the base rate of schedules: `lr`, times its `lr_scale` if it has one.

    Raises:
        UserError: unknown name or option, a bad value, or a decay given that no group would take.
    """
    own = defaults(name)
    lr = own["lr"] if lr is None else lr
    momentum = own["momentum"] if momentum is None else momentum
    ready = []
    for group in groups:
        decay = group.get("weight_decay", 0.0)
        if group.get("name") == "weight" or decay != 0:
            decay = weight_decay if weight_decay is not None else own["weight_decay"] if decay is None else decay
        rate = lr * group.get("lr_scale", 1.0)
        ready.append({**group, "lr": rate, "initial_lr": rate, "weight_decay": decay})
    if weight_decay and not any(group["weight_decay"] for group in ready):
        raise UserError(f"weight_decay={weight_decay} would decay nothing: no parameter group takes decay")
    return _load().build(name, ready, lr=lr, momentum=momentum, **options)
