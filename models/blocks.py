"""The layers a layout is made of. Each knows its `out_channels` and by how much it shrinks the map (`reduction`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def concat(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C_i, H, W) stacked along the channels: (B, sum C_i, H, W)."""
    own = maps[0].device.type == "cpu" and any(x.requires_grad for x in maps)  # frozen, torch.compile would drop maps
    return _Concat.apply(*maps) if own else torch.cat(maps, 1)


class _Concat(torch.autograd.Function):
    """`torch.cat` whose gradients are copies, not views: on strided views the backward of SiLU is ten times slower."""

    @staticmethod
    def forward(ctx: Any, *maps: Tensor) -> Tensor:
        ctx.channels = [x.shape[1] for x in maps]
        return torch.cat(maps, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        last = grad.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        return tuple(part.contiguous(memory_format=layout) for part in grad.split(ctx.channels, 1))


class Conv(nn.Module):
    """Convolution without bias, BatchNorm, SiLU (`act=False`: none). Padding defaults to half the kernel's reach."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int | Sequence[int] = 1,
        stride: int | Sequence[int] = 1,
        padding: int | None = None,
        groups: int = 1,
        dilation: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        kernels = kernel if isinstance(kernel, Sequence) else (kernel, kernel)
        around = [(dilation * (side - 1) + 1) // 2 for side in kernels] if padding is None else padding
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, around, dilation, groups, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU() if act else nn.Identity()
        self.out_channels, self.reduction = channels, float(self.conv.stride[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution, `ratio` of the channels between them, added to the input where `shortcut` says so
    and the input is as wide."""

    def __init__(
        self, in_channels: int, channels: int, shortcut: bool = True, groups: int = 1, ratio: float = 0.5
    ) -> None:
        super().__init__()
        hidden = int(channels * ratio)
        self.cv1 = Conv(in_channels, hidden, 1)
        self.cv2 = Conv(hidden, channels, 3, groups=groups)
        self.shortcut = shortcut and in_channels == channels
        self.out_channels, self.reduction = channels, 1.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Cross-stage partial block with three convolutions: bottlenecks on one half of the channels, the other passes by.

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
        self.cv2 = Conv(in_channels, hidden)
        self.cv3 = Conv(2 * hidden, channels)
        self.m = self.inner(hidden, repeats, shortcut, groups)
        self.out_channels, self.reduction = channels, 1.0

    def inner(self, hidden: int, repeats: int, shortcut: bool, groups: int) -> nn.Module:
        """What the one half of the channels goes through."""
        return nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, groups, 1.0) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(concat((self.m(self.cv1(x)), self.cv2(x))))


class SPPF(nn.Module):
    """Spatial pyramid pooling (arXiv 1406.4729) as three poolings in a row: windows of k, 2k - 1 and 3k - 2."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 5) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden)
        self.cv2 = Conv(4 * hidden, channels)
        self.m = nn.MaxPool2d(kernel, stride=1, padding=kernel // 2)
        self.out_channels, self.reduction = channels, 1.0

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        return self.cv2(concat(maps))


class Upsample(nn.Upsample):
    """Enlarge by repeating every cell `scale` times each way."""

    def __init__(self, in_channels: int, scale: int = 2) -> None:
        super().__init__(scale_factor=scale, mode="nearest")
        self.out_channels, self.reduction = in_channels, 1 / scale


class Concat(nn.Module):
    """Stack several maps of one size along the channels."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels, self.reduction = in_channels, 1.0

    def forward(self, *maps: Tensor) -> Tensor:
        return concat(maps)
