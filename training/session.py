"""A run in memory: everything it is made of, one optimizer step of it, and its state as plain values and tensors."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import models
import schedulers
from data.batch import Batch
from models.loss import DetectionLoss
from schedulers.range_test import RangeTest
from training.build import Data
from training.memory import LastStep
from training.meter import LossMeter, NonFiniteLoss, all_finite
from training.options import Options
from training.pending_writes import PendingWrites
from training.progress import Progress, progress_from_state
from training.snapshots import Snapshot, Snapshots
from training.writer import Writer
from utils import checkpoint
from utils.console.signals import Interrupted, StopRequest
from utils.device import autocast, environment, grad_scaler, normalised
from utils.ema import ModelEMA
from utils.memory import MemoryErrors
from utils.metrics import Metrics

LOGGER = logging.getLogger("anneal")


@dataclass
class Session:
    """One training run. `train.fit` drives it; `training.start` builds it, new or from a checkpoint."""

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

    def __post_init__(self) -> None:
        self.ema = ModelEMA(self.model)
        self.scaler = grad_scaler(self.device, self.dtype)
        self.meter = LossMeter(self.device)
        self.progress = Progress()
        self.steps_before = 0  # when it was taken up, before another batch size counts them anew
        self.last_step = LastStep(self.model)
        self.save_errors: dict[Path, str] = {}  # files that could not be written since they last could
        self.before_save: Callable[[], None] = lambda: None
        self.retry_at_save: dict[Path, Callable[[], None]] = {}  # what else to try again at the next save
        self.writer = Writer()
        self.snapshots = Snapshots()
        self.pending_writes = PendingWrites()

    @property
    def epochs(self) -> int:
        return self.options.run.epochs

    @property
    def steps_per_epoch(self) -> int:
        return self.schedule.policy.steps_per_epoch

    @property
    def at_once(self) -> int:
        """Pictures a forward pass: a batch, or as many as memory has been found to hold."""
        return self.progress.at_once or self.options.run.batch_size

    @property
    def last(self) -> Path:
        return self.folder / "weights" / "last.pt"

    @property
    def best(self) -> Path:
        return self.folder / "weights" / "best.pt"

    def forward(self, batch: Batch) -> list[Tensor]:
        """Images (B, 3, H, W) uint8 to the three heads (B, 3, h, w, 5 + classes), in the run's number format."""
        images = normalised(batch.images, self.dtype)
        with autocast(self.device, self.dtype):
            return self.model(images)

    def gradient(self, batch: Batch, weight: float = 1.0) -> Tensor:
        """Forward, loss and backward of a batch, or a part of one: adds `weight` times its gradient, returns its loss
        terms (3,). Raises torch.OutOfMemoryError, whichever library found no memory."""
        with MemoryErrors():
            loss, terms = self.criterion(self.forward(batch), batch.targets, batch.whole)
            self.scaler.scale(loss if weight == 1 else loss * weight).backward()
        return terms

    def step(self) -> None:
        """One optimizer step on the accumulated gradient, at the rate the schedule has for it; then the EMA."""
        self.last_step.forget()
        self.schedule.apply(self.progress.step)
        if self.options.run.clip_grad > 0:
            self.scaler.unscale_(self.optimizer)
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.options.run.clip_grad, foreach=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=not self.options.run.cuda_graphs)  # a graph adds to what it was given
        self.ema.update(self.model)
        self.progress.step += 1
        self.last_step.keep(self)

    def count(self, terms: Tensor, batch: Batch) -> None:
        """Add the loss terms (3,) of a batch, or a part of one, to the epoch's; the device is not waited for."""
        last = batch.part is None or batch.part.last
        self.meter.add(terms, len(batch), len(batch.targets) * last, self.progress.step)
        self.progress.batch += last

    def group_is_complete(self) -> bool:
        """Whether the batches since the last step make a step: `accumulate` of them, or the epoch's tail."""
        done = self.progress.batch
        return done % self.accumulate == 0 or done >= len(self.data.train)

    def epoch_is_complete(self) -> bool:
        """Whether all batches of the epoch are done."""
        return self.progress.batch >= len(self.data.train)

    def end_epoch(self, metrics: Metrics | None) -> None:
        """Judge the epoch, keep its weights where they are the best so far or due, and save where the run stands."""
        run, place = self.options.run, self.progress
        files = {}
        place.epoch += 1
        place.batch = 0
        self.meter = LossMeter(self.device)
        if metrics is not None and metrics.fitness > place.best_fitness:
            place.best_fitness, place.best_epoch = metrics.fitness, place.epoch
            if not run.nosave:
                files[self.best] = self.weights()
        if run.save_period > 0 and place.epoch % run.save_period == 0:
            files[self.last.with_name(f"epoch{place.epoch}.pt")] = self.weights()
        if not run.nosave or self.is_over():
            files[self.last] = self.state()
        self.write(files)

    def is_over(self) -> bool:
        """Whether all epochs are done, or none of the last `--patience` was better than the best."""
        run, place = self.options.run, self.progress
        waited = place.epoch - max(place.best_epoch, place.extended_at)
        return place.epoch >= run.epochs or (0 < run.patience <= waited and not run.noval)

    def is_cycle_end(self) -> bool:
        """Whether the step just done was the last of a learning-rate cycle."""
        return self.progress.step in self.schedule.policy.cycle_ends

    def save_is_due(self) -> bool:
        """Whether the step just done is one that --save-steps names."""
        every = self.options.run.save_steps
        return every > 0 and self.progress.step % every == 0

    def handle_stop_request(self, stop_request: StopRequest, save: bool = False) -> None:
        """Save where that is due or asked for; where a stop is asked for, save and raise Interrupted."""
        if save or stop_request.save or stop_request.stop:
            stop_request.save = False
            self.save()
        if stop_request.stop:
            raise Interrupted(stop_request.stop)

    def rates(self) -> list[tuple[float, float]]:
        """(lr, momentum) of each group as the last step used them."""
        return self.schedule.values(max(self.progress.step - 1, 0))

    # -- state -----------------------------------------------------------------------------------------------------

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
        decays = [group["weight_decay"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, decay in zip(self.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay  # scaled to the batch, which may have changed
        self.scaler.load_state_dict(state["scaler"])
        self.meter.load_state_dict(state["meter"])
        self.progress = progress_from_state(state)
        self.steps_before = self.progress.step

    def losses(self) -> list[float]:
        """The epoch's mean box, obj and cls terms so far. Raises NonFiniteLoss with what to go back to."""
        try:
            return self.meter.mean()
        except NonFiniteLoss as error:
            raise self._diverged(str(error)) from None

    def check(self) -> None:
        """Raise NonFiniteLoss where a loss or a weight is not finite, before it is judged or saved."""
        self.losses()
        if not all_finite(self.model.state_dict().values()):
            raise self._diverged(f"weights are not finite after step {self.progress.step - 1}")

    def last_good(self) -> str:
        """What there is to go on from, once all that was to be saved is."""
        self.writer.wait()
        return f"the last good checkpoint is {self.last}" if self.last.is_file() else "no checkpoint was written yet"

    def _diverged(self, what: str) -> NonFiniteLoss:
        return NonFiniteLoss(f"{what}; {self.last_good()}; try a lower --lr0, --clip-grad 10 or --dtype fp32")

    def save(self) -> None:
        """Write last.pt."""
        self.write({self.last: self.state()})

    def write(self, files: dict[Path, dict[str, Any]]) -> None:
        """Write checkpoints of the run as it is now, if all is finite: copied at once, then written aside, in order.

        A disk that refuses is said, and tried again at the next save; training goes on.
        """
        self.check()
        copies = {path: self.snapshots.take(state) for path, state in files.items()}
        if copies:
            self.writer.submit(partial(self._write, copies))

    def _write(self, copies: dict[Path, Snapshot]) -> None:
        self.attempt(self.folder / "lr.csv", self.before_save)
        self.retry_at_save = {
            path: write for path, write in self.retry_at_save.items() if not self.attempt(path, write)
        }
        waiting = {path: copy for path, copy in self.pending_writes.take().items() if path not in copies}
        for copy in copies.values():
            copy.settle()
        fresh = {path: copy.value for path, copy in copies.items()}
        for path, state in (waiting | fresh).items():  # in order: no last.pt names a best epoch before it is there
            if self.attempt(path, partial(checkpoint.save, path, state, keep_previous=path == self.last)):
                if path in copies:  # the others' memory is their own
                    self.snapshots.give_back(copies[path])
            elif (lost := self.pending_writes.keep(path, state)) is not None:
                LOGGER.warning(f"{lost}: given up, since newer files wait for the disk too")

    def attempt(self, path: Path, write: Callable[[], None]) -> bool:
        """Write a file: whether the disk took it. If not, that is said and remembered until it does."""
        try:
            write()
            self.save_errors.pop(path, None)
            return True
        except OSError as error:
            self.save_errors[path] = f"{path}: could not be saved ({error.strerror or error})"
            LOGGER.warning(f"{self.save_errors[path]}; training goes on and tries again at the next save")
            return False
