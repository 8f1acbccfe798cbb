"""The device against the CPU: loss and gradients, renderer, NMS, metrics, optimizers.

A figure is the difference over what is allowed, so that 1 is the limit; each tolerance stands with its reason.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

import models
import optimizers
from benchmarks.detections import pictures
from benchmarks.gpu.findings import Findings
from benchmarks.gpu.pictures import training_index
from benchmarks.gpu.setting import Setting
from data.batch import Batch
from data.device import DeviceBatches
from data.loader import TrainLoader
from data.pixels import Resident
from data.plan import Augment
from data.store import ImageStore
from models.loss import DetectionLoss
from utils.device import autocast, normalised
from utils.metrics import evaluate_boxes
from utils.nms import non_max_suppression

SCALE = 2.0**10  # of the loss in fp16, as a scaler has it, so that small gradients are not lost
FAR = 1 << 31  # pixels: what 32 bits cannot number
AUGMENT = Augment(degrees=10, shear=4, perspective=0.0003, flipud=0.3, mosaic=0.7, mosaic9=0.3, mixup=0.3)


def run(setting: Setting, findings: Findings) -> None:
    """All comparisons, the cheapest first."""
    metrics(setting, findings)
    suppression(setting, findings)
    steps(setting, findings)
    batch = renderer(setting, findings)
    gradients(setting, findings, batch)


def metrics(setting: Setting, findings: Findings) -> None:
    """Sums of the same float64 numbers in another order: 1e-9."""
    found, truth = pictures(setting.either(1000, 50), 5, 50, 7)
    here = evaluate_boxes(found, truth, 5)
    there = evaluate_boxes([rows.to(setting.where) for rows in found], truth, 5)
    gap = max(abs(getattr(here, name) - getattr(there, name)) for name in ("precision", "recall", "map50", "map"))
    findings.add("metrics", gap / 1e-9, "of the 1e-9 allowed", bar="agreement")


def suppression(setting: Setting, findings: Findings) -> None:
    """Which boxes stay is a comparison of numbers: on sides of whole quarters they are exact, and none may differ."""
    generator = torch.Generator().manual_seed(0)
    count, anchors = setting.either(16, 2), setting.either(8000, 500)
    centre, side = torch.rand(2, count, anchors, 2, generator=generator)
    boxes = torch.cat((centre * 600 + 20, side * 80 + 4), -1).mul(4).round() / 4
    decoded = torch.cat((boxes, torch.rand(count, anchors, 6, generator=generator) ** 2), -1)
    for name, multi_label in (("one class a box", False), ("every class of a box", True)):
        here = non_max_suppression(decoded, 0.05, 0.5, multi_label=multi_label)
        there = non_max_suppression(decoded.to(setting.where), 0.05, 0.5, multi_label=multi_label)
        differ = sum(not torch.equal(a, b.cpu()) for a, b in zip(here, there, strict=True))
        findings.add(f"NMS, {name}: pictures that differ", differ, f"of {count}", bar="agreement")


def steps(setting: Setting, findings: Findings) -> None:
    """Fifty steps of each optimizer under a changing rate, in float64: 1e-12 of the largest weight; in float32 a
    rounding a step, of 2^-24 each, and as many for the average: 50 x 2^-23."""
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 50 * 2.0**-23)):
        for name in optimizers.names():
            here, there = (after_steps(name, dtype, where) for where in (torch.device("cpu"), setting.where))
            gap = max(float((a - b.cpu()).abs().max()) for a, b in zip(here, there, strict=True))
            gap /= max(float(a.abs().max()) for a in here)
            kind = str(dtype).removeprefix("torch.")
            findings.add(f"{name}, {kind}", gap / tolerance, f"of the {tolerance:.1e} allowed", bar="agreement")


def after_steps(name: str, dtype: torch.dtype, where: torch.device) -> list[Tensor]:
    """Weights on `where` after fifty steps toward 0, with noise."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((16, 8, 3, 3), (16,), (16,))
    model = torch.nn.ParameterList(torch.randn(s, generator=generator, dtype=dtype).to(where) for s in shapes)
    optimizer = optimizers.build(name, optimizers.parameter_groups(model, 5e-4), lr=0.01)
    for step in range(50):
        for p in model:
            noise = torch.randn(p.shape, generator=generator, dtype=dtype)
            p.grad = p.detach() + noise.to(where)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 50)
        optimizer.step()
    return [p.detach() for p in model]


