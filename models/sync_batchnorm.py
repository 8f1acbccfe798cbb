"""BatchNorm over the whole batch of several processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from utils.ranks import Ranks


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm whose means and variances in training are those of all processes' pictures, (B, C, H, W) each.

    Each process takes part, one without pictures too (B = 0). In evaluation it is BatchNorm.
    "Batch Normalization" (arXiv 1502.03167), algorithm 1, over all B H W values of a channel; the parts' means and sums
    of squares are put together in rank order, by the formula of Chan, Golub and LeVeque (1979).
    """

    ranks: Ranks

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if not self.training:
            return super().forward(images)
        out, mean, variance, count = _Normalised.apply(images, self.weight, self.bias, self.eps, self.ranks)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        return out


def synchronise(model: nn.Module, ranks: Ranks) -> None:
    """Turn each BatchNorm of `model` into one over all processes; weights, statistics and names stay."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
            module.ranks = ranks


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        values = images.to(weight.dtype)
        here = values.numel() // values.shape[1] if len(values) else 0
        mean = values.mean((0, 2, 3)) if here else torch.zeros_like(bias)
        squares = (values - mean[:, None, None]).square().sum((0, 2, 3))
        mean, squares, count = _put_together(torch.cat((mean.new_tensor([here]), mean, squares)), ranks)
        variance = squares / max(count, 1)
        scale = (variance + eps).rsqrt()
        normal = (values - mean[:, None, None]) * scale[:, None, None]
        ctx.save_for_backward(normal, weight, scale)
        ctx.count, ctx.ranks = count, ranks
        out = normal * weight[:, None, None] + bias[:, None, None]
        ctx.mark_non_differentiable(mean, variance)
        return out.to(images.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None, None]:
        normal, weight, scale = ctx.saved_tensors
        dtype, grad = grad.dtype, grad.to(weight.dtype)
        bias_grad, weight_grad = grad.sum((0, 2, 3)), (grad * normal).sum((0, 2, 3))
        ranks = ctx.ranks
        sums = ranks.rows(torch.cat((bias_grad, weight_grad))[None], [1] * ranks.world).sum(0)
        of_bias, of_weight = sums[:, None, None].split(len(weight))
        inner = grad - (of_bias + normal * of_weight) / max(ctx.count, 1)
        return (inner * (weight * scale)[:, None, None]).to(dtype), weight_grad, bias_grad, None, None


def _put_together(own: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, int]:
    """Mean (C,), sum of squares around it (C,) and count of all processes' values; `own` (1 + 2 C,) has this one's."""
    rows = ranks.rows(own[None], [1] * ranks.world)
    counts, (means, squares) = rows[:, :1], rows[:, 1:].chunk(2, 1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count.clamp(min=1)
    return mean, (squares + counts * (means - mean).square()).sum(0), int(count)
