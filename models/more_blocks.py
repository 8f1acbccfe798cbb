"""Blocks that layouts of users and of earlier YOLOv5 versions are made of, beyond those of `models.blocks`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from models.blocks import C3, SPPF, Bottleneck, Concat, Conv, Upsample, concat

HEADS = 4  # of C3TR's attention


class Focus(nn.Module):
    """Every second pixel, as four maps of half the size along the channels, then a Conv."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = Conv(4 * in_channels, channels, kernel, stride, padding, groups, act=act)
        self.out_channels, self.reduction = channels, 2.0 * stride

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(concat([x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]))


class DWConv(Conv):
    """A Conv in as many groups as both widths allow."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int = 1, stride: int = 1, dilation: int = 1, act: bool = True
    ) -> None:
        groups = math.gcd(in_channels, channels)
        super().__init__(in_channels, channels, kernel, stride, groups=groups, dilation=dilation, act=act)


class SPP(nn.Module):
    """Spatial pyramid pooling (arXiv 1406.4729): poolings of several windows side by side."""

    def __init__(self, in_channels: int, channels: int, kernels: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden)
        self.cv2 = Conv(hidden * (len(kernels) + 1), channels)
        self.m = nn.ModuleList(nn.MaxPool2d(side, stride=1, padding=side // 2) for side in kernels)
        self.out_channels, self.reduction = channels, 1.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        return self.cv2(concat([x, *(pool(x) for pool in self.m)]))


class BottleneckCSP(nn.Module):
    """Cross-stage partial block as its paper has it: plain convolutions join, one BatchNorm over both halves.

    "CSPNet" (arXiv 1911.11929), figure 2.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        repeats: int = 1,
        shortcut: bool = True,
        groups: int = 1,
        ratio: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.cv1 = Conv(in_channels, hidden)
        self.cv2 = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.cv3 = nn.Conv2d(hidden, hidden, 1, bias=False)
        self.cv4 = Conv(2 * hidden, channels)
        self.bn = nn.BatchNorm2d(2 * hidden, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, groups, 1.0) for _ in range(repeats)))
        self.out_channels, self.reduction = channels, 1.0

    def forward(self, x: Tensor) -> Tensor:
        both = concat((self.cv3(self.m(self.cv1(x))), self.cv2(x)))
        return self.cv4(self.act(self.bn(both)))


