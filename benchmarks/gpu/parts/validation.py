"""Validation: images a second, and the shares of the network and of NMS, at its usual and at its worst."""

from __future__ import annotations

import time

import torch

import val
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.pictures import enlarged
from benchmarks.gpu.setting import Setting
from data.loader import ValLoader
from training import start
from utils.device import synchronize
from utils.metrics.speed import Speed


def run(setting: Setting, findings: Findings) -> None:
    """yolov5s at 640 pixels on the training pictures as they are. An untrained network finds few boxes; one whose head
    is set to "perhaps" finds one everywhere, more than a trained one ever leaves to NMS."""
    batch = setting.either(32, 4)
    data, cfg = enlarged(setting, setting.either(1024, 8)), setting.layout("yolov5s")
    session = start.prepare(setting.options("", data=data, cfg=cfg, imgsz=setting.size(640), batch_size=batch))
    train = session.data.train
    loader = ValLoader(train.index, train.store, batch_size=2 * batch, size=train.size, workers=2)
    model = session.ema.model
    for name in ("few boxes", "a box everywhere"):
        if name != "few boxes":
            with torch.no_grad():
                for head in model.head.m:
                    head.bias.zero_()
        speed = Speed()
        val.evaluate(model, loader, criterion=session.criterion, dtype=session.dtype)  # makes what is made once
        val.evaluate(model, loader, criterion=session.criterion, dtype=session.dtype, speed=speed)
        begin = time.perf_counter()
        val.evaluate(model, loader, criterion=session.criterion, dtype=session.dtype)
        synchronize(session.device)
        seconds = time.perf_counter() - begin
        findings.detail(name, {part: spent / max(speed.pictures, 1) for part, spent in speed.seconds.items()})
        findings.add(f"{name}: validation", len(loader.index) / seconds, "images/s")
        for part, spent in speed.seconds.items():
            findings.add(f"{name}: {part}", 1e3 * spent / max(speed.pictures, 1), "ms per picture")
        findings.add(f"{name}: NMS of the three", 100 * speed.seconds["NMS"] / sum(speed.seconds.values()), "%")
