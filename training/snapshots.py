"""Copies of a run's state as it is at a moment, to be written while the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from utils.checkpoint.nested import with_tensors

Kind = tuple[torch.device, torch.dtype]
Layout = tuple[tuple[torch.Size, tuple[int, ...]], ...]  # shape and strides of each tensor
CPU = torch.device("cpu")


@dataclass
class Pack:
    """Tensors of one device and dtype, side by side in the storage of `flat` as its `views`."""

    flat: Tensor
    views: list[Tensor]
    layout: Layout
    arrival: torch.cuda.Event | None = None  # of what `source`, on the GPU, is copied to `flat`
    source: Tensor | None = None

    @property
    def kind_of_memory(self) -> tuple[torch.dtype, Layout, bool]:
        """What a later copy must have in common to use this memory again."""
        return self.flat.dtype, self.layout, self.flat.is_pinned()


@dataclass
class Snapshot:
    """A copy of a value; its tensors may be read once `settle` has returned."""

    value: Any
    packs: list[Pack]

    def settle(self) -> None:
        """Return when all has arrived. For the thread that reads it."""
        for pack in self.packs:
            if pack.arrival is not None:
                pack.arrival.synchronize()
            pack.arrival = pack.source = None  # the GPU's memory, not before


class Snapshots:
    """Takes copies of nested dictionaries, lists and tuples with their tensors.

    The tensors of one device and dtype are copied together into one storage: a thousand small ones are as many page
    faults, and as many entries of a file. Main memory that is given back serves the next copy of that layout.

    A CUDA GPU copies them on itself first, in turn with training, and from there to pinned main memory beside training.
    """

    def __init__(self) -> None:
        self._spare: dict[tuple[torch.dtype, Layout, bool], list[Pack]] = {}
        self._sides: dict[torch.device, torch.cuda.Stream] = {}

    @torch.no_grad()
    def take(self, value: Any) -> Snapshot:
        """A copy.

        Its tensors are in main memory, or on a GPU where that has no CUDA or no memory could be pinned.
        """
        tensors: dict[Kind, list[Tensor]] = {}
        for tensor in _tensors(value):
            tensors.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        packs = {}
        for kind, originals in tensors.items():
            here = self._space(kind, tuple((tensor.shape, tensor.stride()) for tensor in originals))
            torch._foreach_copy_(here.views, originals)
            packs[kind] = self._sent(here)
        views = {kind: iter(pack.views) for kind, pack in packs.items()}
        copy = with_tensors(value, lambda tensor: next(views[tensor.device, tensor.dtype]))
        return Snapshot(copy, list(packs.values()))

    def give_back(self, copy: Snapshot) -> None:
        """The copy, which has settled, is not used any more."""
        for pack in copy.packs:
            if pack.flat.device == CPU:  # elsewhere torch's allocator keeps freed memory itself
                self._spare.setdefault(pack.kind_of_memory, []).append(pack)

    def _space(self, kind: Kind, layout: Layout) -> Pack:
        device, dtype = kind
        if device != CPU:
            try:
                return _packed(layout, torch.empty(_count(layout), dtype=dtype, device=device))
            except torch.OutOfMemoryError:
                pass
        return self._main_memory(dtype, layout)

    def _main_memory(self, dtype: torch.dtype, layout: Layout, pinned: bool = False) -> Pack:
        spare = self._spare.get((dtype, layout, pinned))
        return spare.pop() if spare else _packed(layout, torch.empty(_count(layout), dtype=dtype, pin_memory=pinned))

    def _sent(self, pack: Pack) -> Pack:
        """Where the content will be: on its way from CUDA to main memory, else where it is."""
        flat = pack.flat
        if flat.device.type != "cuda" or not len(flat):
            return pack
        try:
            there = self._main_memory(flat.dtype, pack.layout, pinned=True)
        except RuntimeError:  # no more can be pinned: whoever reads the copy fetches it
            return pack
        if flat.device not in self._sides:
            self._sides[flat.device] = torch.cuda.Stream(flat.device)
        side = self._sides[flat.device]
        side.wait_stream(torch.cuda.current_stream(flat.device))
        with torch.cuda.stream(side):
            there.flat.copy_(flat, non_blocking=True)
        there.arrival, there.source = side.record_event(torch.cuda.Event(blocking=True)), flat
        return there


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _count(layout: Layout) -> int:
    return sum(shape.numel() for shape, _ in layout)


def _packed(layout: Layout, flat: Tensor) -> Pack:
    """Views of `flat`, side by side, with the shapes and memory formats of the layout."""
    views, at = [], 0
    for shape, stride in layout:
        part = flat[at : at + shape.numel()]
        like = torch.empty_strided(shape, stride, device="meta")
        last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
        views.append(part.as_strided(shape, stride) if last else part.view(shape))
        at += shape.numel()
    return Pack(flat, views, layout)
