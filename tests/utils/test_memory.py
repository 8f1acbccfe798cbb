"""Work in parts once memory ran out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import UserError
from utils.memory import InParts, MemoryErrors


class Numbers(list):
    """A batch of numbers."""

    def parts(self, size: int) -> list[Numbers]:
        return [Numbers(self[at : at + size]) for at in range(0, len(self), size)]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 40))
def test_everything_is_done_once_and_nothing_is_tried_in_vain_twice(sizes: list[int], room: int) -> None:
    tried = []

    def work(part: Numbers) -> int:
        tried.append(len(part))
        if len(part) > room:
            raise torch.OutOfMemoryError
        return sum(part)

    in_parts = InParts("out of memory", "buy some")
    for size in sizes:
        batch = Numbers(range(size))
        found = in_parts(work, batch)
        assert [n for part, _ in found for n in part] == batch
        assert sum(total for _, total in found) == sum(batch)
        assert max(len(part) for part, _ in found) <= room
    too_large = [n for n in tried if n > room]
    assert too_large == sorted(set(too_large), reverse=True)


def test_a_single_one_that_does_not_fit_is_an_error() -> None:
    def work(_: Numbers) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(UserError, match=r"^out of memory here: not even one picture fits; buy some$"):
        InParts("out of memory here", "buy some")(work, Numbers([1, 2, 3]))


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("GET was unable to find an engine to execute this computation", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA error: out of memory", True),
        ("CUDA error: an illegal memory access was encountered", False),
        ("The size of tensor a (3) must match the size of tensor b (4)", False),
    ],
)
def test_what_libraries_say_of_memory_is_known(text: str, memory: bool) -> None:
    with pytest.raises(RuntimeError, match=r"CUDA|unable|size") as caught, MemoryErrors():
        raise RuntimeError(text)
    assert isinstance(caught.value, torch.OutOfMemoryError) is memory
