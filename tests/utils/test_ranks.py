"""What processes tell one another, as bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from utils.ranks import packed, unpacked


def test_tensors_of_one_storage_are_sent_once() -> None:
    """As a checkpoint's: a hundred times a hundred numbers are ten thousand."""
    numbers = torch.arange(10_000.0)
    parts = {f"{i}.weight": numbers[100 * i : 100 * (i + 1)].view(10, 10) for i in range(100)}
    data = packed({"model": parts, "step": 3})
    assert len(data) < 2 * numbers.numel() * numbers.element_size()
    found = unpacked(data)
    assert found["step"] == 3
    assert all(torch.equal(found["model"][name], part) for name, part in parts.items())


@pytest.mark.parametrize("value", [None, True, "a\nb", Path("runs/exp"), {"epoch": 1, "names": ("a", "b")}, [0.1]])
def test_plain_values_come_as_they_are(value: object) -> None:
    found = unpacked(packed(value))
    assert (found, type(found)) == (value, type(value))
