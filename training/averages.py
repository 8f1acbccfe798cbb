"""`--average`: the mean of the weights at the ends of epochs or cycles, with BatchNorm's statistics estimated anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from data.batch import Batch
from schedulers import Policy
from training.run_options import RunOptions
from utils.average import WeightMean
from utils.device import autocast, normalised
from utils.errors import UserError

PICTURES = 4096  # that statistics are estimated on, at most: each gives a channel hundreds of places or more


class RunAverage(WeightMean):
    """Stochastic weight averaging, arXiv 1803.05407: the mean of a run's weights after the steps `points`.

    These are functions of the options and of the run's length. `swa`: the end of each epoch in what follows the share
    `--average-from` of the run; `cycles`: the end of each learning-rate cycle. The paper averages at the bottom of
    cycles, or after every epoch at a constant rate.
    """

    def __init__(self, run: RunOptions, policy: Policy) -> None:
        super().__init__()
        points: Iterable[int] = ()
        if run.average == "cycles":
            points = policy.cycle_ends
            if not points:
                raise UserError(f"--average cycles: policy '{policy.name}' has no cycles; give --average swa")
        elif run.average == "swa":
            total, per_epoch = policy.total_steps, policy.steps_per_epoch
            points = (s for s in range(per_epoch, total + 1, per_epoch) if s / total > run.average_from)
        self.points = frozenset(points)

    def take(self, step: int, model: nn.Module) -> None:
        """Take in the weights of `model` if those after `step` steps are averaged."""
        if step in self.points:
            self.add(model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """`{"average": {"count": int, "mean": state dict}}` for a checkpoint; empty where nothing is averaged."""
        return {"average": {"count": self.count, "mean": self.mean}} if self.points else {}

    def load_state_dict(self, state: dict[str, Any], step: float, model: nn.Module) -> None:
        """Go on from a checkpoint written after `step` steps; one without an average begins it.

        Where the run has become longer, so that no point is reached yet, what was averaged is left. Raises
        ValueError for weights of another network.
        """
        saved = state.get("average") or {"count": 0, "mean": {}}
        if not any(point <= step for point in self.points) or not saved["count"]:
            self.count, self.mean = 0, {}
            return
        own = model.state_dict()
        if {name: value.shape for name, value in own.items()} != {n: v.shape for n, v in saved["mean"].items()}:
            raise ValueError("average: weights of another network")
        self.count = saved["count"]
        self.mean = {name: value.to(own[name].device, own[name].dtype) for name, value in saved["mean"].items()}


def norms_of(model: nn.Module) -> dict[str, nn.Module]:
    """The BatchNorm layers that keep statistics, by name."""
    found = ((name, module) for name, module in model.named_modules())
    return {n: m for n, m in found if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats}


@torch.no_grad()
def estimate_statistics(
    model: nn.Module, batches: Iterable[Batch], device: torch.device, dtype: torch.dtype, kept: Iterable[str] = ()
) -> int:
    """Replace BatchNorm's running statistics by their mean over batches, as arXiv 1803.05407, section 3.1, asks for.

    kept: names of layers whose statistics stay. The model is in eval mode before and after. Returns the pictures seen,
    `PICTURES` or a batch more at most.
    """
    norms: list[Any] = [norm for name, norm in norms_of(model).items() if name not in set(kept)]
    momenta, seen = [norm.momentum for norm in norms], 0
    for norm in norms:
        norm.train()
    for batch in (batch for batch in batches if len(batch)):
        seen += len(batch)
        for norm in norms:
            norm.momentum = len(batch) / seen  # the mean so far; the first batch replaces what was there
        images: Tensor = normalised(batch.to(device, non_blocking=True).images, dtype)
        with autocast(device, dtype):
            model(images)
        if seen >= PICTURES:
            break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return seen
