"""The classes of COCO files: ids by their value, the same in every file, without the roots of a hierarchy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from data.converters.json_files import text_of
from data.converters.shapes import number
from data.converters.source import Source
from utils.errors import UserError

EXACT = 1 << 53  # from here on a float may stand for several whole numbers
_WHOLE = re.compile(r"([+-]?[0-9]{1,4000})([.,]0*)?")


def ident(value: Any) -> Hashable:
    """An id by its value, not its type: 1, "1" and 1.0 are one. Ids that are no number stand as they are."""
    if isinstance(value, str):
        whole = _WHOLE.fullmatch(value.strip())
        return int(whole[1]) if whole else value.strip()  # exact, also beyond 2^53
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    as_number = number(value)
    if as_number is not None and abs(as_number) < EXACT and as_number == int(as_number):
        return int(as_number)
    return repr(value)  # so that True and 1 stay apart


class Categories:
    """Names of the classes by id."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._names: dict[Hashable, str] = {}
        self._above: dict[Hashable, str] = {}

    def add(self, content: dict[str, Any], file: Path) -> None:
        """Take in the `categories` of a file. Raises UserError where one lacks its id or name, or means another."""
        try:
            entries = [(ident(item["id"]), text_of(item["name"]), item) for item in content["categories"]]
            if any(item["id"] is None or not name for _, name, item in entries):
                raise KeyError
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{file}: each category needs an id and a name; export it again") from None
        for key, name, item in entries:
            if self._names.setdefault(key, name) != name:
                other = f"elsewhere {self._names[key]!r}"
                raise UserError(f"{file}: category {key} is {name!r}, {other}; convert the files separately")
            self._above[key] = str(item.get("supercategory") or "none")

    def label(self, key: Any) -> str | None:
        """The name of the class with this id, None where there is none."""
        return self._names.get(ident(key)) if key is not None else None

    def names(self, used: set[Hashable], found: Source) -> tuple[str, ...]:
        """The classes by ascending id, `used` being the ids that annotations have.

        A category without boxes is dropped, and that is counted, where it is the root of others or where a second one
        has its name. Raises UserError where two with boxes have one name.
        """
        kept = {}
        often = Counter(self._names.values())
        for key, name in self._names.items():
            root = self._above[key] in ("none", "None") and any(
                above == name for other, above in self._above.items() if other != key
            )
            if key not in used and (root or often[name] > 1):
                found.counts[f"category {key} {name!r}, a parent category or duplicate without boxes, dropped"] += 1
                often[name] -= 1
                continue
            kept[key] = name
        twice = next((name for name, count in Counter(kept.values()).items() if count > 1), None)
        if twice is not None:
            raise UserError(f"{self._source}: two categories are called {twice!r}; rename one")
        return tuple(kept[key] for key in sorted(kept, key=lambda key: (not isinstance(key, int), key)))
