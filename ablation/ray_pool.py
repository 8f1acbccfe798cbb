"""Workers on a Ray cluster: an actor for every run that its nodes have room for. Nodes may come and go."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

from ablation import slots
from ablation.ray_actor import RayActor, shared
from ablation.slots import Demand, Slot
from ablation.worker_pool import DIED, LOST, Placement, search_path
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
LOCAL = "local"
ADDRESS = "give HOST:PORT as `ray start --head` printed it, 'auto' on a node of the cluster, or 'local'"
AUTHENTICATION = "is that the port of Ray, and are RAY_AUTH_MODE and the token those of the cluster?"
LOOK = 2.0  # seconds between two looks at which nodes there are
REACHED = 5.0  # seconds in which a cluster must be reached
STARTING = 30.0  # seconds that the first worker may take
CLOSING = 20.0  # seconds
ATTEMPTS = 3  # at starting a worker on a node


class RayWorker:
    """A worker somewhere on the cluster. Its `place` is known once the actor has started."""

    def __init__(self, actor: Any, node: str, slot: Slot, place: Placement) -> None:
        self.actor, self.node, self.slot, self.place = actor, node, slot, place
        self.pending: Any = actor.start.remote()

    def begin(self, job: dict[str, Any]) -> None:
        """Send a job to the actor; `pending` is the answer to come."""
        self.pending = self.actor.do.remote(job)

    def interrupt(self) -> None:
        """Ask for a stop of the job; its answer says that it was stopped."""
        self.actor.interrupt.remote()


class RayWorkerPool:
    """A worker in each slot of each node, see `slots`: on the cluster's GPUs, or on CPUs where it has none.

    workers: those that are ready. A node that joins is given workers, those of one that is lost are forgotten.
    """

    def __init__(self, address: str, demand: Demand, study: Path, data: str) -> None:
        self.ray = _connected(address)
        self.demand, self.study, self.data = demand, study, data
        self.on_gpus = demand.device != "cpu" and any(node["Resources"].get("GPU") for node in self._nodes())
        self.workers: list[RayWorker] = []
        self.starting: list[RayWorker] = []
        self.unfit: dict[str, str] = {}  # nodes that lack something, and what
        self.broken: Counter[str] = Counter()  # actors that did not start, by node
        self.looked, self.idle = 0.0, 0.0  # idle: since when there has been no worker; negative: the user knows
        try:
            slots.check([node["Resources"] for node in self._nodes()], demand, self.on_gpus)
        except UserError:
            self.ray.shutdown()
            raise

    @property
    def size(self) -> int:
        """How many runs the cluster takes at once as it stands."""
        return sum(len(slots.slots(node["Resources"], self.demand, self.on_gpus)) for node in self._nodes())

    def keep(self, held: IO) -> None:
        """The lock stays with this process; a worker waits until a run is let go of. The study's file is written."""
        self.shared = shared(self.study, self.data)

    def wait(self, busy: list[RayWorker], seconds: float) -> list[tuple[RayWorker, dict[str, Any]]]:
        """The workers that have answered, at the latest after so many seconds. Raises UserError where no node can."""
        self._look()
        asked = [worker.pending for worker in busy + self.starting]
        if not asked:
            time.sleep(seconds)
            return []
        done, _ = self.ray.wait(asked, num_returns=1, timeout=seconds)
        for worker in [worker for worker in self.starting if worker.pending in done]:
            self._started(worker)
        return [(worker, self._answer(worker)) for worker in busy if worker.pending in done]

    def _nodes(self) -> list[dict[str, Any]]:
        try:
            return [node for node in self.ray.nodes() if node["Alive"]]
        except Exception as error:  # of Ray's own kinds, many and changing
            raise UserError(f"--ray: the cluster is gone ({_line(error)}); start it again, then --resume") from None

    def _look(self) -> None:
        """Forget workers whose node is gone, start one in each slot that has none."""
        if time.monotonic() - self.looked < LOOK:
            return
        self.looked = time.monotonic()
        nodes = {node["NodeID"]: slots.slots(node["Resources"], self.demand, self.on_gpus) for node in self._nodes()}
        self.workers = [worker for worker in self.workers if worker.node in nodes]
        self.starting = [worker for worker in self.starting if worker.node in nodes]
        there = Counter(worker.node for worker in self.workers + self.starting)
        for node, room in nodes.items():
            if node not in self.unfit:
                self.starting += [self._start(node, slot) for slot in room[there[node] :]]
        self._say_why_nothing_runs([node for node, room in nodes.items() if room])

    def _say_why_nothing_runs(self, nodes: list[str]) -> None:
        """Raises UserError where none of the nodes with room for a run is fit for it; tells once where one waits."""
        if nodes and all(node in self.unfit for node in nodes):
            raise UserError(f"--ray: no node can run one; {self.unfit[nodes[0]]}")
        if self.workers:
            self.idle = 0.0
        elif not self.idle:
            self.idle = time.monotonic()
        elif self.idle > 0 and (not nodes or time.monotonic() - self.idle > STARTING):
            self.idle = -1.0
            why = "the resources of its nodes are in use" if nodes else "no remaining node has room for a run"
            LOGGER.warning(f"waiting for the cluster: {why}; Ctrl-C stops; --resume continues later")

    def _start(self, node: str, slot: Slot) -> RayWorker:
        there = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        device = ",".join(map(str, range(self.demand.gpus))) if self.demand.gpus > 1 else "auto"
        device = device if self.on_gpus else "cpu"
        kind = self.ray.remote(num_cpus=slot.cpus, num_gpus=slot.gpus, max_concurrency=2, scheduling_strategy=there)
        actor = kind(RayActor).remote(device, self.study.resolve() / "workers.log", self.shared, slot.cpus)
        return RayWorker(actor, node, slot, Placement(device))

    def _started(self, worker: RayWorker) -> None:
        self.starting.remove(worker)
        try:
            found = self.ray.get(worker.pending)
        except self.ray.exceptions.RayError as error:
            self.broken[worker.node] += 1
            if self.broken[worker.node] < ATTEMPTS:
                return  # its node is gone, or it is started again at the next look
            found = {"host": f"node {worker.node[:8]}", "wrong": _line(error)}
        if not found["wrong"]:
            gpus = f"{worker.node}:{found['gpus']}" if self.on_gpus else ""
            worker.place = Placement(worker.place.device, gpus)  # equal where workers share a GPU
            self.workers.append(worker)
        elif worker.node not in self.unfit:
            self.unfit[worker.node] = f"{found['host']}: {found['wrong']}"
            LOGGER.warning(f"node not used: {self.unfit[worker.node]}")

    def _answer(self, worker: RayWorker) -> dict[str, Any]:
        try:
            return self.ray.get(worker.pending)
        except self.ray.exceptions.RayTaskError as error:
            return DIED | {"how": _line(error)}
        except self.ray.exceptions.RayError as error:  # the actor or its node
            self.workers = [other for other in self.workers if other is not worker]
            with contextlib.suppress(Exception):
                self.ray.kill(worker.actor)  # where it cannot be reached and yet is there, the run is let go of
            return LOST | {"how": _line(error)}

    def close(self) -> None:
        """End the workers and leave the cluster; a local one ends."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.get([worker.actor.close.remote() for worker in self.workers], timeout=CLOSING)
        self.ray.shutdown()


def _connected(address: str) -> Any:
    """Ray, connected to a cluster. Raises UserError where it is not installed or the cluster not reached."""
    ray = _ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # names of an actor's class and jobs are looked up where the actor runs
    names = {"PYTHONPATH": search_path(os.environ), "RAY_USAGE_STATS_ENABLED": "0"}
    names |= {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    env = {"env_vars": names}
    settings: dict[str, Any] = {}
    if address == LOCAL:
        settings = {"include_dashboard": False}
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray keeps one in the user's home
    try:
        _check_address(address)
        ray.init(address, runtime_env=env, log_to_driver=False, logging_level="CRITICAL", **settings)
    except (OSError, ValueError, RuntimeError) as error:
        remedy = AUTHENTICATION if "Failed to connect" in str(error) else ADDRESS
        raise UserError(f"--ray {address}: {_line(error)}; {remedy}") from None
    return ray


def _check_address(address: str) -> None:
    """Ray itself tries for minutes where nobody answers."""
    if address.startswith("ray://"):
        raise ValueError("Ray Client is not supported: start ablate.py on a node of the cluster")
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED):
            pass


def _line(error: Exception) -> str:
    """What an error of Ray says, in short: the end of a traceback, or the cause of an actor's death."""
    text = str(error).strip()
    if "is unavailable: " in text:
        return "its actor cannot be reached"
    if "Traceback" in text:
        return text.splitlines()[-1][:160]
    return text.split("The actor died because ")[-1].split(". ")[0].split(".\n")[0].replace("\n", " ")[:160]


def _ray() -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UserError(f"--ray needs Ray ({error}); pip install -r requirements-ray.txt") from None
    return ray
