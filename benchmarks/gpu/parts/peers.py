"""Other trainers on the same machine and pictures, in turns with ours: YOLOv5's, and Ultralytics' where installed.

Each is run as its users run it; an epoch's time is that from one row of its results.csv to the next.
"""

from __future__ import annotations

import statistics
import sys
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from benchmarks.gpu import processes
from benchmarks.gpu.child import ROOT
from benchmarks.gpu.findings import Findings, LeftOut
from benchmarks.gpu.pictures import enlarged
from benchmarks.gpu.setting import Setting

EPOCHS = 6  # the first makes what is made once, the last is followed by a validation
ULTRALYTICS = """
import sys
from ultralytics import YOLO
data, size, batch, epochs, device, project = sys.argv[1:]
YOLO("yolov5s.yaml").train(data=data, imgsz=int(size), batch=int(batch), epochs=int(epochs), device=device,
    project=project, name="run", exist_ok=True, workers=8, cache="ram", val=False, plots=False, save=False)
"""


def run(setting: Setting, findings: Findings) -> None:
    """yolov5s at 640 pixels in batches of 64 from scratch, without validation; two turns where the time allows."""
    others = {name: words for name, words in peers(setting).items() if words}
    if not others:
        raise LeftOut("no --peer was given and Ultralytics is not installed")
    pictures, rates = setting.either(2048, 12), {name: [] for name in ("ours", *others)}
    begin = time.perf_counter()
    for turn in range(setting.either(2, 1)):
        if turn and setting.seconds_left < 1.5 * (time.perf_counter() - begin):
            break
        for name, words in {"ours": ours(setting), **others}.items():
            folder = Path(f"{name}{turn}").resolve()
            folder.mkdir()
            seconds = seconds_an_epoch([w.replace("PROJECT", str(folder)) for w in words], folder, setting.seconds_left)
            rates[name].append(pictures / seconds)
            findings.add(f"{name}, turn {turn + 1}", rates[name][-1], "images/s")
    for name in others:
        times = statistics.median(rates["ours"]) / statistics.median(rates[name])
        findings.add(f"ours over {name}", times, bar="peer" * (name == "YOLOv5"))


def ours(setting: Setting) -> list[str]:
    """Our command; its project is to be filled in."""
    text = f"--epochs {EPOCHS} --noval --nosave --project PROJECT --name run"
    return [
        sys.executable,
        str(ROOT / "train.py"),
        *setting.flags(text, **common(setting), cfg=setting.layout("yolov5s")),
    ]


def peers(setting: Setting) -> dict[str, list[str]]:
    """The other trainers' commands; none for one that is not there."""
    same = common(setting)
    number = str(setting.where.index or 0) if setting.on_gpu else setting.device
    values = [same["data"], same["imgsz"], same["batch_size"], EPOCHS, number, "PROJECT"]
    text = f"--epochs {EPOCHS} --device {number} --workers 8 --cache ram --noval --nosave --noplots --exist-ok"
    yolov5 = [
        sys.executable,
        str(Path(setting.peer) / "train.py"),
        *text.split(),
        "--weights",
        "",
        "--cfg",
        "yolov5s.yaml",
    ]
    yolov5 += ["--data", str(same["data"]), "--img", str(same["imgsz"]), "--batch-size", str(same["batch_size"])]
    yolov5 += ["--project", "PROJECT", "--name", "run"]
    return {
        "YOLOv5": yolov5 if setting.peer else [],
        "Ultralytics": [sys.executable, "-c", ULTRALYTICS, *map(str, values)] if find_spec("ultralytics") else [],
    }


def common(setting: Setting) -> dict[str, object]:
    """What all of them train on."""
    data = enlarged(setting, setting.either(2048, 12))
    return {"data": data, "imgsz": setting.size(640), "batch_size": setting.either(64, 4)}


def seconds_an_epoch(words: list[str], folder: Path, limit: float) -> float:
    """The median over the epochs that count, of a trainer that writes to `folder`/run/results.csv."""
    console, table = folder / "console.txt", folder / "run" / "results.csv"
    process, seen = processes.begin(words, console, folder), []
    try:
        for epoch in range(EPOCHS):
            there = processes.wait_until(process, lambda epoch=epoch: rows(table) > epoch, limit)
            if not there:
                processes.finish(process, console, limit)
                raise RuntimeError(
                    f"{console}: {epoch} of {EPOCHS} epochs in its results.csv: {processes.tail(console)}"
                )
            seen.append(time.perf_counter())
    finally:
        process.kill()
        process.wait()
    return statistics.median(b - a for a, b in pairwise(seen[:-1]))


def rows(table: Path) -> int:
    """Rows of a CSV file, without its heading."""
    return max(table.read_bytes().count(b"\n") - 1, 0) if table.exists() else 0
