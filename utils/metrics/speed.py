"""Where the time of an evaluation goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from utils.files.atomic import write_atomic


@dataclass
class Speed:
    """Seconds spent, summed over pictures. Timing waits for the device after every part, unless nobody reads it."""

    pictures: int = 0
    read: bool = True
    seconds: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "inference": 0.0, "NMS": 0.0})

    def add(self, part: str, since: float, device: torch.device) -> float:
        """Book the time since `since` under `part`; returns now."""
        if device.type == "cuda" and self.read:
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        self.seconds[part] += now - since
        return now

    def __str__(self) -> str:
        return ", ".join(f"{ms:.1f} ms {part}" for part, ms in self._milliseconds()) + " per picture"

    def write_csv(self, out: Path) -> None:
        """Write a row a part: its milliseconds a picture."""
        write_atomic(out, "".join(["part,ms\n", *(f"{part},{ms:.4f}\n" for part, ms in self._milliseconds())]))

    def _milliseconds(self) -> list[tuple[str, float]]:
        return [(part, 1000 * seconds / max(self.pictures, 1)) for part, seconds in self.seconds.items()]
