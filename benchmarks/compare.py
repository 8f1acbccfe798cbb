"""Whether two runs are the same: tables by bytes, checkpoints by every tensor's bits and every plain value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils import checkpoint

TABLES = ("results.csv", "lr.csv", "cycles.csv")


def differences(first: Any, second: Any, where: str = "") -> list[str]:
    """Where two checkpoints differ: any tensor's dtype, shape or bits, any plain value but the date."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        same = first.dtype == second.dtype and torch.equal(first, second)
        return [] if same else [where]
    if type(first) is not type(second):
        return [f"{where}: {first!r} against {second!r}"]
    if isinstance(first, dict):
        if list(first) != list(second):
            return [f"{where}: keys {sorted(map(str, first.keys() ^ second.keys()))}"]
        pairs = [(first[key], second[key], f"{where}.{key}") for key in first if key != "date"]
    elif isinstance(first, list | tuple):
        if len(first) != len(second):
            return [f"{where}: {len(first)} entries against {len(second)}"]
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(first, second, strict=True))]
    else:
        return [] if first == second else [f"{where}: {first!r} against {second!r}"]
    return [line for a, b, place in pairs for line in differences(a, b, place)]


def run_differences(first: Path, second: Path, but: tuple[str, ...] = ()) -> list[str]:
    """Where two run folders differ, a line each, without the lines on entries of a checkpoint that start with `but`.

    Generations before the last save, and what a killed process left half written, are not compared.
    """
    tables = [[read(run / name) for name in TABLES] for run in (first, second)]
    found = [name for name, a, b in zip(TABLES, *tables, strict=True) if a != b]
    names = [weights(run) for run in (first, second)]
    found += [f"{name}: only one of the runs has it" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        states = [checkpoint.load(run / "weights" / name) for run in (first, second)]
        found += [f"{name}: {line}" for line in differences(*states) if not line.startswith(but or "\n")]
    return found


def weights(run: Path) -> set[str]:
    """The names of a run's checkpoints, without the generation before the last save."""
    return {path.name for path in (run / "weights").glob("[!.]*") if "previous" not in path.name}


def read(path: Path) -> bytes | None:
    """A file's bytes; None where it is not there."""
    return path.read_bytes() if path.exists() else None
