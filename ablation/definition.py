"""What a study is to do: the values of its axes, what is left out, named variants, and what all runs share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablation.axes import EXECUTION_OPTIONS, FIRST, FIXED_OPTIONS, OWN, default, known, typed
from training.options import import_plugins
from utils.config.safe_yaml import load_yaml, place
from utils.errors import UserError, nearest

KEYS = ("data", "seeds", "grid", "exclude", "variants", "common")
RECORDED = ("command", "runs", "seen")  # what the study itself adds to its own file
MOST_RUNS = 10_000
PLAIN = "-"  # the variant of the runs that have none


@dataclass
class Definition:
    """A study file in memory; values are typed as the command line reads them.

    grid: values by option. exclude: settings that no run may have all of; a list of values means any of them.
    variants: bundles of options by name, beside the plain runs; each takes the place of the axes it sets, and is
    crossed with the others.
    common: options of all runs, as given.
    """

    grid: dict[str, list[Any]] = field(default_factory=dict)
    exclude: list[dict[str, Any]] = field(default_factory=list)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)

    def override(self, lists: dict[str, list[Any]], common: dict[str, Any]) -> None:
        """The command line beats the file: its lists become axes, its single values common to all runs."""
        for name, values in lists.items():
            self.common.pop(name, None)
            self.grid[name] = axis(name, values, "command line")
        for name, value in common.items():
            if name in ("lr_policy", "optim"):
                self.grid[name] = [value]
            else:
                self.grid.pop(name, None)
                self.common[name] = value

    def complete(self) -> None:
        """Give every study its first axes, in their order; what was common among them becomes an axis of one value."""
        given = {name: [self.common.pop(name)] for name in FIRST if name in self.common} | self.grid
        first = {name: given.get(name, [default(name)]) for name in FIRST}
        self.grid = first | {name: values for name, values in given.items() if name not in FIRST}


def axis(name: str, values: Any, where: str) -> list[Any]:
    """The typed values of an axis, each once. Raises UserError for an option that cannot vary."""
    if name in FIXED_OPTIONS:
        raise UserError(f"{where}: {name} cannot vary within a study: {FIXED_OPTIONS[name]}")
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: {name} must be a list of values, such as [{values}]")
    found: list[Any] = []
    for value in values:
        one = typed(name, value, where)
        if one in found:
            raise UserError(f"{where}: {name} has the value {value} twice; give it once")
        found.append(one)
    return found


def seeds(value: Any, where: str) -> list[int]:
    """`3` as seeds 0, 1, 2; `0,4,7` or a list as those. Raises UserError."""
    parts = value if isinstance(value, list) else [part for part in str(value).split(",") if part]
    many = isinstance(value, list) or "," in str(value)
    try:
        numbers = [int(str(part)) for part in parts]
    except ValueError:
        raise UserError(f"{where}: seeds {value!r}: give how many, or a list such as 0,4,7") from None
    if not numbers or (not many and numbers[0] < 1) or len(set(numbers)) < len(numbers):
        raise UserError(f"{where}: seeds {value!r}: give one or more, each once")
    if not many and numbers[0] > MOST_RUNS:
        raise UserError(f"{where}: seeds {value!r}: at most {MOST_RUNS:,}; for one seed write {value},")
    return numbers if many else list(range(numbers[0]))


def read(path: Path, recorded: bool = False) -> tuple[Definition, dict[str, Any]]:
    """A study file, and what the study added to it. Raises UserError, naming file and key."""
    content = load_yaml(path)
    for key in content:
        if key not in KEYS + RECORDED * recorded:
            raise UserError(f"{place(path, str(key))}: unknown key '{key}'; {nearest(str(key), KEYS)}")
    common = _mapping(content, "common", path)
    if "data" in content:
        if "data" in common:
            raise UserError(f"{path}: data is given both at the top level and in common; give it once")
        common = {"data": content["data"]} | common
    plugins = common.get("plugin", [])
    import_plugins(
        list(map(str, plugins if isinstance(plugins, list) else [plugins]))
    )  # what they register is known now
    grid = _by_name(_mapping(content, "grid", path), f"{path}: grid")
    if "seeds" in content:
        if "seed" in grid:
            raise UserError(f"{path}: seeds and grid: seed are the same; give one of them")
        grid["seed"] = seeds(content["seeds"], str(path))
    found = Definition(
        {name: axis(name, values, f"{path}: grid") for name, values in grid.items()},
        [_excluded(rule, path) for rule in _section(content, "exclude", path, [], "be a list")],
        _variants(_mapping(content, "variants", path), path),
        _settings(common, f"{path}: common"),
    )
    for name in set(found.common) & set(found.grid):
        raise UserError(f"{path}: {name} is in grid and in common; give it in one of them")
    if not recorded:
        return found, {}
    if not found.grid.keys() >= set(FIRST):
        raise UserError(f"{path}: damaged, its grid lacks {' or '.join(FIRST)}; put it back, or choose another --name")
    kept = {key: _mapping(content, key, path) for key in ("runs", "seen")}
    return found, kept | {"command": str(content.get("command") or "")}


def _settings(values: dict[str, Any], where: str) -> dict[str, Any]:
    return {name: typed(name, value, where) for name, value in _by_name(values, where).items()}


def _by_name(values: dict[Any, Any], where: str) -> dict[str, Any]:
    """Values by the names of their options. Raises UserError for one written twice, as lr-policy and as lr_policy."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        option = known(name, where)
        if option in found:
            raise UserError(f"{where}: {option} is given twice; give it once")
        found[option] = value
    return found


def _variants(values: dict[Any, Any], path: Path) -> dict[str, dict[str, Any]]:
    found = {str(name): _bundle(name, bundle, path) for name, bundle in values.items()}
    if len(found) < len(values):
        raise UserError(f"{path}: variants: two have the same name; give each its own")
    return found


def _bundle(name: Any, values: Any, path: Path) -> dict[str, Any]:
    where = f"{path}: variant {name}"
    if str(name) in ("", PLAIN):
        raise UserError(f"{path}: variants: '{name}' cannot be a variant's name ('{PLAIN}' stands for the plain runs)")
    if not isinstance(values, dict):
        raise UserError(f"{where}: must hold 'option: value' lines")
    bundle = _settings(values, where)
    for option in sorted(set(bundle) & {*EXECUTION_OPTIONS, *FIXED_OPTIONS, "seed"}):
        raise UserError(f"{where}: {option} cannot vary: {OWN.get(option) or FIXED_OPTIONS[option]}")
    return bundle


def _excluded(rule: Any, path: Path) -> dict[str, Any]:
    where = f"{path}: exclude"
    if not isinstance(rule, dict) or not rule:
        raise UserError(f"{where}: give a list of settings, such as - {{lr_policy: clr, optim: adam}}")
    variant = {"variant": rule["variant"]} if "variant" in rule else {}
    settings = _by_name({name: value for name, value in rule.items() if name != "variant"}, where)
    found: dict[str, Any] = {}
    for option, value in (variant | settings).items():
        values = value if isinstance(value, list) else [value]
        found[option] = [str(v) if option == "variant" else typed(option, v, where) for v in values]
    return found


def _mapping(content: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    return _section(content, key, path, {}, "hold 'name: value' lines")


def _section(content: dict[str, Any], key: str, path: Path, empty: Any, wanted: str) -> Any:
    value = content.get(key) or empty
    if not isinstance(value, type(empty)):
        raise UserError(f"{place(path, key)}: {key} must {wanted}")
    return value
