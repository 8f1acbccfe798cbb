"""What changes at an epoch of a run: pure functions of its options, so that a resume finds them where they were."""

from __future__ import annotations

from training.run_options import RunOptions

MOST_CLOSED = 15  # epochs of `--close-mosaic auto`


def closing_epoch(run: RunOptions) -> int | None:
    """The epoch, counted from 0, from which on pictures come without mosaic and mixup; None where they never do."""
    last = run.close_mosaic
    if last == "auto":
        last = min(max(run.epochs // 10, 1), MOST_CLOSED)
    return max(run.epochs - int(last), 0) if last else None


def marks(run: RunOptions) -> list[tuple[float, str]]:
    """(epochs trained, what changes there), for the pictures of a run."""
    closing = closing_epoch(run)
    found: list[tuple[float, str]] = [] if closing is None else [(closing, "mosaic off")]
    return [*found, (run.freeze_epochs, "thawed")] if run.freeze and run.freeze_epochs else found
