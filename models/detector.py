"""The network: layers of a layout, then the head that turns three maps into boxes."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.layout import Layout


class Detect(nn.Module):
    """One 1x1 convolution a map, giving `A` anchors x (4 box, 1 objectness, `classes`) logits a cell.

    `anchors`: (maps, A, 2) width and height in cells of their map. `stride`: (maps,) pixels a cell.
    """

    anchors: Tensor
    stride: Tensor

    def __init__(self, layout: Layout, classes: int) -> None:
        super().__init__()
        pixels = torch.tensor(layout.anchors).view(len(layout.anchors), -1, 2)
        self.classes = classes
        self.outputs = 5 + classes
        self.register_buffer("stride", torch.tensor(layout.strides), persistent=False)
        self.register_buffer("anchors", pixels / self.stride.view(-1, 1, 1))
        self.m = nn.ModuleList(nn.Conv2d(c, self.outputs * pixels.shape[1], 1) for c in layout.channels)
        self._init_biases(layout.strides)

    @torch.no_grad()
    def _init_biases(self, strides: tuple[float, ...]) -> None:
        """Start from what is usual: some 8 objects in a 640-pixel picture, classes equally rare.

        "Focal Loss for Dense Object Detection" (arXiv 1708.02002), section 3.3, on why rare objects need a prior.
        """
        for conv, stride in zip(self.m, strides, strict=True):
            bias = conv.bias.view(-1, self.outputs)
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (self.classes - 0.99999))

    @torch.no_grad()
    def set_anchors(self, pixels: Tensor) -> None:
        """Replace the anchors by `pixels` (maps, A, 2): widths and heights in pixels, smallest map stride first."""
        self.anchors.copy_(pixels.to(self.anchors) / self.stride.view(-1, 1, 1))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps (B, channels, h, w) to logits (B, A, h, w, 5 + classes)."""
        return [logits.contiguous() for logits in self.views(maps)]

    def views(self, maps: list[Tensor]) -> list[Tensor]:
        """As `forward`, as views of what the convolutions give."""
        heads = []
        for conv, x in zip(self.m, maps, strict=True):
            logits = conv(x)
            batch, _, height, width = logits.shape
            logits = logits.view(batch, self.anchors.shape[1], self.outputs, height, width)
            heads.append(logits.permute(0, 1, 3, 4, 2))
        return heads

    def decode(self, heads: list[Tensor]) -> Tensor:
        """Logits to (B, boxes, 5 + classes): centre and size in pixels, objectness and class probabilities.

        Boxes run over maps, then anchors, rows, columns. Half-precision logits are decoded in float32, because a
        coordinate near 640 has steps of half a pixel in half precision.
        """
        decoded = []
        for logits, anchors, stride in zip(heads, self.anchors, self.stride, strict=True):
            logits = logits.float() if logits.element_size() < 4 else logits
            batch, _, height, width, _ = logits.shape
            p = logits.sigmoid()
            rows = torch.arange(height, device=p.device, dtype=p.dtype)
            columns = torch.arange(width, device=p.device, dtype=p.dtype)
            grid = torch.stack((columns.expand(height, width), rows[:, None].expand(height, width)), -1)
            xy = (2 * p[..., :2] - 0.5 + grid) * stride
            wh = (2 * p[..., 2:4]) ** 2 * (anchors.to(p.dtype) * stride)[:, None, None]
            decoded.append(torch.cat((xy, wh, p[..., 4:]), -1).view(batch, -1, self.outputs))
        return torch.cat(decoded, 1)


class Detector(nn.Module):
    """A one-stage detector. State-dict names are those of the published YOLOv5 checkpoints (`model.<layer>...`).

    Plain attributes: `layout` (the network's description, see `models.layout.read`) and its name `cfg`, `classes`,
    `names` (settable, one a class), `max_stride` (of which the sides of pictures are multiples).
    """

    def __init__(self, layout: Layout, classes: int, spec: dict[str, Any]) -> None:
        super().__init__()
        self.layout = spec
        self.cfg: str = spec["name"]
        self.classes = classes
        self.names: tuple[str, ...] = tuple(f"class{i}" for i in range(classes))
        self.sources = layout.sources
        self.outputs = layout.outputs
        self.max_stride = layout.max_stride
        self.model = nn.ModuleList([*layout.modules, Detect(layout, classes)])

    @property
    def head(self) -> Detect:
        """The detection head, the last layer."""
        return cast(Detect, self.model[-1])

    @property
    def stride(self) -> Tensor:
        """(maps,) pixels a cell of each map, such as 8, 16, 32."""
        return self.head.stride

    @property
    def layers(self) -> int:
        """How many layers the layout has, head included: what `freeze` counts in."""
        return len(self.model)

    @property
    def parameter_count(self) -> int:
        """How many numbers training can change, frozen ones included."""
        return sum(p.numel() for p in self.parameters())

    def train(self, mode: bool = True) -> Detector:
        """Training mode. A BatchNorm that is frozen, none of its parameters taking a gradient, keeps its statistics."""
        super().train(mode)
        for module in self.modules():
            if mode and isinstance(module, nn.BatchNorm2d) and _is_frozen(module):
                module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Pictures (B, 3, H, W), float in [0, 1], sides multiples of `max_stride`.

        In training: the heads, three logits (B, 3, h, w, 5 + classes). In evaluation: `(decoded, heads)` with `decoded`
        (B, boxes, 5 + classes) as `Detect.decode` gives it.
        """
        maps: list[Tensor] = []
        for layer, sources in zip(self.model, self.sources, strict=False):
            maps.append(layer(*(images if s < 0 else maps[s] for s in sources)))
        heads = self.head([maps[o] for o in self.outputs])
        return heads if self.training else (self.head.decode(heads), heads)


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)
