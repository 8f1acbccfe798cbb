"""What a run does: the gradient of a batch, an optimizer step, the end of an epoch, and when to save."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.batch import Batch
from training import layers
from training.meter import LossMeter, NonFiniteLoss, all_finite
from training.run import Run
from training.saver import Saver
from utils.console.signals import Interrupted, StopRequest
from utils.device import autocast, normalised
from utils.memory import MemoryErrors
from utils.metrics import Metrics


class Session(Run):
    """One training run at work; `train.fit` drives it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.saver = Saver(writes=self.ranks.first)

    def begin_epoch(self) -> None:
        """Put the network into training as it is in the epoch that begins, or is gone on with."""
        layers.enter(self.model, self.options.run, self.progress.epoch)

    def forward(self, batch: Batch) -> list[Tensor]:
        """Images (B, 3, H, W) uint8 to the three heads (B, 3, h, w, 5 + classes), in the run's number format."""
        images = normalised(batch.images, self.dtype)
        with autocast(self.device, self.dtype):
            return self.model(images)

    def gradient(self, batch: Batch, weight: float = 1.0) -> Tensor:
        """Forward, loss and backward of a batch, or a part of one: adds `weight` times its gradient, returns its loss
        terms (3,). Raises torch.OutOfMemoryError, whichever library found no memory."""
        apart = contextlib.nullcontext() if self.parts is None else self.parts.passing(batch)
        with MemoryErrors(), apart:
            heads = self.forward(batch)
            loss, terms = self.criterion(heads, batch.targets, batch.whole) if len(batch) else nothing(heads)
            self.scaler.scale(loss if weight == 1 else loss * weight).backward()
        return terms

    def step(self) -> None:
        """One optimizer step on the accumulated gradient, at the rate the schedule has for it; then the EMA."""
        if self.parts is not None:
            self.parts.put_together(self.meter, self.progress.step)
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
        self.average.take(self.progress.step, self.model)
        self.last_step.keep(self)

    def parts_of(self, batch: Batch) -> list[Batch]:
        """The batch in parts that pass at once; with --sync-bn as many, empty ones too, in every process."""
        most = 0
        if self.options.run.sync_bn and batch.dealt is not None:
            most = math.ceil(math.ceil(batch.dealt.pictures / self.ranks.world) / self.at_once)
        return batch.parts(self.at_once, most)

    def count(self, terms: Tensor, batch: Batch) -> None:
        """Add the loss terms (3,) of a batch, or a part of one, to the epoch's; the device is not waited for."""
        if self.parts is not None:
            self.parts.count(terms, batch)
        else:
            self.meter.add(terms, len(batch), 0, self.progress.step)

    def close_batch(self, batch: Batch) -> None:
        """All parts of the batch are done."""
        if self.parts is not None:
            self.parts.close(batch, self.at_once)
        else:
            self.meter.instances += batch.instances
        self.progress.batch += 1

    def drop_gradient(self) -> None:
        """Forget what has been added up for the next step."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.parts is not None:
            self.parts.drop()

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
        if metrics is not None and place.judge(metrics.fitness, metrics.instances) and not run.nosave:
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
        """Save where that is due or any process is asked to; where one is asked to stop, raise Interrupted too."""
        stop, save = self.ranks.agree(stop_request.stop or 0, save or stop_request.save)
        if save or stop:
            stop_request.save = False
            self.save()
        if stop:
            raise Interrupted(stop)

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
        self.saver.writer.wait()
        return f"the last good checkpoint is {self.last}" if self.last.is_file() else "no checkpoint was written yet"

    def _diverged(self, what: str) -> NonFiniteLoss:
        return NonFiniteLoss(f"{what}; {self.last_good()}; try a lower --lr0, --clip-grad 10 or --dtype fp32")

    def save(self) -> None:
        """Write last.pt."""
        self.write({self.last: self.state()})

    def write(self, files: dict[Path, dict[str, Any]]) -> None:
        """Write checkpoints of the run as it is now, if all is finite: copied at once, written meanwhile."""
        self.check()
        self.saver.save(files, generations=self.last)


def nothing(heads: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The loss of no picture, with its gradient of 0, and its terms."""
    loss = torch.stack([head.sum() for head in heads]).sum() * 0
    return loss, loss.detach().new_zeros(3)
