"""How far a run has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Progress:
    """What a resume starts from."""

    epoch: int = 0
    batch: int = 0  # batches done of this epoch
    step: int = 0  # optimizer steps done
    cycles: int = 0  # learning-rate cycles ended
    best_fitness: float = -1.0
    best_epoch: int = 0
    extended_at: int = 0  # epochs done when a finished run was extended: patience counts from there
    finished: bool = False
    at_once: int = 0  # pictures that memory holds at a time, where a batch was too many; 0: whole batches
