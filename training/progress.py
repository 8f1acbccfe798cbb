"""How far a run has come."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from utils.errors import UserError


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

    def judge(self, fitness: float, boxes: int) -> bool:
        """Whether the epoch that ended is the best so far, which is remembered.

        A fitness of 0 tells no two epochs apart: the later is the better trained. Without boxes to find, `boxes` of the
        validation set, every fitness is that: the last epoch is the best.
        """
        fitness = fitness if boxes else 0.0
        if boxes and not (fitness > self.best_fitness or fitness == self.best_fitness == 0):
            return False
        self.best_fitness, self.best_epoch = fitness, self.epoch
        return True

    def check(self, steps_per_epoch: int) -> None:
        """Raise UserError for what no run comes to."""
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not type(field.default) or (field.name != "best_fitness" and value < 0):
                raise UserError(f"{field.name} is {value!r}")
        if not self.epoch * steps_per_epoch <= self.step <= (self.epoch + 1) * steps_per_epoch:
            raise UserError(f"step {self.step} is not of epoch {self.epoch}")
        if max(self.best_epoch, self.extended_at) > self.epoch:
            raise UserError(f"epoch {self.epoch} is before {max(self.best_epoch, self.extended_at)}")


def progress_from_state(state: dict[str, Any]) -> Progress:
    """Where a run was when it was saved. KeyError for a state without that."""
    place = {"at_once": 0} | state  # which files of earlier versions lack
    return Progress(**{field.name: place[field.name] for field in fields(Progress)})
