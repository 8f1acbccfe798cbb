"""What is exported: a detector from pictures to one output, with the NMS behind it where that is asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models import Detector
from utils.boxes import cxcywh_to_xyxy

Suppress = Callable[[Tensor, Tensor, int, float, float], Tensor]


@dataclass(frozen=True)
class Suppression:
    """The options of the NMS inside a file."""

    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300


class Network(nn.Module):
    """(B, 3, H, W) float32 in [0, 1] to (B, anchors, 5 + classes), or (B, max_det, 6) with `suppression`.

    `half`: the layers compute in float16; what goes in and out stays float32. `suppress`: the way of the NMS that the
    format can hold, `suppress` itself or its script.
    """

    def __init__(
        self,
        detector: Detector,
        half: bool = False,
        suppression: Suppression | None = None,
        suppress: Suppress | None = None,
    ) -> None:
        super().__init__()
        self.detector = copy.deepcopy(detector).half() if half else detector
        self.half_layers, self.suppression = half, suppression
        self.suppress = suppress
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        decoded = self.detector(images.half() if self.half_layers else images)[0]
        return decoded if self.suppression is None else best(decoded, self.suppression, self.suppress)


def best(decoded: Tensor, options: Suppression, suppress: Suppress) -> Tensor:
    """The boxes that `utils.nms.non_max_suppression` keeps, best class a box, as (B, max_det, 6) filled up with zeros.

    In operations whose shapes do not depend on the number of candidates, but for the suppression itself: a box that is
    kept has its score, any other has 0, and the largest scores are taken.
    """
    conf, max_det = options.conf, options.max_det
    scores = decoded[..., 5:] * decoded[..., 4:5]
    label = scores.argmax(-1)
    score = scores.gather(2, label[..., None]).squeeze(2)
    score = torch.where((decoded[..., 4] > conf) & (score > conf), score, torch.zeros_like(score))
    numbers = torch.arange(decoded.shape[2] - 5, device=decoded.device)[:, None]
    scores = torch.where(label[:, None] == numbers, score[:, None], torch.zeros_like(score[:, None]))
    boxes = cxcywh_to_xyxy(decoded[..., :4])
    image, _, box = suppress(boxes, scores, max_det, options.iou, conf).unbind(1)
    kept = torch.zeros_like(score).index_put((image, box), score[image, box])
    none = torch.zeros_like(score[:, :1]).expand(-1, max_det)  # small pictures have fewer boxes than max_det
    top, place = torch.cat((kept, none), 1).topk(max_det, 1)
    rows = torch.cat((boxes, score[..., None], label[..., None].to(boxes.dtype)), -1)
    rows = torch.cat((rows, none[..., None].expand(-1, -1, 6)), 1).gather(1, place[..., None].expand(-1, -1, 6))
    return torch.where(top[..., None] > 0, rows, torch.zeros_like(rows))


def suppress_each(boxes: Tensor, scores: Tensor, max_det: int, iou: float, conf: float) -> Tensor:
    """Boxes (B, N, 4) as corners and their scores (B, classes, N) to (n, 3): picture, class, box of those kept.

    What ONNX's NonMaxSuppression does: of each class up to `max_det` boxes over `conf`, none of which overlaps a better
    one of its class by more than `iou`. TorchScript can hold it.
    """
    found = [torch.zeros(0, 3, dtype=torch.int64, device=boxes.device)]
    for pair in (scores > conf).any(2).nonzero():
        image, label = int(pair[0]), int(pair[1])
        place = (scores[image, label] > conf).nonzero().squeeze(1)
        kept = torch.ops.torchvision.nms(boxes[image, place], scores[image, label, place], iou)
        place = place[kept[:max_det]]
        found.append(torch.cat((pair.expand(len(place), 2), place[:, None]), 1))
    return torch.cat(found)


# as an operation of its own, for which a format's writer can put its own operator
suppress = torch.library.custom_op("anneal::suppress", suppress_each, mutates_args=())


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, max_det: int, iou: float, conf: float) -> Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 3), dtype=torch.int64)
