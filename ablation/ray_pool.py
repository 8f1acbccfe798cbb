"""Workers on a Ray cluster: each actor keeps one worker process on its node, the very one that runs without Ray.

The study's folder, the data and the trainer must lie at the same paths on every node.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import IO, Any

from ablation.worker_pool import DIED, LocalWorker, Placement, search_path
from utils.errors import UserError

LOCAL = "local"
CLOSING = 20.0  # seconds


class RayActor:
    """The actor: starts a worker process when there is a job, hands it over and waits for the answer."""

    def __init__(self, place: Placement, log: Path, cwd: str) -> None:
        os.chdir(cwd)
        self.worker = LocalWorker(place, log)
        self.lock, self.stopped = threading.Lock(), False

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """One job; returns its answer. A stop that came before the job interrupts it at once."""
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
        self.worker.close()


class RayWorker:
    """A worker somewhere on the cluster."""

    def __init__(self, actor: Any, place: Placement) -> None:
        self.actor, self.place = actor, place
        self.pending: Any = None

    def begin(self, job: dict[str, Any]) -> None:
        """Send a job to the actor; `pending` is the answer to come."""
        self.pending = self.actor.do.remote(job)

    def interrupt(self) -> None:
        """Ask for a stop of the job; its answer says that it was stopped."""
        self.actor.interrupt.remote()


class RayWorkerPool:
    """One worker for `1 / per_gpu` of each GPU of the cluster; without GPUs, or with `--device cpu`, one a node."""

    def __init__(self, address: str, device: str, per_gpu: int, log: Path) -> None:
        self.ray = _ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # names of an actor's class and jobs are looked up where the actor runs
        env = {"env_vars": {"PYTHONPATH": search_path(os.environ), "RAY_USAGE_STATS_ENABLED": "0"}}
        settings: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
        try:
            self.ray.init(address, runtime_env=env, log_to_driver=False, logging_level="ERROR", **settings)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--ray {address}: {' '.join(str(error).split())[:160]}; give HOST:PORT or 'local'"
            ) from None
        gpus = int(self.ray.cluster_resources().get("GPU", 0)) if device in ("auto", "") else 0
        if not gpus and per_gpu > 1:
            self.ray.shutdown()
            raise UserError(f"--per-gpu {per_gpu}: no GPU of the cluster is used; leave it out")
        nodes = sum(node["Alive"] for node in self.ray.nodes())
        number, share = (gpus * per_gpu, 1 / per_gpu) if gpus else (nodes, 0)
        place = Placement(device or "auto", None)
        settings = {"num_cpus": 1, "num_gpus": share, "max_concurrency": 2, "max_restarts": -1}
        kind = self.ray.remote(**settings, scheduling_strategy="SPREAD")(RayActor)
        self.workers = [RayWorker(kind.remote(place, log.resolve(), os.getcwd()), place) for _ in range(number)]

    def keep(self, held: IO) -> None:
        """The lock stays with this process; a worker waits until a run is let go of."""

    def wait(self, busy: list[RayWorker], seconds: float) -> list[tuple[RayWorker, dict[str, Any]]]:
        """The workers that have answered, at the latest after so many seconds."""
        done, _ = self.ray.wait([worker.pending for worker in busy], timeout=seconds)
        return [(worker, self._answer(worker)) for worker in busy if worker.pending in done]

    def _answer(self, worker: RayWorker) -> dict[str, Any]:
        try:
            return self.ray.get(worker.pending)
        except self.ray.exceptions.RayError as error:
            return DIED | {"how": " ".join(str(error).split())[:200]}

    def close(self) -> None:
        """End the workers and leave the cluster; a local one ends."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.get([worker.actor.close.remote() for worker in self.workers], timeout=CLOSING)
        self.ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(f"--ray needs Ray ({error}); pip install -r requirements-ray.txt") from None
    return ray
