"""What every part is told: the device, the data, where to work and until when."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch

from training import options
from training.options import Options
from utils.files.atomic import write_atomic

T = TypeVar("T")
NARROW = "layout: yolov5\ndepth: 0.33\nwidth: 0.0625\n"  # 0.1 M parameters


@dataclass
class Setting:
    """One run of the command, as its parts see it. `until`: when the part is ended (`time.time`)."""

    device: str
    quick: bool
    data: str  # YAML of the pictures: the one given, or of those drawn
    drawn: bool
    peer: str
    folder: str  # to work in; gone afterwards
    until: float = 0.0

    @property
    def where(self) -> torch.device:
        return torch.device(self.device)

    @property
    def on_gpu(self) -> bool:
        return self.where.type == "cuda"

    @property
    def seconds_left(self) -> float:
        return self.until - time.time()

    def size(self, pixels: int) -> int:
        """The side of pictures: as asked for, or a small one."""
        return 64 if self.quick else pixels

    def either(self, whole: T, quick: T) -> T:
        """One of two values."""
        return quick if self.quick else whole

    def layout(self, name: str) -> str:
        """The network of that name, or a narrow one in its place."""
        if not self.quick:
            return name
        path = Path(self.folder) / f"{name}-narrow.yaml"
        if not path.exists():
            write_atomic(path, NARROW)
        return str(path)

    def flags(self, text: str, **values: object) -> list[str]:
        """A command line of train.py on this device without pictures of its batches: `text`, then `values`."""
        words = [
            "--hyp",
            "yolov5",
            "--device",
            self.device,
            "--noplots",
            "--workers",
            str(self.either(8, 1)),
            *text.split(),
        ]
        for name, value in values.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def options(self, text: str, **values: object) -> Options:
        """The same, read."""
        return options.parse(self.flags(text, **values), "benchmarks.gpu", "")[0]

    def write(self, path: Path) -> None:
        write_atomic(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Setting:
        return cls(**json.loads(path.read_text(encoding="utf-8")))
