"""Minutes to 0.50 and 0.80 mAP50 from scratch, the program's start included."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.gpu import processes
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.setting import Setting
from utils.tracker import read_csv

GOALS = {0.5: "", 0.8: "minutes"}  # mAP50, and its bar
FLAGS = "--optim adamw --lr-policy onecycle --lr0 0.004 --hyp small.yaml --nosave --name run"


def run(setting: Setting, findings: Findings) -> None:
    """yolov5s at 640 pixels by the recipe of docs/mask.md, as long as the time allows."""
    batch, epochs = setting.either(32, 4), setting.either(100, 2)
    words = setting.flags(f"{FLAGS} --nbs {batch} --epochs {epochs}", data=setting.data, batch_size=batch)
    words += ["--cfg", setting.layout("yolov5s"), "--imgsz", str(setting.size(640)), "--project", str(Path.cwd())]
    begin, console, table = time.perf_counter(), Path("console.txt"), Path("run", "results.csv")
    process, reached, best, done = processes.trainer(words, console), {}, 0.0, 0
    while process.poll() is None and setting.seconds_left > 3:
        time.sleep(0.1)
        best, done = look(table, reached, (time.perf_counter() - begin) / 60)
    if process.poll() is None:
        process.kill()
        findings.detail("ended", f"at its time limit, after {done} of {epochs} epochs")
    else:
        processes.finish(process, console, 1)
        best, done = look(table, reached, (time.perf_counter() - begin) / 60)
    findings.add("epochs", done, f"of {epochs}, yolov5s at {setting.size(640)} px")
    findings.add("minutes", (time.perf_counter() - begin) / 60)
    findings.add("best mAP50", best)
    for goal, bar in GOALS.items():
        findings.add(f"minutes to {goal:.2f} mAP50", reached.get(goal, "not reached"), bar=bar)


def look(table: Path, reached: dict[float, float], minutes: float) -> tuple[float, int]:
    """The best mAP50 so far and the epochs done; notes in `reached` what it had been reached for the first time."""
    found = [row["metrics/mAP_0.5"] for row in read_csv(table)] if table.exists() else []
    best = max(found, default=0.0)
    for goal in GOALS:
        if best >= goal:
            reached.setdefault(goal, minutes)
    return best, len(found)
