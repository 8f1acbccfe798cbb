"""Copies of a run's state as it is at a moment, to be written while the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from utils.nested import with_tensors

Kind = tuple[torch.device, torch.dtype]
CPU = torch.device("cpu")


class Snapshots:
    """Takes copies of nested dictionaries, lists and tuples with their tensors.

    The tensors of one device and dtype are copied together into one storage: a thousand small ones are as many page
    faults, and as many entries of a file. Main memory that is given back serves the next copy of that size.

    A CUDA GPU copies them on itself first, in turn with training, and from there to pinned main memory beside training.
    """

    def __init__(self) -> None:
        self._spare: dict[tuple[torch.dtype, int, bool], list[Tensor]] = {}
        self._sides: dict[torch.device, torch.cuda.Stream] = {}
        self._on_the_way: dict[int, tuple[torch.cuda.Event, Tensor]] = {}  # by where in main memory it arrives

    def take(self, value: Any) -> Any:
        """A copy, to be read once `settle` has been called on it.

        Its tensors are in main memory, or on a GPU where that has no CUDA or no memory could be pinned.
        """
        tensors: dict[Kind, list[Tensor]] = {}
        for tensor in _tensors(value):
            tensors.setdefault((tensor.device, tensor.dtype), []).append(tensor.detach())
        copies = {}
        for kind, originals in tensors.items():
            flat = self._storage(kind, sum(tensor.numel() for tensor in originals))
            packed = _packed(originals, flat)
            torch._foreach_copy_(packed, originals)
            sent = self._sent(flat)
            copies[kind] = iter(packed if sent is flat else _packed(originals, sent))
        return with_tensors(value, lambda tensor: next(copies[tensor.device, tensor.dtype]))

    def settle(self, copy: Any) -> None:
        """Return when all of a copy has arrived. For the thread that reads it."""
        for flat in _storages(copy):
            event, source = self._on_the_way.pop(flat.data_ptr(), (None, None))
            if event is not None:
                event.synchronize()
            del source  # the GPU's memory, not before

    def give_back(self, copy: Any) -> None:
        """The copy, which has settled, is not used any more."""
        for flat in _storages(copy):
            if flat.device == CPU:  # elsewhere torch's allocator keeps freed memory itself
                self._spare.setdefault((flat.dtype, len(flat), flat.is_pinned()), []).append(flat)

    def _storage(self, kind: Kind, count: int) -> Tensor:
        device, dtype = kind
        if device != CPU:
            try:
                return torch.empty(count, dtype=dtype, device=device)
            except torch.OutOfMemoryError:
                pass
        return self._main_memory(dtype, count)

    def _main_memory(self, dtype: torch.dtype, count: int, pinned: bool = False) -> Tensor:
        spare = self._spare.get((dtype, count, pinned))
        return spare.pop() if spare else torch.empty(count, dtype=dtype, pin_memory=pinned)

    def _sent(self, flat: Tensor) -> Tensor:
        """Where the content of `flat` will be: on its way from CUDA to main memory, else where it is."""
        if flat.device.type != "cuda" or not len(flat):
            return flat
        try:
            there = self._main_memory(flat.dtype, len(flat), pinned=True)
        except RuntimeError:  # no more can be pinned: whoever reads the copy fetches it
            return flat
        if flat.device not in self._sides:
            self._sides[flat.device] = torch.cuda.Stream(flat.device)
        side = self._sides[flat.device]
        side.wait_stream(torch.cuda.current_stream(flat.device))
        with torch.cuda.stream(side):
            there.copy_(flat, non_blocking=True)
        event = side.record_event(torch.cuda.Event(blocking=True))
        self._on_the_way[there.data_ptr()] = event, flat
        return there


def _storages(copy: Any) -> list[Tensor]:
    """The tensors that those of a copy are views of."""
    return list({id(tensor._base): tensor._base for tensor in _tensors(copy)}.values())


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
