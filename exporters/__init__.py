"""Detectors in the formats of other programs: written, and opened again. One format a file.

A file dropped into this folder enters its format into the table:

    from exporters.detector import ExportedDetector
from exporters.formats import Export, Format, register

    register(Format("name", ".suffix", needs=("package",), reads_with=("package",), write=write, read=read))
"""

from __future__ import annotations

from pathlib import Path

import torch

from exporters.detector import ExportedDetector
from exporters.formats import Export, Format, get, names, of_path, register, require
from exporters.metadata import Metadata
from exporters.model import Exported, rows_of
from utils.errors import UserError
from utils.registry import import_siblings

__all__ = [
    "Export",
    "Exported",
    "ExportedDetector",
    "Format",
    "Metadata",
    "get",
    "is_exported",
    "names",
    "open_exported",
    "register",
    "rows_of",
]


def is_exported(path: str | Path) -> bool:
    """Whether a path has the suffix of an exported file or folder."""
    return of_path(path) is not None


def open_exported(path: str | Path, device: torch.device | str = "cpu") -> Exported:
    """An exported detector, ready to run on `device`.

    Raises UserError where there is no such file, the package that runs it is missing, or it is not what it says.
    """
    path, device = Path(path), torch.device(device)
    form = of_path(path)
    if form is None:
        known = ", ".join(get(name).suffix for name in names())
        raise UserError(f"{path}: not the name of an exported file; those end in {known}")
    if not path.exists():
        raise UserError(f"{path}: no such file; make it with export.py --include {form.name}")
    require(form.reads_with, f"{path}: to run it")
    return Exported(path, form.read(path, device), device)


import_siblings(__name__, __path__)
