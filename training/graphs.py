"""`--cuda-graphs`: forward, loss and backward of a batch recorded once and replayed, without the cost of launching.

A CUDA graph is a fixed list of kernels on fixed memory, so a batch is copied into static tensors, its targets padded to
a fixed number of rows (image -1, which the loss takes for padding), and the gradient is added up in tensors that stay
(`zero_grad(set_to_none=False)`). The optimizer's step and the average stay outside: the learning rate of each step is
the schedule's, never one that a graph has frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.batch import Batch
from training.last_step import LastStep
from training.options import Options
from training.session import Session
from utils.errors import UserError

WARM_UP = 3  # passes before the recording, as torch's notes on CUDA graphs ask for
ROWS = 256  # of targets, at least; then powers of two


@dataclass
class Recording:
    """A graph and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    terms: Tensor


class Graphs:
    """Takes the place of `Session.gradient`: one graph for each shape of pictures and number of target rows.

    Batches of another number of pictures than the first (an epoch's tail), and parts of batches, run without a graph.
    """

    def __init__(self, run: Session) -> None:
        self.run = run
        self.eager = run.gradient
        self.pictures = run.options.run.batch_size
        self.recordings: dict[tuple[torch.Size, int], Recording] = {}
        self.stream = torch.cuda.Stream(run.device)  # of warming up and recording
        for p in run.model.parameters():
            if p.requires_grad:
                p.grad = torch.zeros_like(p)

    def __call__(self, batch: Batch) -> Tensor:
        """Adds the gradient of a batch and returns its loss terms (3,), good until the next call."""
        if batch.part is not None:
            self.recordings.clear()  # memory ran out: from here on there are parts alone
        if len(batch) != self.pictures or batch.part is not None:
            return self.eager(batch)
        rows = rows_for(len(batch.targets))
        key = (batch.images.shape, rows)
        if key not in self.recordings:
            with torch.cuda.device(self.run.device):  # a recording is of what the current device is given
                self.recordings[key] = self._record(batch, rows)
        made = self.recordings[key]
        made.batch.images.copy_(batch.images, non_blocking=True)
        fill(made.batch.targets, batch.targets)
        made.graph.replay()
        return made.terms

    def _record(self, batch: Batch, rows: int) -> Recording:
        """Record the work on a copy of `batch`. What warming up changes is put back: statistics, meter, gradient.

        The recordings take turns in the memory of the first: none needs what it left there once its terms are read.
        """
        run = self.run
        run.saver.writer.wait()  # nothing else is to use the device meanwhile
        targets = batch.targets.new_empty((rows, 6))
        fill(targets, batch.targets)
        static = Batch(batch.images.clone(), targets, batch.indices.clone())
        gradient = [(p.grad, p.grad.clone()) for p in run.model.parameters() if p.grad is not None]
        before = LastStep(run.model)
        before.keep(run)
        here = torch.cuda.current_stream(run.device)
        self.stream.wait_stream(here)
        try:
            with torch.cuda.stream(self.stream):
                for _ in range(WARM_UP):
                    self.eager(static)
        finally:  # also where memory ran out: going back to the last step must not overtake what was begun
            here.wait_stream(self.stream)
        graph, pool = torch.cuda.CUDAGraph(), next((made.graph.pool() for made in self.recordings.values()), None)
        try:  # other threads, which pin memory for the batches to come, must not break the recording: "thread_local"
            with torch.cuda.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"):
                terms = self.eager(static)
        except RuntimeError as error:
            torch.cuda.set_stream(here)  # which a recording that cannot be ended leaves to the next
            if isinstance(error.__context__, torch.OutOfMemoryError):  # and whose error hides the reason
                raise error.__context__ from None
            raise
        before.put_statistics_back()
        for live, kept in gradient:
            live.copy_(kept)
        return Recording(graph, static, terms)


def rows_for(targets: int) -> int:
    """Rows of the padded targets: a power of two, `ROWS` at least, so that few graphs serve all batches."""
    return max(ROWS, 1 << max(targets - 1, 0).bit_length())


def fill(static: Tensor, targets: Tensor) -> None:
    """Copy targets (N, 6) into `static` (rows, 6); the rows left over are padding."""
    static[: len(targets)].copy_(targets, non_blocking=True)
    static[len(targets) :] = -1


def check(options: Options, device: torch.device) -> None:
    """Raise UserError where a graph cannot serve the run."""
    run = options.run
    if device.type != "cuda":
        raise UserError(f"--cuda-graphs needs a CUDA device, the run is on {device}; leave it out")
    for name, value in (("multi-scale", run.multi_scale), ("rect", run.rect)):
        if value:
            raise UserError(f"--cuda-graphs needs batches of one shape, which --{name} varies; drop one of them")
    if run.freeze and run.freeze_epochs:
        raise UserError("--cuda-graphs records what is trained once; leave it or --freeze-epochs out")
    if run.compile == "max":
        raise UserError("--cuda-graphs and --compile max both tune how kernels are launched; use --compile default")
