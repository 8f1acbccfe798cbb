"""JSON files of annotation tools: found, told apart by how they begin, and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from data.converters.walk import files_of
from utils.errors import UserError

HEAD = 1 << 16  # bytes looked at to tell layouts apart
LOOKED_AT = 2000  # files: a set of another layout may have a hundred thousand


def files_below(source: Path, *suffixes: str) -> Iterator[Path]:
    """Files of these suffixes (lower case) at or below `source`, in order; hidden files and folders passed over."""
    if source.is_file():
        yield from [source] if source.suffix.lower() in suffixes else []
        return
    plain = (file for file in files_of(source) if file.name.lower().endswith(suffixes) and file.name[0] != ".")
    yield from (file for file in sorted(plain) if file.is_file())


def head(file: Path) -> str:
    """How a text file begins; "" where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(HEAD).decode("utf-8-sig", "replace").replace("\0", "")  # UTF-16 is met too
    except OSError:
        return ""


def matching(source: Path, known: Callable[[str], bool], *suffixes: str) -> Iterator[Path]:
    """The files below `source` whose beginning `known` accepts."""
    return (file for file in files_below(source, *(suffixes or (".json",))) if known(head(file)))


def example(source: Path, layout: str, known: Callable[[str], bool], *suffixes: str) -> str | None:
    """Words for a layout of which one of the first files below `source` is, naming that file; None where none is."""
    first = islice(files_below(source, *(suffixes or (".json",))), LOOKED_AT)
    file = next((file for file in first if known(head(file))), None)
    return f"{layout}, such as {file.name if file == source else file.relative_to(source)}" if file else None


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
