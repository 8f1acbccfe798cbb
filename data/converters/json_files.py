"""JSON files of annotation tools: found, told apart by how they begin, and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from utils.errors import UserError

HEAD = 1 << 16  # bytes looked at to tell layouts apart


def files_below(source: Path, *suffixes: str) -> Iterator[Path]:
    """Files of these suffixes (lower case) at or below `source`, in order; hidden files and folders passed over."""
    if source.is_file():
        yield from [source] if source.suffix.lower() in suffixes else []
        return
    for file in sorted(source.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(source).parts)
        if file.suffix.lower() in suffixes and not hidden and file.is_file():
            yield file


def head(file: Path) -> str:
    """How a text file begins; "" where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(HEAD).decode("utf-8-sig", "replace").replace("\0", "")  # UTF-16 is met too
    except OSError:
        return ""


def matching(source: Path, known: Callable[[str], bool], *suffixes: str) -> list[Path]:
    """The files below `source` whose beginning `known` accepts."""
    return [file for file in files_below(source, *(suffixes or (".json",))) if known(head(file))]


def load_json(file: Path, kind: str = "JSON") -> Any:
    """The content of a JSON file in any encoding JSON may have.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        data = file.read_bytes()
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check its permissions") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: broken JSON ({error.msg}); export it again") from None
    except (ValueError, RecursionError):
        raise UserError(f"{file}: not a {kind} file; export it again") from None


def text_of(value: Any) -> str:
    """A name by its value: text as it is, numbers as they are written, "" for anything else."""
    if isinstance(value, str):
        text = value.strip()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = f"{value:g}" if isinstance(value, float) else str(value)
    else:
        return ""
    return text.encode("utf-8", "ignore").decode()  # JSON can spell half a character
