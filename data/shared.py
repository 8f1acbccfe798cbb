"""What the runs of one process have in common: indices and decoded pictures, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Made(NamedTuple):
    arguments: tuple[Hashable, ...]
    options: Hashable
    value: Any


class Shared:
    """Makes what it is asked for, and hands the same out again when it is asked for with the same arguments.

    Of each kind and part (`desc`) it keeps what it made last. Before it makes another it lets go of that, of what was
    made from it, and of the other parts that the same function made with other options: no more is in memory than a
    run by itself would hold. It must not be changed by those who get it: `Index` and `ImageStore` are read-only.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[Callable, str], _Made] = {}

    def get(self, make: Callable[..., T], *arguments: Any, desc: str = "", **options: Any) -> T:
        """`make(*arguments, desc=desc, **options)`, or what the last call of that `make` and `desc` gave, if it was
        the same. Raises what `make` raises."""
        slot, asked = (make, desc), (_key(arguments), _key(sorted(options.items())))
        if slot not in self._made or (self._made[slot].arguments, self._made[slot].options) != asked:
            self._let_go(slot, asked[1])
            self._made[slot] = _Made(*asked, make(*arguments, desc=desc, **options))
        return self._made[slot].value

    def _let_go(self, slot: tuple[Callable, str], options: Hashable) -> None:
        old = self._made.pop(slot, None)
        for other, made in list(self._made.items()):
            made_from_it = old is not None and any(argument is old.value for argument in made.arguments)
            if made_from_it or (other[0] is slot[0] and made.options != options):
                del self._made[other]


def _key(value: Any) -> Hashable:
    """Lists as tuples; an index, which holds arrays, stands for itself."""
    return tuple(_key(item) for item in value) if isinstance(value, list | tuple) else value
