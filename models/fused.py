"""A network for detection alone: BatchNorm put into the convolutions before it, unlikely boxes not decoded."""

from __future__ import annotations

from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.blocks import Conv
from models.detector import Detect, Detector

Network = TypeVar("Network", bound=nn.Module)


class FusedDetect(Detect):
    """The head of a trained network, which passes over the numbers less often.

    conf: None, or the objectness up to which boxes need not be computed, of which NMS keeps none. Without it the
    results are the bits of `Detect`; with it, to rounding.
    """

    def __init__(self, head: Detect) -> None:
        nn.Module.__init__(self)
        self.conf: float | None = None
        self.classes, self.outputs, self.m = head.classes, head.outputs, head.m
        self.register_buffer("stride", head.stride, persistent=False)
        self.register_buffer("anchors", head.anchors)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """As `Detect.views`; with `conf`, the maps themselves."""
        return self.views(maps) if self.conf is None else maps

    def decode(self, heads: list[Tensor]) -> Tensor:
        """As `Detect.decode`; with `conf`, of each picture the boxes of more objectness alone, in their order.

        `heads`: what `forward` gave. Zeros follow, up to the number of the picture that has most. NMS has the last word
        on who is above `conf`.
        """
        return super().decode(heads) if self.conf is None else self._likely(heads, 0.999 * self.conf)

    def _likely(self, maps: list[Tensor], conf: float) -> Tensor:
        images, boxes = [], []
        for conv, x, anchors, stride in zip(self.m, maps, self.anchors, self.stride, strict=True):
            weight, bias = cast(Tensor, conv.weight), cast(Tensor, conv.bias)
            objectness = F.conv2d(x, weight[4 :: self.outputs], bias[4 :: self.outputs])
            image, anchor, row, column = (objectness.float().sigmoid() > conf).nonzero().unbind(1)
            if len(image) * len(anchors) < objectness.numel():
                logits = F.linear(x.permute(0, 2, 3, 1)[image, row, column], weight.flatten(1), bias)
                p = logits.view(-1, len(anchors), self.outputs)[torch.arange(len(image), device=x.device), anchor]
            else:  # so many that the convolution is faster
                logits = conv(x).unflatten(1, (len(anchors), self.outputs))
                p = logits.permute(0, 1, 3, 4, 2)[image, anchor, row, column]
            p = p.to(torch.promote_types(p.dtype, torch.float32)).sigmoid_()
            p[:, :2].mul_(2).sub_(0.5).add_(torch.stack((column, row), 1)).mul_(stride)
            p[:, 2:4].mul_(2).square_().mul_((anchors.to(p.dtype) * stride)[anchor])
            images.append(image)
            boxes.append(p)
        image, order = torch.cat(images).sort(stable=True)
        counts = image.bincount(minlength=len(maps[0]))
        place = torch.arange(len(image), device=image.device) - (counts.cumsum(0) - counts)[image]
        decoded = boxes[0].new_zeros(len(maps[0]), int(counts.max()), self.outputs)
        decoded[image, place] = torch.cat(boxes)[order]
        return decoded


@torch.no_grad()
def fuse(network: Network) -> Network:
    """Change a network in evaluation mode in place; returns it. It finds the same to rounding, and trains no more.

    The products of weights and BatchNorm's scale are formed in float64 and rounded once.
    """
    for module in list(network.modules()):
        if isinstance(module, Conv) and isinstance(module.bn, nn.BatchNorm2d):
            dtype = module.conv.weight.dtype
            fused = fuse_conv_bn_eval(module.conv.double(), module.bn.double())
            module.conv, module.bn = fused.to(dtype).to(memory_format=torch.channels_last), nn.Identity()
        elif isinstance(module, nn.SiLU):
            module.inplace = True
        elif isinstance(module, Detector):
            module.model[-1] = FusedDetect(module.head)
    return network
