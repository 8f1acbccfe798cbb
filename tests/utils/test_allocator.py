"""Freed memory is kept for the next tensor."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from utils import allocator

FAULTS = """
import resource, sys
import torch
from utils.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
[torch.zeros(20_000_000) for _ in range(2)]
before = faults()
for _ in range(50):
    torch.zeros(20_000_000)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_large_tensors_take_the_place_of_those_before_them() -> None:
    """By default each 80 MB are mapped anew, and every page of them, small or huge, is a fault."""
    counts = {}
    for mode in ("default", "kept"):
        result = subprocess.run([sys.executable, "-c", FAULTS, mode], check=True, capture_output=True, text=True)
        counts[mode] = int(result.stdout)
    assert counts["kept"] < counts["default"] / 4, counts


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_where_the_c_library_cannot_all_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, error: type) -> None:
    def missing(_: object) -> None:
        raise error

    monkeypatch.setattr(allocator.ctypes, "CDLL", missing)
    assert allocator.keep_freed_memory.__wrapped__() is False
