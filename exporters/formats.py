"""The table of formats: what each is called, needs, how it is written and opened."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from exporters.metadata import Metadata
from exporters.model import Opened
from exporters.network import Suppression
from models import Detector
from utils.errors import UserError, nearest


@dataclass(frozen=True)
class Export:
    """What is to be written: the detector, and how. `detector` is float32, on `device`, in evaluation mode.

    `made`: the files of this export that are there already, by their format's name.
    """

    detector: Detector
    metadata: Metadata
    device: torch.device
    opset: int = 18
    simplify: bool = False
    made: dict[str, Path] = field(default_factory=dict)

    @property
    def suppression(self) -> Suppression | None:
        """The options of the NMS inside, if there is to be one."""
        facts = self.metadata
        return Suppression(facts.conf, facts.iou, facts.max_det) if facts.nms else None

    def example(self) -> torch.Tensor:
        """Pictures such as the file takes."""
        return torch.full((self.metadata.batch, 3, *self.metadata.size), 0.5, device=self.device)


@dataclass(frozen=True)
class Format:
    """One format.

    `suffix`: what follows the checkpoint's stem. `needs`, `reads_with`: packages to write and to open it. `write` puts
    a file (or folder) at a path that is free; `read` opens one. `marks`: of a folder, a file by which it is known.
    `free`: a file for any number and size of pictures is as good as one for a single size.
    """

    name: str
    suffix: str
    needs: tuple[str, ...]
    reads_with: tuple[str, ...]
    write: Callable[[Export, Path], None]
    read: Callable[[Path, torch.device], Opened]
    marks: str = ""
    free: bool = False

    def owns(self, folder: Path) -> bool:
        """Whether a folder is such as `write` leaves."""
        return bool(self.marks) and (folder / self.marks).is_file()


_FORMATS: dict[str, Format] = {}


def register(form: Format) -> Format:
    """Enter a format into the table."""
    if form.name in _FORMATS:
        raise UserError(f"export format '{form.name}' is already registered; choose another name")
    _FORMATS[form.name] = form
    return form


def names() -> list[str]:
    """All formats' names, those first that others are made from."""
    return sorted(_FORMATS, key=lambda name: (name != "onnx", name))


def get(name: str) -> Format:
    """The format of that name. UserError, with the nearest, where there is none."""
    if name not in _FORMATS:
        raise UserError(f"unknown export format '{name}'; {nearest(name, _FORMATS)}")
    return _FORMATS[name]


def of_path(path: str | Path) -> Format | None:
    """The format that a file's name (or a folder's) tells, None for any other."""
    name = Path(path).name
    return next((form for form in _FORMATS.values() if name.endswith(form.suffix) and name != form.suffix), None)


def require(packages: tuple[str, ...], what: str) -> None:
    """UserError that names the packages which are not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"{what} needs {' and '.join(missing)}; pip install {' '.join(missing)}")
