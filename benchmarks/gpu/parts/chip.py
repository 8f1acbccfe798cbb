"""The chip: how fast it multiplies matrices in each number format, and moves memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.gpu.findings import Findings
from benchmarks.gpu.setting import Setting
from benchmarks.rates import matrix_rate
from utils.device import synchronize

ROUNDS = 7


def run(setting: Setting, findings: Findings) -> None:
    """Matrix products in bf16, fp16, TF32 and fp32; copies within the device and from and to main memory."""
    device = setting.where
    if setting.on_gpu:
        facts = torch.cuda.get_device_properties(device)
        findings.add("memory", facts.total_memory / 1e9, "GB")
        findings.detail("properties", str(facts))
        findings.detail("cudnn", torch.backends.cudnn.version())
        findings.detail("cuda", torch.version.cuda)
    formats = {"bf16": torch.bfloat16, "fp32": torch.float32}
    if setting.on_gpu:  # a CPU's fp16 is seldom its own
        formats |= {"fp16": torch.float16, "TF32": torch.float32}
    for name, dtype in formats.items():
        torch.backends.cudnn.allow_tf32 = name == "TF32"  # which `matrix_rate` follows
        rate = matrix_rate(device, dtype, seconds=setting.either(1, 0))
        findings.add(f"matrix product, {name}", rate / 1e12, "TFLOP/s")
    size = setting.either(1 << 30, 1 << 24)
    for name, (copy, moved) in copies(device, size).items():
        findings.add(f"copy, {name}", moved / seconds(copy, device) / 1e9, "GB/s")


def copies(device: torch.device, size: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Copies to time, and the bytes each of them moves."""
    there, other = (torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2))
    pageable = torch.ones(size, dtype=torch.uint8)
    found: dict[str, tuple[Callable[[], object], int]] = {
        "within the device (read and written)": (lambda: other.copy_(there), 2 * size),
        "to the device, pageable": (lambda: there.copy_(pageable), size),
        "from the device, pageable": (lambda: pageable.copy_(there), size),
    }
    if device.type == "cuda":
        pinned = torch.ones(size, dtype=torch.uint8, pin_memory=True)
        found["to the device, pinned"] = (lambda: there.copy_(pinned, non_blocking=True), size)
        found["from the device, pinned"] = (lambda: pinned.copy_(there, non_blocking=True), size)
    return found


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """The best of some rounds, after one that does not count."""
    best = float("inf")
    for _ in range(ROUNDS + 1):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best