class TransformerLayer(nn.Module):
    """Self-attention (arXiv 1706.03762) and two linear maps, each added to its input; no norm, no dropout."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.ma = nn.MultiheadAttention(channels, heads)
        self.fc1, self.fc2 = (nn.Linear(channels, channels, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ma(self.q(x), self.k(x), self.v(x), need_weights=False)[0]
        return x + self.fc2(self.fc1(x))


class Transformer(nn.Module):
    """The cells of a map (B, C, H, W) as a sequence: a linear map of each is its place, then the layers."""

    def __init__(self, channels: int, heads: int, layers: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.tr = nn.Sequential(*(TransformerLayer(channels, heads) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        cells = x.flatten(2).permute(2, 0, 1)  # (H W, B, C)
        return self.tr(cells + self.linear(cells)).permute(1, 2, 0).reshape(x.shape)


class C3TR(C3):
    """A C3 with attention over all cells in place of its bottlenecks."""

    def inner(self, hidden: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        if hidden % HEADS:
            raise ValueError(f"C3TR attends with {HEADS} heads, which must divide its inner {hidden} channels")
        return Transformer(hidden, HEADS, repeats)


class CrossConv(nn.Module):
    """A convolution of 1 x k, then one of k x 1."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        ratio: float = 1.0,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.cv1 = Conv(in_channels, hidden, (1, kernel), (1, stride))
        self.cv2 = Conv(hidden, channels, (kernel, 1), (stride, 1), groups=groups)
        self.shortcut = shortcut and in_channels == channels
        self.out_channels, self.reduction = channels, float(stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3x(C3):
    """A C3 of cross convolutions."""

    def inner(self, hidden: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        return nn.Sequential(*(CrossConv(hidden, hidden, 3, 1, groups, 1.0, shortcut) for _ in range(repeats)))


class GhostConv(nn.Module):
    """Half the channels by a Conv, the other half from those by a cheap 5x5 one. GhostNet (arXiv 1911.11907)."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        half = channels // 2
        self.cv1 = Conv(in_channels, half, kernel, stride, None, groups, act=act)
        self.cv2 = Conv(half, half, 5, 1, None, half, act=act)
        self.out_channels, self.reduction = 2 * half, float(stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        return concat((y, self.cv2(y)))


class GhostBottleneck(nn.Module):
    """Two GhostConvs, with a depthwise Conv between and beside them where it shrinks the map (arXiv 1911.11907)."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        half, shrinks = channels // 2, stride == 2
        self.conv = nn.Sequential(
            GhostConv(in_channels, half),
            DWConv(half, half, kernel, stride, act=False) if shrinks else nn.Identity(),
            GhostConv(half, channels, act=False),
        )
        self.shortcut = nn.Identity()
        if shrinks:
            smaller = DWConv(in_channels, in_channels, kernel, stride, act=False)
            self.shortcut = nn.Sequential(smaller, Conv(in_channels, channels, act=False))
        self.out_channels, self.reduction = channels, 2.0 if shrinks else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.shortcut(x)


class C3Ghost(C3):
    """A C3 of ghost bottlenecks."""

    def inner(self, hidden: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        return nn.Sequential(*(GhostBottleneck(hidden, hidden) for _ in range(repeats)))


class MaxPool2d(nn.MaxPool2d):
    """The largest value of each window."""

    def __init__(self, in_channels: int, kernel: int, stride: int | None = None, padding: int = 0) -> None:
        super().__init__(kernel, stride, padding)
        self.out_channels, self.reduction = in_channels, float(self.stride)


class ZeroPad2d(nn.ZeroPad2d):
    """Zeros at the left, right, top and bottom."""

    def __init__(self, in_channels: int, sides: Sequence[int]) -> None:
        super().__init__(tuple(sides))
        self.out_channels, self.reduction = in_channels, 1.0


class ConvTranspose2d(nn.ConvTranspose2d):
    """A convolution that enlarges the map `stride` times."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 2, stride: int = 2, padding: int = 0) -> None:
        super().__init__(in_channels, channels, kernel, stride, padding)
        self.reduction = 1 / stride


class Identity(nn.Identity):
    """The map as it is."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels, self.reduction = in_channels, 1.0


BLOCKS: dict[str, type[nn.Module]] = {
    block.__name__: block
    for block in (
        *(Conv, C3, SPPF, Upsample, Concat, Bottleneck, Focus, DWConv, SPP, BottleneckCSP, C3TR, CrossConv, C3x),
        *(GhostConv, GhostBottleneck, C3Ghost, MaxPool2d, ZeroPad2d, ConvTranspose2d, Identity),
    )
}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (nn.SiLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.Mish, nn.GELU, nn.ELU, nn.Identity)
}


def set_activation(module: nn.Module, kind: str, numbers: Sequence[float]) -> None:
    """Give every Conv in `module` that has an activation another one, of `ACTIVATIONS`."""
    for conv in module.modules():
        if isinstance(conv, Conv) and not isinstance(conv.act, nn.Identity):
            conv.act = ACTIVATIONS[kind](*numbers)


def repeated(blocks: Sequence[nn.Module]) -> nn.Module:
    """One block, or several in a row as one."""
    if len(blocks) == 1:
        return blocks[0]
    row = nn.Sequential(*blocks)
    row.out_channels = blocks[0].out_channels
    row.reduction = math.prod(block.reduction for block in blocks)  # type: ignore[misc]  # a number in each block
    return row
