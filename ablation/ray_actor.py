"""What runs on a node of a Ray cluster: an actor that keeps one worker process, the very one that runs without Ray."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.study import FILE
from ablation.worker_pool import ROOT, LocalWorker, Placement
from data.datasets import load_dataset
from utils.errors import UserError


@dataclass(frozen=True)
class Shared:
    """What every node must have as the machine has it that asks: current folder, study, data and trainer.

    threads: the user's OMP_NUM_THREADS, empty where that is not set.
    """

    cwd: str
    study: Path
    seen: str
    code: str
    data: str
    threads: str


def shared(study: Path, data: str) -> Shared:
    """What this machine has of a study whose file is written."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return Shared(os.getcwd(), study.resolve(), _digest([study / FILE]), _digest(_sources()), data, threads)


class RayActor:
    """The actor: starts a worker process when there is a job, hands it over and waits for the answer."""

    def __init__(self, device: str, log: Path, here: Shared, cpus: float) -> None:
        self.device, self.log, self.here, self.cpus = device, log, here, cpus
        self.lock, self.stopped = threading.Lock(), False
        self.worker: LocalWorker | None = None

    def start(self) -> dict[str, str]:
        """Look whether runs can go on here. Returns the `host`, its `gpus` that are given, and what is `wrong`."""
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "") if self.device != "cpu" else ""
        wrong = self._differs()
        if not wrong:
            os.chdir(self.here.cwd)
            whole = self.cpus == 0 or self.cpus >= (os.cpu_count() or 1)
            threads = None if self.device != "cpu" or self.here.threads or whole else max(1, int(self.cpus))
            self.worker = LocalWorker(Placement(self.device, gpus, threads), self.log)
        return {"host": platform.node(), "gpus": gpus, "wrong": wrong}

    def _differs(self) -> str:
        """What this machine lacks of what must be shared; empty where it has all."""
        there = self.here
        if not Path(there.cwd).is_dir():
            return f"{there.cwd}: no such folder there; study, data and trainer must be at the same paths on all nodes"
        if not (there.study / FILE).is_file() or _digest([there.study / FILE]) != there.seen:
            return f"{there.study}: is not this study's folder there; all nodes must share it"
        if _digest(_sources()) != there.code:
            return f"{ROOT}: the trainer there differs from this one; bring it to the same commit"
        try:
            os.chdir(there.cwd)
            load_dataset(there.data, render_sample=False)
        except (UserError, OSError) as error:
            return str(error)
        return ""

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """One job; returns its answer. A stop that came before the job interrupts it at once."""
        if not self.here.threads:
            os.environ.pop("OMP_NUM_THREADS", None)  # Ray's, by the CPUs that are asked for
        with self.lock:
            self.worker.begin(job)
            if self.stopped:
                self.worker.interrupt()
        return self.worker.answer()

    def interrupt(self) -> None:
        """Runs beside `do`, on a thread of its own, and may come before it: then it stops the job that comes."""
        with self.lock:
            self.stopped = True
            self.worker.interrupt()

    def close(self) -> None:
        """End the worker process."""
        if self.worker:
            self.worker.close()


def _sources() -> list[Path]:
    packages = [path.parent for path in ROOT.glob("*/__init__.py")]
    return sorted([*ROOT.glob("*.py"), *(path for folder in packages for path in folder.rglob("*.py"))])


def _digest(paths: list[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()
