"""Memory that runs out for real: a batch that cannot fit, and memory held by another process."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu import processes
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.pictures import enlarged
from benchmarks.gpu.setting import Setting
from utils import checkpoint

RAN_OUT = r"out of memory in step \d+ with \d+ pictures at once; continuing with parts of (\d+)"
LEFT = 8e9  # bytes that the other process leaves of the GPU
HOLD = """
import sys, torch
device, left = torch.device(sys.argv[1]), float(sys.argv[2])
held = []
if device.type == "cuda":
    torch.zeros(1, device=device)
    held = [torch.empty(int(torch.cuda.mem_get_info(device)[0] - left), dtype=torch.uint8, device=device)]
print("ready", flush=True)
sys.stdin.read()
"""


def run(setting: Setting, findings: Findings) -> None:
    """train.py for an epoch of a batch or a few, which has to go on in parts. A CPU's memory is not made to run out."""
    pictures = setting.either(768, 8)
    data = enlarged(setting, pictures)
    trained(setting, findings, "a batch that cannot fit", data, "yolov5x", pictures)
    with holding(setting):
        trained(setting, findings, "memory held by another process", data, "yolov5s", setting.either(128, 4))


def trained(setting: Setting, findings: Findings, what: str, data: Path, cfg: str, batch: int) -> None:
    """Train, and see that memory ran out, that the parts are kept in last.pt and that the run came to its end."""
    name = what.split()[0]
    words = setting.flags("--epochs 1 --noval --exist-ok", data=data, cfg=setting.layout(cfg), batch_size=batch)
    words += ["--imgsz", str(setting.size(640)), "--project", str(Path.cwd()), "--name", name]
    console = Path(f"{name}.txt")
    said = processes.finish(processes.trainer(words, console), console, setting.seconds_left)
    parts = [int(size) for size in re.findall(RAN_OUT, said)]
    state = checkpoint.load(Path(name, "weights", "last.pt"))
    findings.detail(what, {"batch": batch, "parts": parts, "at_once": state["at_once"]})
    findings.add(f"{what}: pictures at once, of {batch}", parts[-1] if parts else batch)
    kept = state["finished"] and (not setting.on_gpu or (bool(parts) and state["at_once"] == parts[-1]))
    findings.add(f"{what}: ran out and went on", int(kept), bar="memory")


@contextlib.contextmanager
def holding(setting: Setting) -> Iterator[None]:
    """Another process that leaves `LEFT` of the GPU's memory."""
    words = [sys.executable, "-c", HOLD, setting.device, str(LEFT)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the process that was to hold the GPU's memory failed")
        yield
    finally:
        process.kill()
        process.communicate()
