"""The options of a run as the axes of a study: which may vary, their typed values, the words they are on a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.hyp import Hyp
from training.run_options import RunOptions
from utils import config
from utils.config import flag
from utils.errors import UserError, nearest

FIRST = ("lr_policy", "optim", "seed")  # axes of every study, and the first columns of its tables
# where and how a run is carried out; its results do not depend on them
EXECUTION_OPTIONS = ("device", "workers", "cache", "noplots", "project", "name", "exist_ok", "resume", "force")
FIXED_OPTIONS = {
    **dict.fromkeys(EXECUTION_OPTIONS, "it does not change what a run computes"),
    "data": "a study compares on one data set",
    "plugin": "plug-ins are imported once for all runs",
    "cos_lr": "it is --lr-policy cosine",
}
OWN = {
    "seed": "give --seeds, such as --seeds 3 or --seeds 0,4,7",
    "cos_lr": "give --lr-policy cosine",
    "exist_ok": "the same command continues the study of that name",
    "force": "give --resume STUDY alone",
    "history": "a run writes its own",
}

PLACE = ("project", "name", "resume")  # which study it is: the command line's alone


def fields() -> dict[str, dataclasses.Field]:
    """Every option of a run by its name."""
    return {field.name: field for kind in (RunOptions, Hyp) for field in dataclasses.fields(kind)}


def known(name: Any, where: str) -> str:
    """An option's name as a study file may write it (`lr-policy` too). Raises UserError with the nearest."""
    plain = str(name).replace("-", "_")
    if plain not in fields():
        raise UserError(f"{where}: unknown option '{name}'; {nearest(plain, fields()).split(' known:')[0]}")
    if plain in OWN and plain != "seed":
        raise UserError(f"{where}: {plain} is not an option of a study; {OWN[plain]}")
    if plain in PLACE:
        raise UserError(f"{where}: {plain} says which study it is; give {flag(plain)} on the command line")
    return plain


def words(name: str, value: Any) -> list[str]:
    """An option as words of a command line: `["--lr0", "0.01"]`; none for what is None, False or empty."""
    if value is None or value is False or value == []:
        return []
    if value is True:
        return [flag(name)]
    return [flag(name), *(map(str, value) if isinstance(value, list | tuple) else [str(value)])]


def default(name: str) -> Any:
    """An option's value where it is not given."""
    field = fields()[name]
    return field.default_factory() if callable(field.default_factory) else field.default


def typed(name: str, value: Any, where: str) -> Any:
    """A value of an option as the command line reads it: `"1e-2"` as 0.01. Raises UserError."""
    field = fields()[name]
    is_flag, is_list = isinstance(field.default, bool), field.default is dataclasses.MISSING
    if isinstance(value, dict) or isinstance(value, bool) is not is_flag or (isinstance(value, list) and not is_list):
        wanted = "true or false" if is_flag else "a plain value"
        raise UserError(f"{where}: {name} is {value!r}; it must be {wanted}")
    try:
        (run, hyp), _ = config.parse([RunOptions, Hyp], words(name, value), prog="ablate.py", description="")
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return getattr(hyp if hasattr(hyp, name) else run, name)


def label(value: Any) -> str:
    """A value as a part of a file's name and of a table: short, without slashes."""
    if isinstance(value, float):
        return f"{value:.6g}" if float(f"{value:.6g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return "+".join(map(label, value))
    return Path(str(value)).stem if "/" in str(value) else str(value)


def labels(values: Sequence[Any]) -> list[str]:
    """Values of an axis as a table shows them; those whose label is another's too are written out."""
    of: dict[str, set[str]] = {}
    for value in values:
        of.setdefault(label(value), set()).add(repr(value))
    return [label(value) if len(of[label(value)]) == 1 else str(value) for value in values]


def split(argv: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The comma lists of a command line, by option, and the words that are left."""
    flags = {f: name for name, field in fields().items() for f in (flag(name), *field.metadata["aliases"])}
    lists: dict[str, list[str]] = {}
    left: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        said, equals, text = word.partition("=")
        name = flags.get(said.replace("_", "-"), "") if said.startswith("--") else ""
        text = text if equals else words[0] if words and not words[0].startswith("--") else ""
        if "," not in text or not _may_be_listed(name):
            left.append(word)
            continue
        if name in OWN or name in FIXED_OPTIONS:
            raise UserError(f"{said} {text}: cannot vary; {OWN.get(name) or FIXED_OPTIONS[name]}")
        if name in lists:
            raise UserError(f"{said} is given twice; give all its values in one list")
        lists[name] = [item for item in text.split(",") if item]
        if not lists[name]:
            raise UserError(f"{said} {text}: names no value; give one or more, with commas between them")
        del words[: 0 if equals else 1]
    return lists, left


def _may_be_listed(name: str) -> bool:
    """Whether a comma in an option's value separates values: not in paths, names of places, and options with lists."""
    plain = name and fields()[name].default is not dataclasses.MISSING
    return bool(plain) and name not in ("data", "device", "project", "name", "resume", "weights")
