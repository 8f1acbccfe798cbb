"""Nested dictionaries, lists and tuples that hold tensors: what a checkpoint is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


def with_tensors(value: Any, replace: Callable[[Tensor], Tensor]) -> Any:
    """A copy of dictionaries, lists and tuples with `replace(tensor)` for each tensor, in order; the rest as it is."""
    if isinstance(value, Tensor):
        return replace(value)
    if isinstance(value, dict):
        return {key: with_tensors(item, replace) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_tensors(item, replace) for item in value)
    return value
