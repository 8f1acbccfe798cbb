"""What the runs of one process have in common: indices and decoded pictures, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Shared:
    """Makes what it is asked for, and hands the same out again when it is asked for with the same arguments.

    What it keeps must not be changed by those who get it: `Index` and `ImageStore` are read-only.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def get(self, make: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """`make(*arguments, **options)`, or what an earlier call with equal ones gave. Raises what `make` raises."""
        key = (make, _key(arguments), _key(sorted(options.items())))
        if key not in self._made:
            self._made[key] = make(*arguments, **options)
        return self._made[key]


def _key(value: Any) -> Hashable:
    """Lists as tuples; an index, which holds arrays, stands for itself."""
    return tuple(_key(item) for item in value) if isinstance(value, list | tuple) else value
