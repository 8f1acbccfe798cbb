"""The weights of a run's best epoch, for the validation at its end."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from training.session import Session
from utils import checkpoint
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")


def best_weights(run: Session) -> dict[str, Any] | None:
    """best.pt's EMA weights, or those that wait for the disk; None without, which is said where it should be there."""
    run.writer.wait()
    if run.best in run.refused.copies:
        return run.refused.copies[run.best]["ema"]
    if run.options.run.nosave or not run.progress.best_epoch:
        return None
    try:
        state = checkpoint.load(run.best)
        if state.get("epoch") != run.progress.best_epoch or _shapes(state.get("ema")) != _shapes(
            run.ema.model.state_dict()
        ):
            raise UserError(f"{run.best}: not the weights of epoch {run.progress.best_epoch} of this run")
        return state["ema"]
    except UserError as error:
        LOGGER.warning(f"{error}; the last weights are validated in place of the best")
        return None


def _shapes(weights: Any) -> Any:
    if not isinstance(weights, dict):
        return None
    return {name: value.shape if isinstance(value, Tensor) else None for name, value in weights.items()}
