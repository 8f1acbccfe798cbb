"""What the hardware gives: the rate of a plain matrix product, the operations of a step, a GPU's utilisation."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from data.batch import Batch
from training.session import Session
from utils.device import synchronize

PROBE_SECONDS = 1.0


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float = PROBE_SECONDS) -> float:
    """FLOP/s of a square matrix product in `dtype`: the best of what so many seconds allow, one product at least.

    fp32 rounds to TF32 where convolutions may, so that both are in the same format.
    """
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        return _matrix_rate(device, dtype, seconds)
    finally:
        matmul.allow_tf32 = before


def _matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    for _ in range(3):  # warm-up
        a @ b
    best, until = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < until:
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def step_flops(run: Session, batch: Batch) -> int:
    """Floating-point operations of the convolutions and products in forward and backward of one batch.

    Not of the compiled forward, whose kernels the counter does not know.
    """
    with patch.object(run.model, "_compiled_call_impl", None), FlopCounterMode(display=False) as counter:
        loss, _ = run.criterion(run.forward(batch), batch.targets)
        loss.backward()
    run.optimizer.zero_grad(set_to_none=True)
    return counter.get_total_flops()


class Utilisation:
    """Samples a GPU's utilisation in per cent while `measured`; `mean` is None where there is nothing to sample."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.samples: list[int] = []
        self.why = "" if device.type == "cuda" else f"a {device.type} device tells no utilisation"

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        if self.why:
            yield
            return
        done = threading.Event()
        thread = threading.Thread(target=self._sample, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _sample(self, done: threading.Event) -> None:
        while not done.wait(0.2):
            try:
                self.samples.append(torch.cuda.utilization(self.device))
            except Exception as error:  # no nvidia-ml-py, or a slice of a GPU: NVML has errors of its own
                self.why = " ".join(f"{type(error).__name__}: {error}".split())
                return

    @property
    def mean(self) -> float | None:
        return sum(self.samples) / len(self.samples) if self.samples else None
