"""JSON files of annotation tools: found, told apart by how they begin, and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from data.converters.source import Source
from data.walk import walk
from utils.errors import UserError

HEAD = 1 << 16  # bytes looked at to tell layouts apart
LOOKED_AT = 2000  # files: a set of another layout may have a hundred thousand


def files_below(source: Path, *suffixes: str) -> Iterator[Path]:
    """Files of these suffixes (lower case) at or below `source`, in order; hidden files and folders passed over."""
    if source.is_file():
        yield from [source] if source.suffix.lower() in suffixes else []
        return
    plain = (file for file in map(Path, walk(source)) if file.name.lower().endswith(suffixes) and file.name[0] != ".")
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


def such_as(layout: str, file: Path | None, source: Path) -> str | None:
    """A layout and a file of it, at or below `source`, in words; None where there is no file."""
    return f"{layout}, such as {file.name if file == source else file.relative_to(source)}" if file else None


@dataclass(frozen=True)
class FileLayout:
    """A layout whose files `known` tells by how they begin. missing: what a source without such a file lacks."""

    name: str
    known: Callable[[str], bool]
    missing: str
    suffixes: tuple[str, ...] = (".json",)

    def recognise(self, source: Path) -> str | None:
        """The layout's name and a file of it, of the first at or below `source`; None where there is none."""
        first = islice(files_below(source, *self.suffixes), LOOKED_AT)
        file = next((file for file in first if self.known(head(file))), None)
        return such_as(self.name, file, source)

    def open(self, source: Path, images: Path | None) -> tuple[list[Path], Path, Source]:
        """The files of the layout, the folder that their names begin at, and a `Source` without records. UserError."""
        files = list(matching(source, self.known, *self.suffixes))
        if not files:
            raise UserError(f"{source}: holds no {self.missing}")
        root = source if source.is_dir() else source.parent
        return files, root, Source(self.name, (images or root,))


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
