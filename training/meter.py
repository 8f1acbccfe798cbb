"""Running sums of an epoch's loss terms, kept on the device so that the loop does not wait for it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from utils.errors import UserError

TERMS = ("box", "obj", "cls")


class NonFiniteLoss(UserError):
    """A loss term became NaN or infinite."""


class LossMeter:
    """Mean loss terms over the pictures of an epoch, and the first step at which one was not finite."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, device=device)
        self.pictures = 0
        self.instances = 0
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.bad_terms = torch.zeros(3, device=device)

    def add(self, terms: Tensor, pictures: int, instances: int, step: int) -> None:
        """Count one batch: `terms` (3,) detached, on the device. Does not wait for it."""
        self._count(terms, pictures, instances, step)
        self.sums.add_(terms, alpha=pictures)

    def add_sums(self, sums: Tensor, pictures: int, instances: int, step: int) -> None:
        """Count several batches at once: `sums` (3,) of their terms over the pictures."""
        self._count(sums, pictures, instances, step)
        self.sums.add_(sums)

    def _count(self, terms: Tensor, pictures: int, instances: int, step: int) -> None:
        self.pictures += pictures
        self.instances += instances
        first_bad = (self.bad_step < 0) & ~torch.isfinite(terms).all()
        self.bad_step.copy_(torch.where(first_bad, step, self.bad_step))
        self.bad_terms.copy_(torch.where(first_bad, terms, self.bad_terms))

    def mean(self) -> list[float]:
        """Mean box, obj and cls terms so far. Waits for the device; raises NonFiniteLoss."""
        step = int(self.bad_step)
        if step >= 0:
            values = ", ".join(f"{n} {v:.4g}" for n, v in zip(TERMS, self.bad_terms.tolist(), strict=True))
            raise NonFiniteLoss(f"loss is not finite at step {step} ({values})")
        return (self.sums / max(self.pictures, 1)).tolist()

    def state_dict(self) -> dict:
        """The sums so far, for a checkpoint inside an epoch."""
        return {"sums": self.sums.clone(), "pictures": self.pictures, "instances": self.instances}

    def load_state_dict(self, state: dict) -> None:
        """Continue from what `state_dict` gave."""
        self.sums.copy_(state["sums"])
        self.pictures, self.instances = state["pictures"], state["instances"]


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no floating-point value is NaN or infinite. Waits for the device.

    The 2-norm is four times as fast as the maximum; where it is not finite, a square may have overflowed.
    """
    floats = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    return any(bool(torch.stack(torch._foreach_norm(floats, order)).isfinite().all()) for order in (2, torch.inf))
