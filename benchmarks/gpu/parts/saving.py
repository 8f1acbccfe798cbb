"""How long a save holds up training, and what it costs while it is written."""

from __future__ import annotations

from benchmarks.gpu.findings import Findings
from benchmarks.gpu.pictures import enlarged
from benchmarks.gpu.setting import Setting
from benchmarks.saving import measure
from training import start


def run(setting: Setting, findings: Findings) -> None:
    """The figures of `benchmarks.saving` for yolov5s at 640 pixels, a best and a last checkpoint an epoch."""
    batch = setting.either(32, 4)
    data, cfg = enlarged(setting, 20 * batch if not setting.quick else 2 * batch), setting.layout("yolov5s")
    flags = f"--nbs {batch} --optim adamw"
    session = start.prepare(setting.options(flags, data=data, cfg=cfg, imgsz=setting.size(640), batch_size=batch))
    figures = measure(session, setting.either(4, 2))
    findings.detail("figures", figures)
    findings.add("an epoch without saves", figures["epoch_without_s"], "s")
    findings.add("training waits for the copy of both", 1000 * figures["waited_s"], "ms")
    findings.add("and loses while they are written", 1000 * figures["lost_s"], "ms")
    findings.add("of an epoch", 100 * figures["cost"], "%")
