"""What a run is: its model, optimizer, data and place, and these as the plain values and tensors that are saved."""

from __future__ import annotations

import datetime
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import models
import schedulers
from models.loss import DetectionLoss
from schedulers.range_test import RangeTest
from training.averages import RunAverage
from training.batch_parts import Parts
from training.build import Data
from training.last_step import LastStep
from training.meter import LossMeter
from training.options import Options
from training.progress import Progress, progress_from_state
from utils.device import environment, grad_scaler
from utils.ema import ModelEMA
from utils.ranks import ALONE, Ranks


@dataclass
class Run:
    """Everything a training run is made of. `training.start` builds it, new or from a checkpoint."""

    options: Options
    folder: Path
    data: Data
    device: torch.device
    dtype: torch.dtype
    model: models.Detector
    criterion: DetectionLoss
    optimizer: torch.optim.Optimizer
    schedule: schedulers.Schedule
    accumulate: int
    range_test: RangeTest | None = None  # what --lr0 find saw
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self.ema = ModelEMA(self.model, self.options.run.ema, self.options.run.ema_tau)
        self.average = RunAverage(self.options.run, self.schedule.policy)
        self.scaler = grad_scaler(self.device, self.dtype)
        self.meter = LossMeter(self.device)
        self.progress = Progress()
        self.steps_before = 0  # when it was taken up, before another batch size counts them anew
        self.last_step = LastStep(self.model)
        dealing = self.data.train.dealing
        self.parts = Parts(self.model, dealing, self.ranks) if dealing.parts > 1 else None

    @property
    def epochs(self) -> int:
        """Epochs the run is to have in all."""
        return self.options.run.epochs

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch, its shorter last one included."""
        return self.schedule.policy.steps_per_epoch

    @property
    def at_once(self) -> int:
        """Pictures a forward pass: a batch, or a part of one, or as many as memory has been found to hold."""
        return self.progress.at_once or math.ceil(self.options.run.batch_size / self.data.train.dealing.parts)

    @property
    def last(self) -> Path:
        """Where everything the run is gets saved."""
        return self.folder / "weights" / "last.pt"

    @property
    def best(self) -> Path:
        """Where the weights of the best epoch get saved."""
        return self.folder / "weights" / "best.pt"

    def rates(self) -> list[tuple[float, float | None]]:
        """(lr, momentum) of each group as the last step used them."""
        return self.schedule.values(max(self.progress.step - 1, 0))

    def identity(self) -> dict[str, Any]:
        """What is needed to use the weights: the layout, the classes, the size, where they come from."""
        dataset = self.data.dataset
        return {
            "layout": self.model.layout,
            "classes": self.model.classes,
            "names": list(self.data.names),
            "imgsz": self.options.run.imgsz,
            "data": str(dataset.file),
            "sample": dataset.sample,
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }

    def weights(self) -> dict[str, Any]:
        """The EMA weights and what is needed to use them: best.pt and its kin."""
        at = {"epoch": self.progress.epoch, "step": self.progress.step}
        return {"kind": "weights", **self.identity(), **at, "ema": self.ema.model.state_dict()}

    def state(self) -> dict[str, Any]:
        """Everything the run is: last.pt."""
        return {
            "kind": "run",
            **self.identity(),
            **asdict(self.progress),
            "model": self.model.state_dict(),
            "ema": self.ema.model.state_dict(),
            "ema_updates": self.ema.updates,
            **self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "meter": self.meter.state_dict(),
            "schedule": schedulers.facts(self.schedule),
            "options": self.options.to_dict(),
            "plugins": list(self.options.run.plugin),
            "environment": environment(self.device) | {"dtype": str(self.dtype).removeprefix("torch.")},
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> dict[str, str]:
        """Digests of the pictures and labels trained on and validated on."""
        return {"train": self.data.train_index.fingerprint, "val": self.data.val.index.fingerprint}

    def restore(self, state: dict[str, Any]) -> None:
        """Put a state of `state()` back in place."""
        self.model.load_state_dict(state["model"])
        self.ema.model.load_state_dict(state["ema"])
        self.ema.updates = state["ema_updates"]
        own = [(group["initial_lr"], group["weight_decay"]) for group in self.optimizer.param_groups]
        _ = [float(group["initial_lr"]) for group in state["optimizer"]["param_groups"]]  # a file without is damaged
        self.optimizer.load_state_dict(state["optimizer"])
        for group, (rate, decay) in zip(self.optimizer.param_groups, own, strict=True):
            group |= {"initial_lr": rate, "weight_decay": decay}  # of the batch and options, which may have changed
        saved, policy = state["schedule"], self.schedule.policy
        step = state["step"] * policy.steps_per_epoch / saved["steps_per_epoch"]  # another batch size counts them anew
        self.average.load_state_dict(state, step, self.model)
        if (saved["total_steps"], saved["steps_per_epoch"]) == (policy.total_steps, policy.steps_per_epoch):
            self.schedule.warmup_steps = saved["warmup_steps"]  # an earlier version may have allowed another
        self.scaler.load_state_dict(state["scaler"])
        self.meter.load_state_dict(state["meter"])
        self.progress = progress_from_state(state)
        self.steps_before = self.progress.step
