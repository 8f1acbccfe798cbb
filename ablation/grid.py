"""From a definition to its runs: the product of the axes, the variants, what is excluded, each run's command line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import optimizers
import schedulers
from ablation.axes import EXECUTION_OPTIONS, FIRST, default, label, words
from ablation.definition import MOST_RUNS, PLAIN, Definition
from training import build, options
from training.options import Options
from utils.config import flag
from utils.config.key_value import key_of
from utils.errors import UserError, nearest

SELECTIVE = ("lr_arg", "optim_arg")  # options whose values go to the policies and optimizers that know them


@dataclass(frozen=True)
class Cell:
    """One run as it was asked for. `argv` is its command line without project and name."""

    name: str
    settings: dict[str, Any]
    argv: tuple[str, ...]
    asked: Options

    @property
    def identity(self) -> dict[str, Any]:
        """What the run computes: every option that is not its default."""
        return {
            name: value
            for name, value in (vars(self.asked.run) | vars(self.asked.hyp)).items()
            if name not in EXECUTION_OPTIONS and value != default(name)
        }


def points(definition: Definition) -> Iterator[dict[str, Any]]:
    """The settings of every run in the grid's order, those of the variants after the plain ones.

    Raises UserError at the end for a line of `exclude` that fits no run.
    """
    idle = list(range(len(definition.exclude)))
    plain: dict[str, dict[str, Any]] = {PLAIN: {}}
    for variant, bundle in (plain | definition.variants).items():
        axes = {name: [bundle[name]] if name in bundle else values for name, values in definition.grid.items()}
        extra = {name: value for name, value in bundle.items() if name not in axes}
        for values in itertools.product(*axes.values()):
            point = dict(zip(axes, values, strict=True)) | extra
            point |= {"variant": variant} if definition.variants else {}
            whole = {"variant": PLAIN} | definition.common | point
            fits = [
                all((whole[n] if n in whole else default(n)) in v for n, v in rule.items())
                for rule in definition.exclude
            ]
            idle = [i for i in idle if not fits[i]]
            if not any(fits):
                yield point
    for i in idle:
        raise UserError(_unfit(definition.exclude[i], [PLAIN, *definition.variants]))


def _unfit(rule: dict[str, Any], variants: list[str]) -> str:
    said = ", ".join(f"{name}: {' or '.join(map(str, values))}" for name, values in rule.items())
    unknown = next((name for name in rule.get("variant", []) if name not in variants), None)
    remedy = "remove it" if unknown is None else f"variant '{unknown}': {nearest(unknown, variants)}"
    return f"exclude {{{said}}} matches no run of this study; {remedy}"


def expand(definition: Definition, names: dict[str, dict[str, Any]] | None = None) -> list[Cell]:
    """Every run of the study, its options checked. `names` holds what earlier runs were called, with their identity.

    Raises UserError for the first run whose options are wrong, for an option that no run has a use for, for two runs
    that are the same, and where none are left.
    """
    found = list(itertools.islice(points(definition), MOST_RUNS + 1))
    if not found or len(found) > MOST_RUNS:
        number = f"over {MOST_RUNS:,}" if found else "no"
        raise UserError(f"the study has {number} runs; change its grid or exclude")
    varied = [name for name, values in definition.grid.items() if name in FIRST or len(values) > 1]
    varied += ["variant"] if definition.variants else []
    used: set[str] = set()
    cells: list[Cell] = []
    first: dict[str, str] = {}  # the run that computes something, by what that is
    for point in found:
        name = _name(point, varied)
        given = useful(definition.common, point, used)
        argv = [word for option, value in given.items() for word in words(option, value)]
        cell = Cell(name, {key: point[key] for key in varied}, tuple(argv), _parse(argv, name))
        what = repr(cell.identity)
        if what in first:
            raise UserError(f"runs {first[what]} and {name} are the same; remove one of them")
        first[what] = name
        cells.append(cell)
    for said in [" ".join(said) for name, value in definition.common.items() for said in _sayings(name, value)]:
        if said not in used:
            raise UserError(f"{said} would do nothing: no run of this study uses it; leave it out")
    return _named_as_before(cells, names or {})


def _sayings(name: str, value: Any) -> list[list[str]]:
    """What has to be of use in an option: each of its values where those go to different runs."""
    return [[flag(name), pair] for pair in value] if name in SELECTIVE else [[flag(name)]]


def useful(common: dict[str, Any], point: dict[str, Any], used: set[str]) -> dict[str, Any]:
    """A run's options: what it is given itself, and what it has a use for of what is common; that is added to `used`.

    A policy that ramps up by itself has no use for a warm-up, clr none for `lrf`; `lr_arg` and `optim_arg` go to those
    that have such an option.
    """
    idle = options.idle_for(point["lr_policy"])
    owned = {
        "lr_arg": {option[0] for option in schedulers.options(point["lr_policy"])},
        "optim_arg": {option.name for option in optimizers.options(point["optim"])},
    }
    given = {}
    for name, value in common.items():
        if name in idle and name not in point:
            continue
        if name in owned:
            value = [pair for pair in value if key_of(pair) in owned[name]]
        used.update(" ".join(said) for said in _sayings(name, value))
        if name != "device" or "," not in value:  # workers are given theirs
            given[name] = value
    return given | {name: value for name, value in point.items() if name != "variant"}


def notes(definition: Definition) -> list[str]:
    """A line for each common option that some policies have no use for."""
    lines = []
    for name in definition.common:
        without = [policy for policy in definition.grid["lr_policy"] if name in options.idle_for(policy)]
        if without:
            lines.append(f"{flag(name)} is not passed to {', '.join(without)}, which do not use it")
    return lines


def _parse(argv: list[str], name: str) -> Options:
    try:
        asked, _ = options.parse(argv, "train.py", "")
        build.check(asked)
    except UserError as error:
        raise UserError(f"run {name}: {error}") from None
    return asked


def _name(point: dict[str, Any], varied: list[str]) -> str:
    """`sgdr-adamw-s0`, then what else varies: `-lr0=0.01`, and the variant."""
    parts = [label(point["lr_policy"]), label(point["optim"]), f"s{point['seed']}"]
    parts += [f"{key}={label(point[key])}" for key in varied if key not in (*FIRST, "variant")]
    parts += [point["variant"]] if point.get("variant", PLAIN) != PLAIN else []
    return re.sub(r"[^A-Za-z0-9._+=-]", "_", "-".join(parts))


def _named_as_before(cells: list[Cell], names: dict[str, dict[str, Any]]) -> list[Cell]:
    """Runs that exist keep their names when an axis is added; new ones take a name that is free."""
    taken = set(names)
    found = []
    for cell in cells:
        name = next((old for old, identity in names.items() if identity == cell.identity), None)
        if name is None:
            numbers = (f"{cell.name}-{number}" for number in itertools.count(2))
            name = next(n for n in itertools.chain([cell.name], numbers) if n not in taken)
            taken.add(name)
        found.append(Cell(name, cell.settings, cell.argv, cell.asked))
    return found
