"""best.pt: whether it holds the best epoch when a run is taken up, and its weights for the validation at the end."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from training.session import Session
from utils import checkpoint
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")


def check_best(run: Session) -> None:
    """Warn where best.pt is not the best epoch's: a disk refused it, and the process ended before it was tried again.

    The weights that the run goes on from are those of that epoch, if it was the last: then the next save writes them.
    """
    place, held = run.progress, epoch_of(run.best)
    if run.options.run.nosave or held >= place.best_epoch:
        return
    there = "cannot be read" if run.best.is_file() else "is missing"
    what = f"{run.best}: {f'holds epoch {held}' if held else there}, but epoch {place.best_epoch} was better"
    if (place.epoch, place.batch) == (place.best_epoch, 0):
        run.saver.pending_writes.keep(run.best, copy.deepcopy(run.weights()))
        LOGGER.warning(f"{what}; the next save writes its weights")
    else:
        LOGGER.warning(f"{what}, whose weights are lost; the next better epoch's will be kept")


def best_weights(run: Session) -> dict[str, Any] | None:
    """`Session.weights` of the best epoch as best.pt holds them, or as they wait for the disk.

    Of another epoch where those were lost. None without, which is said where it should be there.
    """
    run.saver.writer.wait()
    if run.best in run.saver.pending_writes.copies:
        return run.saver.pending_writes.copies[run.best]
    if run.options.run.nosave or not run.progress.best_epoch:
        return None
    try:
        state = checkpoint.load(run.best)
        if _shapes(state.get("ema")) != _shapes(run.ema.model.state_dict()) or type(state.get("epoch")) is not int:
            raise UserError(f"{run.best}: not weights of this run")
        return state
    except UserError as error:
        LOGGER.warning(f"{error}; the last weights are validated in place of the best")
        return None


def epoch_of(best: Path) -> int:
    """Whose weights a best.pt holds; 0 where there is none that can be read."""
    try:
        return int(checkpoint.facts(best)["epoch"])
    except (UserError, KeyError, TypeError, ValueError):
        return 0


def _shapes(weights: Any) -> Any:
    if not isinstance(weights, dict):
        return None
    return {name: value.shape if isinstance(value, Tensor) else None for name, value in weights.items()}
