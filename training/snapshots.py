"""Copies of a run's state as it is at a moment, to be written while the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Kind = tuple[torch.device, torch.dtype]
CPU = torch.device("cpu")


class Snapshots:
    """Takes copies of nested dictionaries, lists and tuples with their tensors.

    The tensors of one device and dtype are copied together into one storage: a thousand small ones are as many page
    faults, and as many entries of a file. Main memory that is given back serves the next copy of that size.
    """

    def __init__(self) -> None:
        self._spare: dict[tuple[torch.dtype, int], list[Tensor]] = {}

    def take(self, value: Any) -> Any:
        """A copy; its tensors are on the devices of the originals, or in main memory where a GPU has no room."""
        tensors: dict[Kind, list[Tensor]] = {}
        for tensor in _tensors(value):
            tensors.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
        copies = {}
        for kind, originals in tensors.items():
            packed = _packed(originals, self._storage(kind, sum(tensor.numel() for tensor in originals)))
            torch._foreach_copy_(packed, originals)
            copies[kind] = iter(packed)
        return _replaced(value, copies)

    def give_back(self, copy: Any) -> None:
        """The copy is not used any more."""
        bases = {id(tensor._base): tensor._base for tensor in _tensors(copy)}
        for flat in bases.values():
            if flat.device == CPU:  # elsewhere torch's allocator keeps freed memory itself
                self._spare.setdefault((flat.dtype, len(flat)), []).append(flat)

    def _storage(self, kind: Kind, count: int) -> Tensor:
        device, dtype = kind
        if device != CPU:
            try:
                return torch.empty(count, dtype=dtype, device=device)
            except torch.OutOfMemoryError:
                pass
        spare = self._spare.get((dtype, count))
        return spare.pop() if spare else torch.empty(count, dtype=dtype)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _packed(tensors: list[Tensor], flat: Tensor) -> list[Tensor]:
    """Views of `flat`, side by side, with the shapes and memory formats of the tensors."""
    packed, at = [], 0
    for tensor in tensors:
        part = flat[at : at + tensor.numel()]
        last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        packed.append(part.as_strided(tensor.shape, tensor.stride()) if last else part.view(tensor.shape))
        at += tensor.numel()
    return packed


def _replaced(value: Any, copies: dict[Kind, Iterator[Tensor]]) -> Any:
    if isinstance(value, Tensor):
        return next(copies[value.device, value.dtype])
    if isinstance(value, dict):
        return {key: _replaced(item, copies) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, copies) for item in value)
    return value
