"""Options from the command line: `key=value` typed by a policy's fields, and the listing of `--lr-arg help`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from schedulers.policy import get, option_fields, option_type, require_option, source
from utils.errors import UserError


def options(name: str) -> list[tuple[str, str, Any, str]]:
    """(name, type, default, help) of each option of a policy."""
    policy = get(name)
    return [
        (field.name, _type_name(policy, field.name), field.default, field.metadata.get("help", ""))
        for field in option_fields(policy)
    ]


def parse_args(name: str, pairs: Iterable[str]) -> dict[str, Any]:
    """`["t_mult=1", ...]` as typed keyword arguments for `build(name, ...)`; UserError for what cannot be read."""
    policy, parsed = get(name), {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key, text = key.strip().replace("-", "_"), text.strip()
        if not equals:
            raise UserError(f"--lr-arg {pair}: give key=value; `--lr-policy {name} --lr-arg help` lists the keys")
        require_option(policy, key)
        if key in parsed:
            raise UserError(f"--lr-arg {key} is given twice; give it once")
        parsed[key] = _parse(policy, key, text)
    return parsed


def describe(name: str) -> str:
    """What a policy is and where it comes from, and a line an option."""
    summary = (inspect.getdoc(get(name)) or "").strip()
    lines = [f"{name}: {summary.splitlines()[0] if summary else ''}"]
    lines += [f"  {key}: {value}" for key, value in source(name).items()]
    lines += [f"  {key}={default} ({kind}) {help}" for key, kind, default, help in options(name)]
    return "\n".join(lines)


def _parse(policy: type, key: str, text: str) -> Any:
    kind, choices, optional = option_type(policy, key)
    if optional and text.lower() in ("none", "null", ""):
        return None
    if choices:
        by_text = {str(choice): choice for choice in choices}
        if text not in by_text:
            raise UserError(f"policy '{policy.name}': {key}={text} must be {' or '.join(by_text)}")
        return by_text[text]
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise UserError(f"policy '{policy.name}': {key}={text} must be true or false")
        return text.lower() in ("true", "1")
    try:
        return kind(text)
    except ValueError as error:
        expected = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise UserError(f"policy '{policy.name}': {key}={text} must be {expected}") from error


def _type_name(policy: type, key: str) -> str:
    kind, choices, _ = option_type(policy, key)
    return "|".join(map(str, choices)) if choices else kind.__name__