def renderer(setting: Setting, findings: Findings) -> Batch:
    """The same plans drawn there, compiled where that is done, and on the CPU. Products that a GPU fuses round once
    instead of twice, which moves a colour by a level where it lay between two: at most 0.05 levels in the mean, and at
    most one pixel in a thousand by more than two levels (seams, where a rounding decides which picture is seen)."""
    index, size = training_index(setting), setting.size(320)
    store = ImageStore(index, size, "none")
    made = []
    loader = TrainLoader(index, store, augment=AUGMENT, batch_size=8, size=size, seed=1, workers=0)
    for where in (torch.device("cpu"), setting.where):
        kept = Resident(store, where, 2)
        loader.batches = DeviceBatches(index, kept, workers=0)
        made.append(next(loader.epoch(0)).to("cpu"))
    here, there = made
    if setting.on_gpu and not setting.quick:
        kept.pixels = torch.cat((kept.pixels.new_zeros(FAR), kept.pixels))
        kept.offsets = kept.offsets + FAR
        far = next(loader.epoch(0)).to("cpu").images
        differ = int((far != there.images).any(1).sum())
        findings.add("renderer, pixels that differ beyond 2^31 of them", differ, bar="agreement")
    off = (here.images.int() - there.images.int()).abs().amax(1).float()
    findings.add("renderer, mean level", float(off.mean()) / 0.05, "of the 0.05 allowed", bar="agreement")
    findings.add(
        "renderer, pixels", float((off > 2).float().mean()) / 1e-3, "of the 1 in 1,000 allowed", bar="agreement"
    )
    labels = float(not torch.equal(here.targets, there.targets))
    findings.add("renderer, labels that differ", labels, bar="agreement")
    return here


def gradients(setting: Setting, findings: Findings, batch: Batch) -> None:
    """All of a network's gradients, as one vector, against the CPU's in float64, over the length of that.

    How far off a number format is by itself, the CPU shows: in float32, and in bf16, whose roundings are 2^-9. The
    device may be twice as far off in bf16; in fp16 and TF32, whose roundings are 2^-12, an eighth of that, and four
    times that for their smaller range; in float32, where sums in another order are the whole of it, eight times as far.

    BatchNorm's statistics are fixed and the weights such that signals keep their size: with the statistics of a batch
    an untrained network makes a rounding ten thousand times as large, and bf16 nothing but roundings. So that these
    are compared too, there is float32 with them.
    """
    torch.manual_seed(0)
    model = models.build(setting.layout("yolov5n"), classes=3).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    there = batch.to(setting.where)
    for fixed in (True, False):
        exact = vector(model, batch, torch.float64, fixed)
        own = gap(vector(model, batch, torch.float32, fixed), exact)
        half = gap(vector(model, batch, torch.bfloat16, fixed), exact) if fixed else 0
        for name, (dtype, allowed) in cases(own, half, setting.on_gpu).items():
            torch.backends.cudnn.allow_tf32 = name == "TF32"
            found = gap(vector(model, there, dtype, fixed), exact)
            what = f"loss and gradients, {name}{'' if fixed else ', statistics of the batch'}"
            findings.add(what, found / allowed, f"of the {allowed:.1e} allowed", bar="agreement")


def cases(own: float, half: float, on_gpu: bool) -> dict[str, tuple[torch.dtype, float]]:
    """Number formats and tolerances, where the CPU is `own` off in float32 and `half` in bf16 (0: not compared)."""
    found = {"fp32": (torch.float32, 8 * own)}
    if half:
        found["bf16"] = torch.bfloat16, 2 * half
    if half and on_gpu:
        found |= {"fp16": (torch.float16, half / 2), "TF32": (torch.float32, half / 2)}
    return found


def vector(model: models.Detector, batch: Batch, dtype: torch.dtype, fixed: bool) -> Tensor:
    """The loss terms and every gradient of a copy of the model where the batch is, (n,) float64 on the CPU."""
    device = batch.images.device
    exact = dtype == torch.float64
    model = copy.deepcopy(model).to(device, dtype if exact else torch.float32).train()
    for module in model.modules():
        if fixed and isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    scale = SCALE if dtype == torch.float16 else 1.0
    with autocast(device, torch.float32 if exact else dtype):
        heads = model(normalised(batch.images, dtype))
    loss, terms = DetectionLoss(model)(heads, batch.targets)
    (loss * scale).backward()
    parts = [terms, *(p.grad / scale for p in model.parameters())]
    return torch.cat([part.detach().cpu().double().flatten() for part in parts])


def gap(found: Tensor, exact: Tensor) -> float:
    """How far off, as a share."""
    return float((found - exact).norm() / exact.norm())
