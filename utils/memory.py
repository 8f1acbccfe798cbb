"""Work that may not fit into a device's memory: tried whole, then in smaller parts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import torch

from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
T = TypeVar("T")
B = TypeVar("B", bound="Divisible")
SIGNS = ("out of memory", "unable to find an engine", "_ALLOC_FAILED")


class MemoryErrors(AbstractContextManager):
    """Raise torch.OutOfMemoryError where a CUDA library says that memory ran out in words of its own.

    cuDNN finds no way to compute a convolution without room to work in; cuBLAS cannot begin; a kernel is not loaded.
    """

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        named = isinstance(error, torch.OutOfMemoryError)
        if isinstance(error, RuntimeError) and not named and any(sign in str(error) for sign in SIGNS):
            raise torch.OutOfMemoryError(str(error)) from error


class Divisible(Protocol):
    """A batch; `data.batch.Batch` is one."""

    def __len__(self) -> int: ...
    def parts(self, size: int) -> list:
        """Batches of at most `size` pictures, in order."""


def halved(pictures: int, where: str, remedy: str) -> int:
    """Half of what did not fit, said in a line. Raises UserError where it was a single picture."""
    if pictures <= 1:
        raise UserError(f"{where}: not even one picture fits; {remedy}")
    size = (pictures + 1) // 2
    LOGGER.warning(f"{where} with {pictures} pictures at once; continuing with parts of {size}")
    return size


class InParts:
    """Calls a function on batches, in parts once memory ran out; how small is remembered for the next batch."""

    def __init__(self, where: str, remedy: str) -> None:
        self.where, self.remedy = where, remedy
        self.at_once: int | None = None

    def __call__(self, work: Callable[[B], T], batch: B) -> list[tuple[B, T]]:
        """Each part with what `work` made of it."""
        while True:
            size = min(self.at_once or len(batch), len(batch))
            try:
                return [(part, work(part)) for part in batch.parts(size)]
            except torch.OutOfMemoryError:
                pass  # what it holds is freed at the end of this block
            self.at_once = halved(size, self.where, self.remedy)
