"""Options of policies and optimizers, `key=value` on the command line: typed, within limits, and listed by `help`."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from utils.errors import UserError, nearest

_LIMITS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "low": (lambda value, bound: value >= bound, "at least"),
    "above": (lambda value, bound: value > bound, "above"),
    "high": (lambda value, bound: value <= bound, "at most"),
    "below": (lambda value, bound: value < bound, "below"),
}


class Option(NamedTuple):
    """One option: its name, its type as annotated, its default and one line of help."""

    name: str
    type: Any
    default: Any
    help: str


def plain_type(hint: Any) -> tuple[type, tuple[Any, ...], bool]:
    """An annotation's plain type, the values it allows (empty: any), and whether None is one."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional, hint = len(members) < len(typing.get_args(hint)), members[0]
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        return type(choices[0]), choices, optional
    return hint, (), optional


def beyond(value: float, limits: Mapping[str, Any]) -> str:
    """Why a number is not within `limits` (low, high: allowed themselves; above, below: not), or ''."""
    if not math.isfinite(value):
        return "must be a finite number"
    for name, (fits, words) in _LIMITS.items():
        bound = limits.get(name)
        if bound is not None and not fits(value, bound):
            return f"must be {words} {bound}"
    return ""


def parse(flag: str, owner: str, known: Sequence[Option], pairs: Iterable[str]) -> dict[str, Any]:
    """`["nesterov=false", "dampening=0.1"]` as typed values of `known`, the options of `owner`.

    `-` in a key is `_`. Raises UserError, naming `flag`, for a pair without `=`, a key that is unknown or given twice,
    and a value that is not of its type.
    """
    hints = {option.name: option.type for option in known}
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key_of(pair)
        if not equals:
            raise UserError(f"{flag} {pair}: give key=value; `{flag} help` lists the keys")
        if key not in hints:
            raise UserError(f"{flag} {pair}: {owner} has no option '{key}'; {nearest(key, hints)}")
        if key in parsed:
            raise UserError(f"{flag} {pair}: {key} is given twice; give it once")
        parsed[key] = _value(f"{flag} {pair}", hints[key], text.strip())
    return parsed


def key_of(pair: str) -> str:
    """The option that `key=value` sets."""
    return pair.partition("=")[0].strip().replace("-", "_")


def describe(name: str, builder: Any, facts: Mapping[str, Any], known: Sequence[Option]) -> str:
    """What an entry is, by the first line of its docstring; its facts, and a line an option."""
    lines = [f"{name}: {_summary(builder)}"]
    lines += [f"  {key}: {value}" for key, value in facts.items() if value != ""]
    lines += [f"  {o.name}={o.default} ({type_name(o.type)}) {o.help}".rstrip() for o in known]
    return "\n".join(lines)


def listing(entries: Mapping[str, tuple[Any, str]]) -> str:
    """A line an entry, `{name: (builder, source)}`: the first sentence of its docstring, and where it comes from."""
    width = max(map(len, entries))
    lines = []
    for name, (builder, source) in entries.items():
        sentence = _summary(builder).split(". ")[0].rstrip(".")
        lines.append(f"{name:{width}}  {sentence}{f' ({source})' if source else ''}")
    return "\n".join(lines)


def _summary(builder: Any) -> str:
    text = (inspect.getdoc(builder) or "").strip()
    return text.splitlines()[0] if text else ""


def type_name(hint: Any) -> str:
    """An option's type for people: `float`, `torch|paper`."""
    kind, choices, _ = plain_type(hint)
    return "|".join(map(str, choices)) if choices else getattr(kind, "__name__", str(kind))


def _value(where: str, hint: Any, text: str) -> Any:
    kind, choices, optional = plain_type(hint)
    if optional and text.lower() in ("none", "null", ""):
        return None
    if kind is bool and not choices:
        choices, text = (True, False), text.capitalize()
    if choices:
        by_text = {str(choice): choice for choice in choices}
        if text not in by_text:
            shown = [str(choice).lower() if kind is bool else str(choice) for choice in choices]
            raise UserError(f"{where}: must be {' or '.join(shown)}")
        return by_text[text]
    try:
        value = kind(text)
    except ValueError as error:
        expected = {int: "a whole number", float: "a number"}.get(kind, type_name(kind))
        raise UserError(f"{where}: must be {expected}") from error
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}: must be a finite number")
    return value
