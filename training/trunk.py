"""`weights/stable.pt`: a run of policy `wsd` at the last step before its decay, from where a longer run is the same."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import schedulers
from schedulers import Schedule
from training import phases
from training.best import best_weights, epoch_of
from training.options import Options
from training.session import Session
from utils import checkpoint
from utils.console.wording import counted
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")


def is_trunk_end(run: Session) -> bool:
    """Whether the step just done was the last before the rate's final decay."""
    return run.progress.step == run.schedule.policy.stable_steps and not run.options.run.nosave


def keep_trunk(run: Session) -> None:
    """Write stable.pt: everything the run is, as in last.pt, and the weights of the best epoch so far."""
    best = best_weights(run) if run.saver.writes else None  # which a better epoch of the decay will replace in best.pt
    run.write({run.folder / "weights" / "stable.pt": run.state() | {"trunk_best": best}})
    LOGGER.info(f"the rate decays from step {run.progress.step} on; weights/stable.pt is from before that")


def take_up(run: Session, state: dict[str, Any]) -> bool:
    """Whether a run is taken up from a stable.pt. Its decay is left then, the best weights of that as decayedN.pt.

    The files are changed at the first save: until then the decayed run is as it was.
    """
    if "trunk_best" not in state:
        return False
    if epoch_of(run.best) > state["epoch"]:
        run.saver.retry_at_save[run.best] = partial(_put_back, run.best, state["trunk_best"])
    elif state["trunk_best"] is not None and not run.best.is_file():
        run.saver.pending_writes.keep(run.best, state["trunk_best"])
    before = Options.from_dict(state["options"], "stable.pt")
    was = schedulers.from_facts(state["schedule"], run.optimizer)
    if before.run.epochs != run.epochs and (why := _depends(before, run, was)):
        LOGGER.warning(f"{why}; so the run continues, but is not the run of {run.epochs} epochs to the bit")
    return True


def _put_back(best: Path, weights: dict[str, Any] | None) -> None:
    """The trunk's best weights as best.pt; those of the decay under a name of their own. Raises OSError."""
    try:
        decayed = checkpoint.load(best)
        if weights is None or decayed["epoch"] > weights["epoch"]:
            checkpoint.save(best.with_name(f"decayed{decayed['epoch']}.pt"), decayed)
    except UserError as error:
        LOGGER.warning(f"{error}; it is replaced")
    if weights is None:
        best.unlink(missing_ok=True)
    else:
        checkpoint.save(best, weights)


def _depends(before: Options, run: Session, was: Schedule) -> str:
    """What of the trunk so far is not as a run of the new length has it; `was`: the schedule so far."""
    closed, warm, step = phases.closing_epoch(before.run), run.schedule.warmup_steps, run.progress.step
    decays, averaged = run.schedule.policy.stable_steps, sum(point <= step for point in run.average.points)
    if before.run.wd_norm is not None:
        return "--wd-norm depends on the run's length"
    if closed is not None and closed <= run.progress.epoch:
        return f"--close-mosaic {before.run.close_mosaic} has closed epoch {closed + 1} on"
    if step < warm:
        return f"the warm-up is now {warm} steps long"
    if step > decays:
        return f"the rate should have fallen from step {decays} on"
    thaws = zip(was.thaws, run.schedule.thaws, strict=True)
    if any(old and new and old != new and new[0] + 1 < step for old, new in thaws):  # from 0: one step is the same
        return "the warm-up after --freeze-epochs depends on the run's length"
    if run.average.count != averaged:
        own = counted(run.average.count, "state")
        return f"--average {run.options.run.average} has taken in {own} and should have taken in {averaged} by now"
    if before.run.hyp == "auto":
        return f"--hyp auto chose its numbers for {before.run.epochs} epochs"
    return ""
