"""Worker processes on this machine: one a GPU or several, one on a CPU."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

import torch

from ablation.slots import Demand
from utils.console.wording import counted
from utils.device import select_device
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
ROOT = Path(__file__).resolve().parent.parent
CLOSING = 10.0  # seconds that an idle worker has to end
DIED: dict[str, Any] = {"died": True}
LOST: dict[str, Any] = {"lost": True}  # through no fault of the run: its node is gone


@dataclass(frozen=True)
class Placement:
    """Where a worker runs: the `--device` of its runs, and the GPUs it sees, by their numbers on the machine.

    Without a GPU (`""`) it sees none; None leaves it what this process sees. `threads`: of a CPU that it shares.
    """

    device: str
    gpu: str | None = ""
    threads: int | None = None


def placements(demand: Demand) -> list[Placement]:
    """Where the workers of `--device` go: `per_gpu` on each GPU of auto or of a list, or sharing the CPU's cores; or
    one on every `gpus` GPUs.

    Raises UserError.
    """
    name, per_gpu = demand.device.strip().lower(), demand.per_gpu
    if name in ("auto", "") and torch.cuda.device_count():
        chosen, numbers = [], list(range(torch.cuda.device_count()))
    else:
        chosen = [select_device(part) for part in (name.split(",") if "," in name else [name])]
        numbers = sorted({d.index for d in chosen if d.type == "cuda"})
        if not numbers:
            if demand.gpus > 1:
                raise UserError(f"--gpus-per-run {demand.gpus}: runs go to the {chosen[0].type.upper()}; leave it out")
            if chosen[0].type == "mps" and per_gpu > 1:
                raise UserError(f"--per-gpu {per_gpu}: the MPS device takes one run at a time; leave it out")
            threads = max(1, torch.get_num_threads() // per_gpu) if per_gpu > 1 else None
            return [Placement(name or "auto", None if chosen[0].type == "mps" else "", threads)] * per_gpu
    seen = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    gpus = [seen[number] if seen else str(number) for number in numbers]
    if demand.gpus > 1:
        return _in_groups(gpus, demand.gpus)
    return [Placement("cuda:0" if chosen else "auto", gpu) for _ in range(per_gpu) for gpu in gpus]


def _in_groups(gpus: list[str], size: int) -> list[Placement]:
    if size > len(gpus):
        has = counted(len(gpus), "GPU")
        raise UserError(f"--gpus-per-run {size}: {has} can be used here; give {len(gpus)} or fewer")
    if len(gpus) % size:
        LOGGER.warning(f"--gpus-per-run {size}: {len(gpus) % size} of {counted(len(gpus), 'GPU')} stay unused")
    device = ",".join(map(str, range(size)))
    return [Placement(device, ",".join(gpus[i : i + size])) for i in range(0, len(gpus) - size + 1, size)]


class LocalWorker:
    """A worker process of this machine; it is started when there is something to do, and again after it died."""

    held: IO | None = None  # the study's lock

    def __init__(self, place: Placement, log: Path) -> None:
        self.place, self.log = place, log
        self._process: subprocess.Popen | None = None

    def begin(self, job: dict[str, Any]) -> None:
        """Hand over a job; its answer comes later, through the pool's `wait`."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._write(job)

    def interrupt(self) -> None:
        """Ask for the run under way to be saved and stopped."""
        if self._process is not None:
            self._write(None)

    def _write(self, job: dict[str, Any] | None) -> None:
        with contextlib.suppress(OSError):  # it has just died: `answer` will say so
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()

    def _start(self) -> None:
        env = {**os.environ, "PYTHONPATH": search_path(os.environ)}
        if self.place.gpu is not None:
            env["CUDA_VISIBLE_DEVICES"] = self.place.gpu
        if self.place.threads is not None:
            env["OMP_NUM_THREADS"] = str(self.place.threads)
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ablation.worker"],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C goes to the parent, which tells its workers
                pass_fds=(self.held.fileno(),) if self.held else (),  # the study is held until its last worker is gone
            )

    @property
    def output(self) -> Any:
        """The worker's standard output, to be waited on together with others."""
        return self._process.stdout

    def answer(self) -> dict[str, Any]:
        """The answer to the job, or that the worker died and how. Waits for it, and for the end of a broken worker."""
        line = self._process.stdout.readline()
        if line.endswith("\n"):
            found = json.loads(line)
            if found.get("broken"):  # a moment from its end: the next job must not go to it
                self.close()
            return found
        code = self._process.wait()
        return DIED | {"how": f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"}

    def close(self) -> None:
        """End the process; the next job starts another."""
        ending, self._process = self._process, None
        if ending is None:
            return
        try:
            ending.stdin.close()
            ending.wait(CLOSING)
        except (OSError, subprocess.TimeoutExpired):
            ending.kill()
            ending.wait()
        ending.stdout.close()


class LocalWorkerPool:
    """The workers of this machine."""

    def __init__(self, demand: Demand, log: Path) -> None:
        if demand.cpus is not None:
            remedy = "give --ray, or --per-gpu K for K on the CPU at once"
            raise UserError(f"--cpus-per-run is what runs ask Ray for; {remedy}")
        self.workers: list[LocalWorker] = [LocalWorker(place, log) for place in placements(demand)]

    @property
    def size(self) -> int:
        """How many runs go at once."""
        return len(self.workers)

    def keep(self, held: IO) -> None:
        """Have every worker hold the study's lock too: it is held until the last of them has ended."""
        for worker in self.workers:
            worker.held = held

    def wait(self, busy: list[LocalWorker], seconds: float) -> list[tuple[LocalWorker, dict[str, Any]]]:
        """The workers that have answered, at the latest after so many seconds."""
        ready = wait([worker.output for worker in busy], seconds)
        return [(worker, worker.answer()) for worker in busy if worker.output in ready]

    def close(self) -> None:
        """End every worker process."""
        for worker in self.workers:
            worker.close()


def search_path(env: Mapping[str, str]) -> str:
    """PYTHONPATH with the trainer's own folder first: workers start in the user's folder."""
    return os.pathsep.join(part for part in (str(ROOT), env.get("PYTHONPATH", "")) if part)
