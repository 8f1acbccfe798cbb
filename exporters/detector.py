"""An exported file in a detector's place: what evaluates a checkpoint evaluates it too."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from exporters.model import Exported
from utils.boxes import xyxy_to_cxcywh

LOGGER = logging.getLogger("anneal")


class ExportedDetector(nn.Module):
    """Has what callers of a `Detector` in evaluation use: `classes`, `names`, `stride`, a device; no heads.

    The boxes of a file with NMS inside come in the form of the others, score as objectness and a class probability of
    1, so that a further NMS, which drops none of them, can choose by score and class.
    """

    def __init__(self, exported: Exported) -> None:
        super().__init__()
        self.exported = exported
        self.classes, self.names = exported.classes, exported.names
        self.stride, self.max_stride = torch.tensor([exported.stride]), exported.stride
        self.place = nn.Parameter(torch.empty(0, device=exported.device), requires_grad=False)  # tells the device

    def warn(self, conf: float, iou: float) -> None:
        """Say where the NMS inside the file drops boxes that these thresholds would keep, or keeps others."""
        own = self.exported
        if own.nms and (conf < own.conf or iou != own.iou):
            LOGGER.warning(
                f"{own.path}: its built-in NMS runs first, with conf-thres {own.conf:g} and iou-thres "
                f"{own.iou:g}; boxes it drops are missing at {conf:g} and {iou:g}; export without --nms to choose"
            )

    def tell_size(self) -> None:
        """Say where a fixed size puts more grey around pictures than its checkpoint gets."""
        own = self.exported
        if not own.dynamic:
            height, width = own.size
            LOGGER.warning(
                f"{own.path}: accepts only {height} x {width} pixels, with more grey around most pictures than its "
                f"checkpoint gets; figures differ a little; for equal ones, export without --imgsz and --batch-size"
            )

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W) to (B, boxes, 5 + classes), and no heads."""
        output = self.exported(images)
        return (as_decoded(output, self.classes) if self.exported.nms else output), []


def as_decoded(rows: Tensor, classes: int) -> Tensor:
    """(B, n, 6) x1, y1, x2, y2, score, class to (B, n, 5 + classes) as `models.Detect.decode` gives it."""
    kind = one_hot(rows[..., 5].long(), classes).to(rows.dtype)
    return torch.cat((xyxy_to_cxcywh(rows[..., :4]), rows[..., 4:5], kind), -1)
