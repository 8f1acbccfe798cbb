"""What a run asks of the machine it goes to, and for how many runs a node of a cluster has room."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from utils.errors import UserError


@dataclass(frozen=True)
class Demand:
    """Where runs go (`--device`), how many share a GPU or a CPU, and how many GPUs and CPUs one is given.

    cpus: None for what the machine has, shared by its runs. They are Ray's to count, and no limit without it.
    """

    device: str = "auto"
    per_gpu: int = 1
    gpus: int = 1
    cpus: float | None = None

    def __post_init__(self) -> None:
        if self.gpus > 1 and self.per_gpu > 1:
            what = f"--gpus-per-run {self.gpus} with --per-gpu {self.per_gpu}"
            raise UserError(f"{what}: a run of several GPUs has them to itself; leave out one of the two")


@dataclass(frozen=True)
class Slot:
    """Room for one run on a node: the `gpus` and `cpus` that its worker asks Ray for."""

    gpus: float
    cpus: float


def slots(resources: Mapping[str, float], demand: Demand, on_gpus: bool) -> list[Slot]:
    """The runs that a node of a cluster takes at once, of its resources as Ray counts them (`CPU`, `GPU`)."""
    cpus, gpus = resources.get("CPU", 0.0), int(resources.get("GPU", 0))
    number = gpus // demand.gpus * demand.per_gpu if on_gpus else demand.per_gpu
    if demand.cpus is None:  # GPUs are what counts: CPUs are shared by their runs, one each at the most
        each = _counted(min(cpus / max(number, 1), 1.0 if on_gpus else math.inf))
        number = number if on_gpus or each else 0
    else:
        each = demand.cpus
        fit = math.floor(cpus / each + 1e-9) if each else number
        number = min(number, fit) if on_gpus or not each else fit
    return [Slot(demand.gpus / demand.per_gpu if on_gpus else 0, each)] * number


def check(nodes: Iterable[Mapping[str, float]], demand: Demand, on_gpus: bool) -> None:
    """Raises UserError where no node of a cluster, with these resources each, has room for a run."""
    if demand.gpus > 1 and not on_gpus:
        raise UserError(f"--gpus-per-run {demand.gpus}: no GPU of the cluster is used; leave it out")
    nodes = list(nodes)
    if any(slots(node, demand, on_gpus) for node in nodes):
        return
    gpus, cpus = (max((node.get(kind, 0) for node in nodes), default=0) for kind in ("GPU", "CPU"))
    if on_gpus and demand.gpus > gpus:
        most = f"no node of the cluster has more than {gpus:g}"
        raise UserError(f"--gpus-per-run {demand.gpus}: {most}, and a run stays on one node; give {gpus:g} or fewer")
    if demand.cpus is None:
        raise UserError("--ray: the nodes of the cluster offer no CPUs; give --cpus-per-run 0 to ask for none")
    most = f"no node of the cluster has more than {cpus:g}" if not on_gpus else "no node with GPUs offers so many CPUs"
    raise UserError(f"--cpus-per-run {demand.cpus:g}: {most}; give fewer, or 0 to ask for none")


def _counted(cpus: float) -> float:
    """A number of CPUs as Ray takes it: whole ones, or a part of one in steps of 1/10000."""
    return float(math.floor(cpus)) if cpus >= 1 else math.floor(cpus * 10_000) / 10_000
