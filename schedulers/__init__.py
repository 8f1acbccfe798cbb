"""Learning-rate policies: one a file, exact by the step, and one writer that applies them.

A file dropped into this folder registers itself:

    from dataclasses import dataclass
    from schedulers import Point, Policy, option, register

    @register("inverse")
    @dataclass(frozen=True, kw_only=True)
    class Inverse(Policy):
        k: float = option(9.0, "how far it falls", above=0)

        def at(self, step: int) -> Point:
            return Point(1 / (1 + self.k * step / self.total_steps))
"""

from schedulers.policy import (
    Point,
    Policy,
    build,
    describe,
    get,
    listing,
    names,
    option,
    options,
    parse_args,
    register,
    source,
)
from schedulers.schedule import NormalisedDecay, Schedule, facts, from_facts, warmup_steps
from utils.registry import import_siblings

__all__ = [
    "NormalisedDecay",
    "Point",
    "Policy",
    "Schedule",
    "build",
    "describe",
    "facts",
    "from_facts",
    "get",
    "listing",
    "names",
    "option",
    "options",
    "parse_args",
    "register",
    "source",
    "warmup_steps",
]

import_siblings(__name__, __path__, skip=("plot", "range_test"))
