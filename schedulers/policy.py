"""What a policy is: a frozen dataclass whose fields are its options, and one pure method."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

from utils.config import key_value
from utils.config.key_value import Option, beyond, plain_type
from utils.errors import UserError, nearest
from utils.registry import Registry, load_entry_points

# On a run this short a shape that does not fit becomes the nearest that does; on a longer one it is a mistake.
FEW_STEPS = 20

_POLICIES = Registry("policy")


class Point(NamedTuple):
    """What a policy says of one step: `lr` is a factor of lr0; `momentum` is a value, or None to leave it."""

    lr: float
    momentum: float | None = None


def option(default: Any, help: str, **limits: float) -> Any:
    """A policy's option. Limits: `low` and `high` (allowed themselves), `above` and `below` (not allowed)."""
    return dataclasses.field(default=default, metadata={"help": help, **limits})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy(ABC):
    """A learning-rate policy over a run of `total_steps` optimizer steps, `steps_per_epoch` to the epoch.

    Subclasses are frozen dataclasses too; each field they add is an option. `lr0` is the base rate, so that options
    given as absolute rates can become factors. Steps count from 0. An option of a wrong type or outside its limits
    is a UserError; so is whatever `validate` refuses.
    """

    total_steps: int
    steps_per_epoch: int
    lr0: float

    name: ClassVar[str] = "policy"
    ramps: ClassVar[bool] = False  # True: the policy rises by itself, and warm-up is refused

    def __post_init__(self) -> None:
        for key in ("total_steps", "steps_per_epoch"):
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                raise self.refuse(f"{key}={value} must be a whole number, at least 1")
        if not (_is_number(self.lr0) and self.lr0 > 0):
            raise self.refuse(f"lr0={self.lr0} must be a positive rate")
        for field in option_fields(type(self)):
            self._check(field, getattr(self, field.name))
        self.validate()

    def _check(self, field: dataclasses.Field, value: Any) -> None:
        kind, choices, optional = plain_type(_hints(type(self))[field.name])
        if value is None and optional:
            return
        if choices and value not in choices:
            raise self.refuse(f"{field.name}={value} must be {' or '.join(map(str, choices))}")
        if kind not in (int, float):
            return
        if not _is_number(value) or (kind is int and not isinstance(value, int)):
            raise self.refuse(f"{field.name}={value} must be {'a whole' if kind is int else 'a finite'} number")
        if why := beyond(value, field.metadata):
            raise self.refuse(f"{field.name}={value} {why}")

    def validate(self) -> None:
        """Raise `self.refuse(why)` where the options together cannot make a policy."""
        return None

    def refuse(self, why: str) -> UserError:
        """The error for options that cannot make a policy: one line that says why."""
        return UserError(f"policy '{self.name}': {why}")

    @abstractmethod
    def at(self, step: int) -> Point:
        """The rate's factor and the momentum of one step. Pure: the same step always gives the same point."""

    @property
    def epochs(self) -> float:
        """The run's length in epochs, fractional where its last epoch is cut short."""
        return self.total_steps / self.steps_per_epoch

    @property
    def restarts(self) -> tuple[int, ...]:
        """Steps at which a new cycle begins, without 0 and `total_steps`."""
        return ()

    @property
    def stable_steps(self) -> int:
        """Steps before a final decay, up to which the run's length changes nothing; 0 for a policy without."""
        return 0

    @property
    def cycle_ends(self) -> tuple[int, ...]:
        """Steps before which a cycle ends, the last one's too; empty for a policy without cycles."""
        return ()

    def longest_warmup(self, steps: int) -> int:
        """Most steps of a warm-up in a run of `steps`: a fifth of it, or of its first cycle where it has several."""
        return min((steps, *self.restarts[:1])) // 5

    def cycle_epochs(self, step: int) -> float:
        """Epochs that normalised weight decay counts at `step`: of the current cycle where the policy restarts."""
        return self.epochs


def register(name: str, **facts: Any) -> Callable[[type[Policy]], type[Policy]]:
    """Class decorator that makes a policy available everywhere as `name`; `facts` say where it comes from."""

    def enter(policy: type[Policy]) -> type[Policy]:
        if not (isinstance(policy, type) and issubclass(policy, Policy) and "__dataclass_fields__" in vars(policy)):
            raise UserError(f"policy '{name}' must be a subclass of Policy under @dataclass(frozen=True, kw_only=True)")
        policy.name = name
        _POLICIES.register(name, **facts)(policy)
        return policy

    return enter


@functools.cache
def _load_installed() -> None:
    load_entry_points("anneal.schedulers")  # at the first look-up: by then a plug-in can import this package


def names() -> list[str]:
    """Every registered policy, those of installed plug-ins included. A plug-in that fails to import is a UserError."""
    _load_installed()
    return _POLICIES.names()


def get(name: str) -> type[Policy]:
    """The policy class called `name`; a UserError with the nearest match where there is none."""
    _load_installed()
    return _POLICIES.get(name)


def source(name: str) -> dict[str, Any]:
    """The facts that `name` was registered with."""
    return _POLICIES.facts(get(name).name)


def build(name: str, /, *, total_steps: int, steps_per_epoch: int, lr0: float, **options: Any) -> Policy:
    """Build a policy by its name. Unknown names and options, and options that make no policy, are UserErrors."""
    policy = get(name)
    for key in options:
        require_option(policy, key)
    return policy(total_steps=total_steps, steps_per_epoch=steps_per_epoch, lr0=lr0, **options)


def option_fields(policy: type[Policy]) -> list[dataclasses.Field]:
    """The dataclass fields that are a policy's options."""
    own = {field.name for field in dataclasses.fields(Policy)}
    return [field for field in dataclasses.fields(policy) if field.name not in own]


def require_option(policy: type[Policy], key: str) -> None:
    """A UserError with the nearest match where `policy` has no option `key`."""
    known = [field.name for field in option_fields(policy)]
    if key not in known:
        raise UserError(f"policy '{policy.name}' has no option '{key}'; {nearest(key, known)}")


@functools.cache
def _hints(policy: type[Policy]) -> dict[str, Any]:
    return typing.get_type_hints(policy)


def options(name: str) -> list[Option]:
    """(name, type, default, help) of each option of a policy."""
    policy = get(name)
    return [
        Option(field.name, _hints(policy)[field.name], field.default, field.metadata.get("help", ""))
        for field in option_fields(policy)
    ]


def parse_args(name: str, pairs: Iterable[str]) -> dict[str, Any]:
    """`["t_mult=1", ...]` as typed keyword arguments for `build(name, ...)`; UserError for what cannot be read."""
    return key_value.parse("--lr-arg", f"policy '{name}'", options(name), pairs)


def listing() -> str:
    """What `--lr-policy help` prints: a line a policy, with where it comes from."""
    return key_value.listing({name: (get(name), source(name).get("source", "")) for name in names()})


def describe(name: str) -> str:
    """What a policy is and where it comes from, and a line an option."""
    return key_value.describe(name, get(name), source(name), options(name))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
