"""What a detector minimises: box overlap, objectness and class, over the matches of `assignment`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import binary_cross_entropy_with_logits

from models.assignment import Matches, assign
from models.detector import Detect, Detector
from utils.boxes import complete_iou
from utils.errors import UserError

BALANCE = (4.0, 1.0, 0.4)  # weight of objectness on three maps, fine to coarse: fine maps have more empty cells
BALANCE_OF_OTHERS = (4.0, 1.0, 0.25, 0.06, 0.02)  # on one, two, four or five
FOCAL_ALPHA = 0.25


@dataclass(frozen=True)
class LossGains:
    """Weights of the loss; the names are those of hyper-parameter files.

    `anchor_t`: largest ratio of sides at which an anchor answers for a box. `obj_pw`, `cls_pw`: weight of positives.
    `fl_gamma`: exponent of the focal loss, 0 for none. `label_smoothing`: share taken from a class's label.
    """

    box: float = 0.05
    obj: float = 1.0
    cls: float = 0.5
    anchor_t: float = 4.0
    obj_pw: float = 1.0
    cls_pw: float = 1.0
    fl_gamma: float = 0.0
    label_smoothing: float = 0.0

    def scaled(self, heads: int, classes: int, size: int) -> LossGains:
        """Gains for `heads` maps, `classes` classes and pictures of `size` pixels: stated for 3, 80 and 640."""
        share = 3 / heads
        obj, cls = self.obj * (size / 640) ** 2 * share, self.cls * classes / 80 * share
        return replace(self, box=self.box * share, obj=obj, cls=cls)


def balance(maps: int) -> tuple[float, ...]:
    """The weight of objectness on each of `maps` maps. UserError for more than are known."""
    if maps > len(BALANCE_OF_OTHERS):
        remedy = f"give a --cfg with {len(BALANCE_OF_OTHERS)} or fewer"
        raise UserError(f"a detector of {maps} maps cannot be trained; {remedy}")
    return BALANCE if maps == len(BALANCE) else BALANCE_OF_OTHERS[:maps]


class DetectionLoss:
    """Box, objectness and class loss of a detector (or its head), read with the anchors it has when called."""

    def __init__(self, model: Detector | Detect, gains: LossGains | None = None) -> None:
        self.head = model.head if isinstance(model, Detector) else model
        self.gains = LossGains() if gains is None else gains
        self.balance = balance(len(self.head.m))

    def __call__(
        self, heads: list[Tensor], targets: Tensor, whole: tuple[int, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Heads (B, A, h, w, 5 + classes) and targets (N, 6: image, class, cx, cy, w, h normalised).

        Returns `(total, terms)`: B times the sum of the terms, with its gradient, and the terms (3,) box, objectness
        and class, weighted by their gains, detached. Rows of `targets` with an image below 0 are padding. Works in
        float32 whatever autocast says, or in float64 where the heads are.

        `whole`: pictures and targets of the batch of which these heads are a part. The means are then over a part's
        share of the batch's matches, so that the totals of all parts add up to the batch's.
        """
        with torch.autocast(heads[0].device.type, enabled=False):
            heads = [head.float() if head.element_size() < 4 else head for head in heads]
            anchors = self.head.anchors.to(heads[0].dtype)
            targets = targets.to(heads[0])
            each = [self._of_map(*inputs, targets, whole) for inputs in zip(heads, anchors, self.balance, strict=True)]
            terms = torch.stack(each).sum(0)
            return terms.sum() * len(heads[0]), terms.detach()

    def _of_map(
        self, logits: Tensor, anchors: Tensor, balance: float, targets: Tensor, whole: tuple[int, Tensor] | None
    ) -> Tensor:
        """The three weighted terms of one map: (3,)."""
        gains = self.gains
        matches = assign(targets, anchors, tuple(logits.shape[:4]), gains.anchor_t)
        rows = _Rows.apply(logits.flatten(0, 3), matches.cell)
        count = matches.valid.sum().clamp(min=1)
        if whole is not None:
            pictures, others = whole
            shape = (pictures, *logits.shape[1:4])
            everyone = assign(others.to(logits), anchors, shape, gains.anchor_t).valid.sum().clamp(min=1)
            count = everyone.to(logits) * (len(logits) / pictures)
        iou = _overlap(rows, matches)
        box = torch.where(matches.valid, 1 - iou, 0).sum() / count
        # A cell without a winner (-1) reads the zero at the end.
        overlap = torch.cat((iou.detach().clamp(min=0), iou.new_zeros(1)))[matches.winner]
        objectness = self._bce(logits[..., 4].flatten(), overlap, gains.obj_pw).mean()
        kinds = self._class_term(rows[:, 5:], matches) / count
        return torch.stack((box * gains.box, objectness * balance * gains.obj, kinds * gains.cls))

    def _class_term(self, logits: Tensor, matches: Matches) -> Tensor:
        """Sum over the matches of the mean over classes of the cross-entropy. Nothing to tell apart gives 0."""
        classes = logits.shape[1]
        if classes == 1:
            return logits.new_zeros(())
        smoothing = self.gains.label_smoothing / 2
        own = torch.arange(classes, device=logits.device) == matches.classes[:, None]
        labels = torch.where(own, 1 - smoothing, smoothing).to(logits.dtype)
        each = self._bce(logits, labels, self.gains.cls_pw).mean(1)
        return torch.where(matches.valid, each, 0).sum()

    def _bce(self, logits: Tensor, labels: Tensor, positive: float) -> Tensor:
        """Cross-entropy of every logit with its label in [0, 1], focal where `fl_gamma` is over 0.

        "Focal Loss for Dense Object Detection" (arXiv 1708.02002), equation 5, with alpha 0.25; its p_t and alpha_t
        interpolate between the two labels.
        """
        weight = None if positive == 1 else logits.new_full((1,), positive)
        loss = binary_cross_entropy_with_logits(logits, labels, pos_weight=weight, reduction="none")
        if self.gains.fl_gamma <= 0:
            return loss
        p = logits.sigmoid()
        p_t = labels * p + (1 - labels) * (1 - p)
        alpha_t = labels * FOCAL_ALPHA + (1 - labels) * (1 - FOCAL_ALPHA)
        return alpha_t * (1 - p_t) ** self.gains.fl_gamma * loss


def _overlap(rows: Tensor, matches: Matches) -> Tensor:
    """CIoU (M,) of the boxes that `rows` (M, 5 + classes) predict with those they are matched to.

    Candidates that do not count compare a fixed pair: whatever their own values, no NaN reaches the gradient. Sides
    keep off 0, where the aspect ratio has no value.
    """
    p = rows[:, :4].sigmoid()
    size = ((2 * p[:, 2:]) ** 2).clamp(min=1e-12) * matches.anchors
    predicted = torch.cat((2 * p[:, :2] - 0.5, size), 1)
    valid = matches.valid[:, None]
    return complete_iou(torch.where(valid, predicted, 1), torch.where(valid, matches.boxes, 1))


class _Rows(torch.autograd.Function):
    """`table[index]` whose gradient is summed in one order: the default may add repeated rows in any order.

    On CUDA an accumulating index_put sorts the index first ("unsafe": without a second look whether it is in range);
    elsewhere scatter_add gives each column to one thread.
    """

    @staticmethod
    def forward(ctx, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = table.shape
        return table[index]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        total = grad.new_zeros(ctx.shape)
        if grad.is_cuda:
            return torch._index_put_impl_(total, (index,), grad, accumulate=True, unsafe=True), None
        return total.scatter_add_(0, index[:, None].expand_as(grad), grad), None
