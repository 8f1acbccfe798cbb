"""A network for detection alone: BatchNorm put into the convolutions before it, unlikely boxes not decoded."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.blocks import Conv
from models.detector import Detect, Detector

Network = TypeVar("Network", bound=nn.Module)


class FusedDetect(Detect):
    """The head of a trained network, which passes over the numbers less often; the results are the same bits.

    conf: None, or the objectness up to which boxes need not be decoded, of which NMS keeps none.
    """

    def __init__(self, head: Detect) -> None:
        nn.Module.__init__(self)
        self.conf: float | None = None
        self.classes, self.outputs, self.m = head.classes, head.outputs, head.m
        self.register_buffer("stride", head.stride, persistent=False)
        self.register_buffer("anchors", head.anchors)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """As `Detect.views`."""
        return self.views(maps)

    def decode(self, heads: list[Tensor]) -> Tensor:
        """As `Detect.decode`; with `conf`, of each picture the boxes of more objectness alone, in their order.

        Zeros follow, up to the number of the picture that has most. NMS has the last word on who is above `conf`.
        """
        return super().decode(heads) if self.conf is None else self._likely(heads, 0.999 * self.conf)

    def _likely(self, heads: list[Tensor], conf: float) -> Tensor:
        images, boxes = [], []
        for logits, anchors, stride in zip(heads, self.anchors, self.stride, strict=True):
            image, anchor, row, column = (logits[..., 4].float().sigmoid() > conf).nonzero().unbind(1)
            p = logits[image, anchor, row, column]
            p = p.to(torch.promote_types(p.dtype, torch.float32)).sigmoid_()
            p[:, :2].mul_(2).sub_(0.5).add_(torch.stack((column, row), 1)).mul_(stride)
            p[:, 2:4].mul_(2).square_().mul_((anchors.to(p.dtype) * stride)[anchor])
            images.append(image)
            boxes.append(p)
        image, order = torch.cat(images).sort(stable=True)
        counts = image.bincount(minlength=len(heads[0]))
        place = torch.arange(len(image), device=image.device) - (counts.cumsum(0) - counts)[image]
        decoded = boxes[0].new_zeros(len(heads[0]), int(counts.max()), self.outputs)
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
