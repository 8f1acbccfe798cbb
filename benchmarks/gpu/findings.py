"""What a part found, in a file from the first figure on, so that a part that is ended leaves what it had."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from utils.files.atomic import write_atomic

DONE, RUNNING, FAILED, LATE, LEFT_OUT = "done", "running", "failed", "ended at its time limit", "left out"


class Findings:
    """The figures of one part; each is written as soon as it is added."""

    def __init__(self, path: Path) -> None:
        self.path, self.began = path, time.perf_counter()
        self.content: dict[str, Any] = {"state": RUNNING, "why": "", "figures": [], "details": {}}

    def add(self, name: str, value: float | str, unit: str = "", bar: str = "") -> None:
        """A figure, in its unit; `bar` names what it is held against, see `bars.BARS`."""
        self.content["figures"].append({"name": name, "value": value, "unit": unit, "bar": bar})
        self.write()

    def detail(self, name: str, value: Any) -> None:
        """Plain values that go into the JSON file alone."""
        self.content["details"][name] = value
        self.write()

    def end(self, state: str, why: str = "") -> None:
        """How the part ended."""
        self.content |= {"state": state, "why": why}
        self.write()

    def write(self) -> None:
        self.content["seconds"] = round(time.perf_counter() - self.began, 1)
        write_atomic(self.path, json.dumps(self.content))


class LeftOut(Exception):
    """Raised by a part that has nothing to do here, with the reason."""
