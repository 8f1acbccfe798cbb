"""A study of twelve runs, four at a time on the GPU, and what one of sixty runs of sixty epochs would take."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from ablation import records
from ablation.view import FINISHED
from benchmarks.gpu import processes
from benchmarks.gpu.child import ROOT
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.setting import Setting

RUNS, EPOCHS = 60, 60


def run(setting: Setting, findings: Findings) -> None:
    """yolov5n at 320 pixels; half of the runs are longer, so that an epoch's time is known apart from a run's start."""
    lengths, at_once = setting.either((4, 12), (1, 2)), setting.either(4, 2)
    policies = setting.either("linear,cosine,onecycle", "linear")
    words = [sys.executable, str(ROOT / "ablate.py"), "--device", setting.device, "--per-gpu", str(at_once)]
    words += ["--lr-policy", policies, "--optim", "sgd,adamw", "--epochs", ",".join(map(str, lengths)), "--noplots"]
    words += ["--data", setting.data, "--cfg", setting.layout("yolov5n"), "--imgsz", str(setting.size(320))]
    words += ["--batch-size", str(setting.either(32, 4)), "--project", str(Path.cwd()), "--name", "study"]
    begin, console = time.perf_counter(), Path("console.txt")
    processes.finish(processes.begin(words, console), console, setting.seconds_left)
    wall = time.perf_counter() - begin
    folders = sorted(Path("study", "runs").iterdir())
    found = [records.read(folder) for folder in folders]
    finished = [each for each in found if each.status == FINISHED]
    findings.add("runs that finished", len(finished), f"of {len(found)}")
    findings.add(f"the study, {at_once} runs at a time", wall, "s")
    epochs = np.array([each.facts["options"]["run"]["epochs"] for each in finished], dtype=float)
    an_epoch, start = np.polyfit(epochs, [each.seconds for each in finished], 1)
    findings.add("an epoch of a run", float(an_epoch), "s")
    findings.add("a run without its epochs", float(start), "s")
    minutes = RUNS / at_once * (max(float(start), 0) + EPOCHS * float(an_epoch)) / 60
    findings.add(f"worked out for {RUNS} runs of {EPOCHS} epochs", minutes, "minutes", bar="study")
