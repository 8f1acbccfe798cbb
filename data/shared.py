"""What the runs of one process have in common: indices and decoded pictures, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Shared:
    """Makes what it is asked for, and hands the same out again when it is asked for with the same arguments.

    Of each kind and part (`desc`) it keeps what it made last, and lets go of that before it makes another: no more is
    in memory than a run by itself would hold. It must not be changed by those who get it: `Index` and `ImageStore`
    are read-only.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, tuple[Hashable, Any]] = {}

    def get(self, make: Callable[..., T], *arguments: Any, desc: str = "", **options: Any) -> T:
        """`make(*arguments, desc=desc, **options)`, or what the last call of that `make` and `desc` gave, if it was
        the same. Raises what `make` raises."""
        slot, key = (make, desc), (_key(arguments), _key(sorted(options.items())))
        if slot not in self._made or self._made[slot][0] != key:
            self._made.pop(slot, None)
            self._made[slot] = (key, make(*arguments, desc=desc, **options))
        return self._made[slot][1]


def _key(value: Any) -> Hashable:
    """Lists as tuples; an index, which holds arrays, stands for itself."""
    return tuple(_key(item) for item in value) if isinstance(value, list | tuple) else value
