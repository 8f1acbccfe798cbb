"""A run killed and resumed with --deterministic, compared to the bit with one that nothing interrupted."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.compare import run_differences
from benchmarks.gpu import processes
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.pictures import training_index
from benchmarks.gpu.setting import Setting

EPOCHS, SAVE_STEPS = 3, 3
RUN, CONSOLE = Path("runs", "train", "exp"), "console.txt"


def run(setting: Setting, findings: Findings) -> None:
    """Both runs train at once; the second is ended by SIGKILL in its second epoch and then goes on."""
    words = setting.flags(
        f"--deterministic --epochs {EPOCHS} --save-steps {SAVE_STEPS} --nbs 16 --lr-policy cosine",
        data=setting.data,
        cfg=setting.layout("yolov5n"),
        imgsz=setting.size(320),
        batch_size=setting.either(16, 4),
    )
    per_epoch = -(-len(training_index(setting)) // 16)
    whole, killed = (processes.trainer(words, folder(name) / CONSOLE, folder(name)) for name in ("whole", "killed"))
    try:
        table, saved = (Path("killed") / RUN / name for name in ("lr.csv", "weights/last.pt"))

        def ready() -> bool:  # the table is written before the checkpoint, which may be on its way yet
            return saved.exists() and steps(table) > 1.5 * per_epoch

        processes.wait_until(killed, ready, setting.seconds_left)
    finally:
        killed.kill()
    killed.wait()
    findings.add("steps done when it was killed", steps(table), f"of {EPOCHS * per_epoch}")
    begin = time.perf_counter()
    again = processes.trainer(["--resume", str(RUN), "--noplots"], Path("killed", CONSOLE), Path("killed"))
    for process, name in ((again, "killed"), (whole, "whole")):
        processes.finish(process, Path(name, CONSOLE), setting.seconds_left)
    findings.add("seconds to resume and finish", time.perf_counter() - begin, "s")
    differ = run_differences(Path("whole") / RUN, Path("killed") / RUN)
    findings.detail("differences", differ[:50])
    findings.add("tables and tensors that differ", len(differ), bar="resume")


def folder(name: str) -> Path:
    """Where a run works; both call theirs the same."""
    Path(name).mkdir(exist_ok=True)
    return Path(name)


def steps(table: Path) -> int:
    """Steps that a run's lr.csv has."""
    return max(table.read_bytes().count(b"\n") - 1, 0) if table.exists() else 0
