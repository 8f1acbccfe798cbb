"""YAML from anybody: plain values only, bounded in size, with one-line errors that name the line."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from utils.errors import UserError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 100_000  # values in the file once every alias is written out


class _Loader(yaml.SafeLoader):
    """The safe loader, with duplicate keys refused and `1e-3` a number as everywhere else."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' is given twice", problem_mark=key.start_mark)
            seen.add(name)
        return node


# YAML 1.1 wants a dot and a sign in the exponent, which nobody writes. A class attribute of ours, copied on first use.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_yaml(path: str | Path, as_written: str = "") -> dict[Any, Any]:
    """The mapping in a YAML file; {} for an empty one.

    `as_written` is a top-level key below which numbers stay the text that stands there: 007, 1e3 and 12:30. Nothing in
    the file is executed: only plain values are read. UserError, naming file and line, for a file that is missing, over
    1 MiB, nested over 32 deep, over 100,000 values with its aliases written out, not YAML, with a duplicate key, or
    not a mapping.
    """
    text = _read(Path(path))
    try:
        content = copy.deepcopy(_parsed(text))
        if as_written and isinstance(content, dict) and as_written in content:
            content[as_written] = _texts(text, as_written, content[as_written])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else f"{path}"
        raise UserError(f"{where}: {_flat(error.problem or error.context)}; correct that line") from None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise UserError(f"{path}: not a usable YAML file ({_flat(error)}); correct it") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not 'key: value' lines; see data/mask.yaml")
    return content


@lru_cache(8)  # a study reads the same network for each of its runs
def _parsed(text: str) -> Any:
    _check_bounds(text)
    return yaml.load(text, Loader=_Loader)


def _texts(text: str, key: str, built: Any) -> Any:
    """What was built of the value of a top-level key, its numbers as they are written."""
    root = yaml.compose(text, Loader=_Loader)
    return _written(next(value for name, value in root.value if name.value == key), built)


def _written(node: yaml.Node, built: Any) -> Any:
    """The same with its numbers as text; mappings with merge keys stay as they were built."""
    if isinstance(node, yaml.SequenceNode) and isinstance(built, list):
        return [_written(below, value) for below, value in zip(node.value, built, strict=True)]
    if isinstance(node, yaml.MappingNode) and isinstance(built, dict) and len(node.value) == len(built):
        pairs = zip(node.value, built.items(), strict=True)
        return {name: _written(below, value) for (_, below), (name, value) in pairs}
    return node.value if isinstance(built, int | float) and not isinstance(built, bool) else built


def place(path: str | Path, key: str) -> str:
    """`file:line` of a top-level key, or just the file where the key is not found: for error messages."""
    for number, line in enumerate(_read(Path(path)).splitlines(), 1):
        if re.match(rf"['\"]?{re.escape(str(key))}['\"]?\s*:", line):
            return f"{path}:{number}"
    return str(path)


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of a YAML file")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if len(data) > MAX_BYTES:
        what = f"over {MAX_BYTES:,} bytes, too large for a YAML file here"
        raise UserError(f"{path}: {what}; check that it is the right one")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None


def _check_bounds(text: str) -> None:
    """Walk the events, without building anything, and count what the file would come to with its aliases expanded."""
    sizes: dict[str, int] = {}  # nodes under each finished anchor
    open_nodes: list[tuple[str | None, int]] = []  # anchor, nodes counted when it opened
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise yaml.MarkedYAMLError(problem="an alias inside its own anchor", problem_mark=event.start_mark)
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        if len(open_nodes) > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested over {MAX_DEPTH} deep", problem_mark=event.start_mark)
        if total > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"over {MAX_NODES:,} values", problem_mark=event.start_mark)


def _flat(text: object) -> str:
    return " ".join(str(text).split())[:200]
