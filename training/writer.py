"""Saves that training does not wait for: the state is copied, then written aside."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

MOST = 2


class Writer:
    """One thread that writes what it is given, in order. A context manager: leaving it waits for the last write.

    At most `MOST` writes wait or are under way (an epoch's best and last weights, say), which bounds the memory.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._under_way: deque[Future] = deque()

    def submit(self, write: Callable[[], None]) -> None:
        """Run `write` aside, after those before it."""
        while len(self._under_way) >= MOST:
            self._under_way.popleft().result()
        self._under_way.append(self._pool.submit(write))

    def wait(self) -> None:
        """Return when nothing is under way. Raises what a write raised."""
        while self._under_way:
            self._under_way.popleft().result()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def snapshot(value: Any) -> Any:
    """A copy of nested dictionaries, lists and tuples with copies of their tensors.

    The tensors of one device and dtype are copied together into one storage: a thousand small ones are as many page
    faults, and as many entries of a file. Where a GPU has no room for the copy, it goes to main memory.
    """
    tensors: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in _tensors(value):
        tensors.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
    copies = {}
    for kind, originals in tensors.items():
        try:
            packed = _packed(originals, kind[0])
        except torch.OutOfMemoryError:
            packed = _packed(originals, torch.device("cpu"))
        torch._foreach_copy_(packed, originals)
        copies[kind] = iter(packed)
    return _replaced(value, copies)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _packed(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of these shapes and memory formats, uninitialised, side by side in one storage."""
    flat = tensors[0].new_empty(sum(tensor.numel() for tensor in tensors), device=device)
    packed, at = [], 0
    for tensor in tensors:
        part = flat[at : at + tensor.numel()]
        last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        packed.append(part.as_strided(tensor.shape, tensor.stride()) if last else part.view(tensor.shape))
        at += tensor.numel()
    return packed


def _replaced(value: Any, copies: dict[tuple[torch.device, torch.dtype], Iterator[Tensor]]) -> Any:
    if isinstance(value, Tensor):
        return next(copies[value.device, value.dtype])
    if isinstance(value, dict):
        return {key: _replaced(item, copies) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(item, copies) for item in value)
    return value
