"""Images a second: whole epochs as train.py trains them, and the bare step, by network and by way of launching it."""

from __future__ import annotations

import gc
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import throughput
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.pictures import enlarged
from benchmarks.gpu.setting import Setting
from data.shared import Shared
from training import start
from training.session import Session

MODES = {"eager": "", "--cuda-graphs": "--cuda-graphs", "--compile": "--compile default"}
COMPILING = 20.0  # seconds that a compiled network takes longer to start, where its kernels are in the cache


@dataclass(frozen=True)
class Case:
    """A network to measure. `pictures` an epoch, a multiple of the batch: about two seconds of an H100."""

    cfg: str
    imgsz: int
    batch: int
    pictures: int
    rounds: int
    bar: str = ""

    @property
    def name(self) -> str:
        return f"{self.cfg} {self.imgsz}, batch {self.batch}"


CASES = (
    Case("yolov5s", 640, 64, 4096, rounds=3, bar="yolov5s"),
    Case("yolov5n", 320, 128, 16384, rounds=3, bar="yolov5n"),
    Case("yolov5m", 640, 32, 2048, rounds=2),
    Case("yolov5x", 640, 16, 768, rounds=2),
)
QUICK = (Case("yolov5s", 64, 4, 12, rounds=1, bar="yolov5s"), Case("yolov5n", 64, 4, 12, rounds=1, bar="yolov5n"))


def run(setting: Setting, findings: Findings) -> None:
    """Every network in every mode, as far as the time goes; what it does not reach is named."""
    for case in QUICK if setting.quick else CASES:
        torch._dynamo.reset()  # a function may be compiled for so many networks only
        shared, longest = Shared(), 0.0
        for mode in MODES:
            if why := left_out(setting, mode, longest):
                findings.add(f"{case.name}, {mode}", f"not measured: {why}")
                continue
            begin = time.perf_counter()
            figures = measured(setting, case, mode, shared)
            longest = max(longest, time.perf_counter() - begin)
            findings.detail(f"{case.name}, {mode}", figures)
            show(findings, case, mode, figures)


def left_out(setting: Setting, mode: str, longest: float) -> str:
    """Why a mode is not measured; empty where it is."""
    if mode != "eager" and not setting.on_gpu:
        return "on a GPU alone"
    needs = longest + (COMPILING if mode == "--compile" else 0)
    return f"it takes about {needs:.0f} s more than are left" if setting.seconds_left < needs else ""


def prepared(setting: Setting, case: Case, mode: str, pictures: int, shared: Shared) -> Session:
    """A session of the case."""
    flags = f"--nbs {case.batch} --epochs {case.rounds + 3} {MODES[mode]}"  # one warms up, and there is one of stages
    data, cfg = enlarged(setting, pictures), setting.layout(case.cfg)
    return start.prepare(setting.options(flags, data=data, cfg=cfg, imgsz=case.imgsz, batch_size=case.batch), shared)


def measured(setting: Setting, case: Case, mode: str, shared: Shared) -> dict[str, Any]:
    """The figures of `benchmarks.throughput`."""
    began = time.perf_counter()
    gc.collect()
    if setting.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.where)
    run = prepared(setting, case, mode, case.pictures, shared)
    with tempfile.TemporaryDirectory() as folder, run.saver.writer:
        run.folder = Path(folder)
        return throughput.measure(run, case.rounds, began)


def show(findings: Findings, case: Case, mode: str, figures: dict[str, Any]) -> None:
    """What of the figures goes into the table. Bars are for what a user gets without a flag."""
    judged, name = mode == "eager", f"{case.name}, {mode}"
    rate = figures["images_per_s"]
    findings.add(f"{name}: end to end", rate["end_to_end"], "images/s", bar=case.bar * judged)
    findings.add(f"{name}: bare step", rate["bare_step"], "images/s")
    findings.add(f"{name}: end to end over bare", figures["ratio"], bar="ratio" * (judged and case.bar == "yolov5s"))
    findings.add(f"{name}: arithmetic", figures["flops_per_s"] / 1e12, "TFLOP/s")
    findings.add(f"{name}: of a matrix product's", 100 * figures["share_of_matrix_rate"], "%")
    if figures["gpu_utilisation_percent"] is not None:
        findings.add(f"{name}: GPU utilisation", figures["gpu_utilisation_percent"], "%")
    findings.add(f"{name}: peak memory", figures["peak_memory_gb"], "GB")
    findings.add(f"{name}: to the first step", figures["time_to_first_step_s"], "s")
