"""Policies and their options on the command line: `--lr-arg key=value`, and what the word `help` prints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schedulers.policy import get, names, options, source
from utils.config import key_value as arguments


def parse_args(name: str, pairs: Iterable[str]) -> dict[str, Any]:
    """`["t_mult=1", ...]` as typed keyword arguments for `build(name, ...)`; UserError for what cannot be read."""
    return arguments.parse("--lr-arg", f"policy '{name}'", options(name), pairs)


def listing() -> str:
    """What `--lr-policy help` prints: a line a policy, with where it comes from."""
    return arguments.listing({name: (get(name), source(name).get("source", "")) for name in names()})


def describe(name: str) -> str:
    """What a policy is and where it comes from, and a line an option."""
    return arguments.describe(name, get(name), source(name), options(name))
