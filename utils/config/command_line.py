"""Dataclasses as command lines: fields become flags, unknown flags are errors that name the nearest known one."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from utils.config.key_value import beyond
from utils.errors import UserError, nearest

LOGGER = logging.getLogger("anneal")
T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *,
    aliases: Sequence[str] = (),
    choices: Callable[[], Sequence[str]] | Sequence[str] | None = None,
    const: Any = None,
    type: Callable[[str], Any] | None = None,
    flag: bool = True,
    positional: bool = False,
    listing: Callable[[], str] | None = None,
    default_help: str = "",
    **limits: float,
) -> Any:
    """A dataclass field that is also a flag.

    `const` makes the flag's value optional; `choices` may be a function, called when the line is read, so that
    plug-ins count; `listing` is what the value `help` prints, which ends the program; `default_help` is what --help
    says of the default, with `{}` for its value; `flag=False` keeps the field out of the command line;
    `positional=True` takes a list's words from it without a flag. Limits, for numbers: `low` and `high` (allowed
    themselves), `above` and `below` (not allowed). A default of None means "decided elsewhere". A field called `from_`
    is the flag `--from`.
    """
    facts = {"help": help, "aliases": tuple(aliases), "choices": choices, "const": const, "type": type, "flag": flag}
    facts |= {"positional": positional, "listing": listing, "limits": limits, "default_help": default_help}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=facts)
    return dataclasses.field(default=default, metadata=facts)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def parse(
    kinds: Sequence[type],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    description: str,
    refused: Mapping[str, str] | None = None,
) -> tuple[list[Any], set[str]]:
    """Read a command line into one instance of each dataclass of `kinds`.

    Returns the instances and the names of the fields given explicitly. `refused` maps flags that are known but not
    taken over to the reason. Raises UserError for anything it does not understand.
    """
    argv = [_dashed(word) for word in (sys.argv[1:] if argv is None else argv)]
    parser = _Parser(prog=prog, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    flags: set[str] = set()
    for kind in kinds:
        group = parser.add_argument_group((kind.__doc__ or kind.__name__).strip().splitlines()[0].rstrip("."))
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if field.metadata.get("flag"):
                flags.update(_add(group, field, hints[field.name]))
    for word in argv:
        name = word.split("=")[0]
        if refused and name in refused:
            raise UserError(f"{name} is not offered: {refused[name]}")
    namespace, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        name = unknown[0].split("=")[0]
        hint = nearest(name, flags).split(" known:")[0] if name.startswith("-") else "flags start with --"
        hint = hint if "mean" in hint or "start" in hint else "see --help"
        raise UserError(f"unknown argument '{unknown[0]}'; {hint}")
    given = vars(namespace)
    made = []
    for kind in kinds:
        fields = [field for field in dataclasses.fields(kind) if field.name in given]
        for field in fields:
            if why := _beyond(field, given[field.name]):
                raise UserError(f"{flag(field.name)} {given[field.name]}: {why}")
        made.append(kind(**{field.name: given[field.name] for field in fields}))
    return made, set(given)


def flag(name: str) -> str:
    """An option as it is written on a command line: `lr_policy` is `--lr-policy`."""
    return "--" + name.strip("_").replace("_", "-")


def _beyond(field: dataclasses.Field, value: Any) -> str:
    limits = field.metadata.get("limits")
    return beyond(value, limits) if limits and isinstance(value, int | float) else ""


def _dashed(word: str) -> str:
    """`--weight_decay=0.1` as `--weight-decay=0.1`: both spellings of a flag are in use."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _add(group: Any, field: dataclasses.Field, hint: Any) -> list[str]:
    facts = field.metadata
    names = [flag(field.name), *facts["aliases"]]
    default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    shown = "" if default in (None, "", []) or isinstance(default, bool) else f" (default {default})"
    shown = f" ({facts['default_help'].format(default)})" if facts["default_help"] else shown
    choices = facts["choices"]() if callable(facts["choices"]) else facts["choices"]
    settings: dict[str, Any] = {"dest": field.name, "help": (facts["help"] + shown).replace("%", "%%")}
    if hint is bool:
        group.add_argument(*names, action="store_true", **settings)
        return names
    base, many = _base_type(hint)
    settings |= {"type": facts["type"] or base, "metavar": field.name.strip("_").upper()}
    if choices:
        settings |= {"type": _one_of(choices, facts["type"] or str, facts["listing"]), "metavar": "|".join(choices)}
    if facts["positional"]:
        group.add_argument(field.name, nargs="*", **{key: settings[key] for key in ("help", "type", "metavar")})
        return []
    if many:
        settings |= {"nargs": "+", "action": "extend"}
    elif facts["const"] is not None:
        settings |= {"nargs": "?", "const": facts["const"]}
    group.add_argument(*names, **settings)
    return names


def _one_of(
    choices: Sequence[str], convert: Callable[[str], str], listing: Callable[[], str] | None
) -> Callable[[str], str]:
    """A reader of one of `choices` whose error names the nearest."""

    def read(text: str) -> str:
        value = convert(text)
        if listing and value == "help":
            print(listing())
            raise SystemExit(0)
        if value not in choices:
            raise argparse.ArgumentTypeError(f"unknown value '{text}'; {nearest(value, choices)}")
        return value

    return read


def _base_type(hint: Any) -> tuple[Callable[[str], Any], bool]:
    """The constructor of a field's type and whether it takes several values: list[int] -> (int, True)."""
    if typing.get_origin(hint) in (list, tuple):
        return typing.get_args(hint)[0], True
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(t for t in typing.get_args(hint) if t is not type(None)), False
    return hint, False


def from_mapping(
    kind: type[T],
    values: Mapping[str, Any],
    where: str,
    ignored: Mapping[str, str] | None = None,
    place: Callable[[str], str] | None = None,
) -> T:
    """Build a dataclass from a mapping read from a file.

    Unknown keys, wrong types and numbers beyond an option's limits are one-line UserErrors. `where` is the file's name
    for the message; `place` gives the file and line of a key instead. `ignored` holds keys that are accepted and have
    no effect, which is logged with the reason.
    """
    hints, fields = typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}
    given: dict[str, Any] = {}
    for key, value in values.items():
        at = place(str(key)) if place else where
        if ignored and key in ignored:
            LOGGER.info(f"{at}: {key} has no effect: {ignored[key]}")
            continue
        if key not in hints:
            raise UserError(f"{at}: unknown key '{key}'; {nearest(str(key), hints)}")
        given[key] = _checked(value, hints[key], f"{at}: {key}")
        if why := _beyond(fields[key], given[key]):
            raise UserError(f"{at}: {key} is {value}; it {why}")
    return kind(**given)


def _checked(value: Any, hint: Any, where: str) -> Any:
    base, many = _base_type(hint)
    optional = hint is not base and not many
    if value is None and optional:
        return None
    if isinstance(value, str) and str in typing.get_args(hint):  # a word such as 'auto' in place of a number
        return value
    if many:
        return [_checked(v, base, where) for v in (value if isinstance(value, list) else [value])]
    kinds: dict[Any, Any] = {float: (float, int), int: (int,), bool: (bool,), str: (str, int, float)}
    accepted = kinds.get(base, (object,))
    if not isinstance(value, accepted) or (isinstance(value, bool) and base is not bool):
        if base is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
            try:
                return float(value)
            except ValueError:
                pass
        raise UserError(f"{where} is {value!r}; it must be of type {getattr(base, '__name__', base)}")
    return base(value) if base in (float, int, str, bool) else value
