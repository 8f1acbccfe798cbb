"""Fills the compiler's cache beside the parts whose figures are no times, so that `throughput` need not wait for it."""

from __future__ import annotations

from benchmarks.gpu.findings import Findings
from benchmarks.gpu.parts.throughput import CASES, prepared
from benchmarks.gpu.setting import Setting
from data.shared import Shared
from utils.device import synchronize


def run(setting: Setting, findings: Findings) -> None:
    """A first batch of every network, compiled."""
    for case in CASES:
        run = prepared(setting, case, "--compile", case.batch, Shared())
        run.model.train()
        run.gradient(next(run.data.train.epoch(0)).to(run.device))
        synchronize(run.device)
        findings.add(case.name, "compiled")
