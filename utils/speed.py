"""Where the time of an evaluation goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch


@dataclass
class Speed:
    """Seconds spent, summed over pictures. Timing waits for the device after every part."""

    pictures: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"load": 0.0, "inference": 0.0, "NMS": 0.0})

    def add(self, part: str, since: float, device: torch.device) -> float:
        """Book the time since `since` under `part`; returns now."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        self.seconds[part] += now - since
        return now

    def __str__(self) -> str:
        parts = ", ".join(f"{1000 * s / max(self.pictures, 1):.1f} ms {part}" for part, s in self.seconds.items())
        return f"{parts} a picture"
