"""What a network finds in the pictures of a loader, a batch at a time, beside the ground truth: what `val` measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from data.batch import Batch
from data.index import Index
from data.letterbox import undo
from data.loader import ValLoader
from utils import device as devices
from utils.boxes import clip_boxes, cxcywh_to_xyxy
from utils.console import log
from utils.memory import InParts, MemoryErrors
from utils.metrics.speed import Speed
from utils.nms import non_max_suppression


@dataclass
class Predictions:
    """What the network said of one batch. Lists hold one tensor a picture; boxes are corners in pixels.

    letterboxed: (n, 6) x1, y1, x2, y2, score, class in pixels of `batch.images`. boxes: the same in the original
    picture, clipped to it. targets: (m, 5) class, x1, y1, x2, y2 in the original. losses: (3,) terms, or None.
    """

    batch: Batch
    letterboxed: list[Tensor]
    boxes: list[Tensor]
    targets: list[Tensor]
    losses: Tensor | None


def predictions(
    model: nn.Module,
    loader: ValLoader,
    *,
    conf: float = 0.001,
    iou: float = 0.6,
    max_det: int = 300,
    criterion: Callable | None = None,
    dtype: torch.dtype | None = None,
    single_class: bool = False,
    speed: Speed | None = None,
) -> Iterator[Predictions]:
    """One `Predictions` a batch; arguments as for `evaluate`. The model is in evaluation mode until the end.

    A batch for which memory does not suffice comes in parts. Raises UserError where one picture is too many.
    """
    device = next(model.parameters()).device
    speed = speed if speed is not None else Speed(read=False)
    dtype = dtype or torch.float32
    in_parts = InParts("out of memory in validation", "give a smaller --imgsz")
    nms = {"conf": conf, "iou": iou, "max_det": max_det, "multi_label": True, "agnostic": single_class}
    with evaluation_mode(model):
        clock = time.perf_counter()
        for whole in log.progress(loader, desc="val", total=len(loader), unit="batch"):
            places = whole.indices.tolist()
            whole = whole.to(device, non_blocking=True)
            speed.add("load", clock, device)
            for batch, (found, losses) in in_parts(partial(_detect, model, criterion, dtype, nms, speed), whole):
                if single_class:
                    found = [torch.cat((rows[:, :5], torch.zeros_like(rows[:, 5:])), 1) for rows in found]
                boxes = undo(found, batch.letterbox)
                mine, places = places[: len(found)], places[len(found) :]
                targets = [ground_truth(loader.index, i, single_class) for i in mine]
                yield Predictions(batch, found, boxes, targets, losses)
            clock = time.perf_counter()


@torch.inference_mode()
def _detect(
    model: nn.Module, criterion: Callable | None, dtype: torch.dtype, nms: dict, speed: Speed, batch: Batch
) -> tuple[list[Tensor], Tensor | None]:
    """The boxes kept of each picture, (n, 6) in pixels of `batch.images`, and the loss terms (3,)."""
    clock = time.perf_counter()
    images = devices.normalised(batch.images, dtype)
    with MemoryErrors(), devices.autocast(images.device, dtype):
        decoded, heads = model(images)
    losses = None if criterion is None else criterion(heads, batch.targets, batch.whole)[1]
    clock = speed.add("inference", clock, images.device)
    found = non_max_suppression(decoded, **nms)
    speed.add("NMS", clock, images.device)
    speed.pictures += len(found)
    return found, losses


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation; afterwards every module is as it was, the deliberately frozen ones too."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in trained:
            module.training = True


def ground_truth(index: Index, i: int, single_class: bool = False) -> Tensor:
    """(m, 5) class, x1, y1, x2, y2 of picture `i`, in its own pixels, clipped to it as detections are."""
    height, width = (int(side) for side in index.shapes[i])
    labels = torch.tensor(index.labels[i], dtype=torch.float32).reshape(-1, 5)
    corners = cxcywh_to_xyxy(labels[:, 1:]) * labels.new_tensor([width, height, width, height])
    kind = torch.zeros_like(labels[:, :1]) if single_class else labels[:, :1]
    return torch.cat((kind, clip_boxes(corners, height, width)), 1)
