"""The batched renderer: a whole batch of plans drawn at once, on whichever device the pixels are.

Every output pixel finds the cell of its layer's grid that its centre lies in, and is sampled once, bilinearly, from
that cell's picture. Nothing loops over pictures, waits for the device, or has a shape that depends on what is drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from data.recipe import ACROSS, CELL, CELLS, LINES, MATRIX
from data.render import GREY

# OpenCV divides by multiplying with rounded 12-bit reciprocals; in float32 these products are exact.
_HALF, _SATURATION, _HUE = 2**11, 255 * 2**12, 30 * 2**12
Colour = tuple[Tensor, ...]  # of red, green, blue


class Table(NamedTuple):
    """A `Recipe`'s arrays as tensors on the device."""

    layers: Tensor
    colour: Tensor
    offsets: Tensor


def render_batch(pixels: Tensor, table: Table, height: int, width: int, jitter: bool) -> Tensor:
    """Draw a batch.

    Args:
        pixels: (P,) int32, pictures row by row at the table's offsets; red, green and blue are a pixel's lowest bytes.
        table: of `Recipe`, on the same device.
        height, width: of the output.
        jitter: whether to change colours.

    Returns:
        (B, 3, height, width) uint8 RGB, channels last in memory, as convolutions like it.
    """
    x = torch.arange(width, dtype=torch.float32, device=pixels.device) + (0.5 - width / 2)
    y = torch.arange(height, dtype=torch.float32, device=pixels.device)[:, None] + (0.5 - height / 2)
    layers = [_layer(pixels, table.layers[:, k], table.offsets[:, k], x, y) for k in range(table.layers.shape[1])]
    colour = layers[0]
    if len(layers) == 2:
        ratio = table.colour[:, 3, None, None]
        colour = tuple(torch.round(a * ratio + b * (1 - ratio)) for a, b in zip(*layers, strict=True))
    if jitter:
        colour = _jitter(colour, table.colour)
    return torch.stack(colour, -1).to(torch.uint8).permute(0, 3, 1, 2)


def _layer(pixels: Tensor, layer: Tensor, offsets: Tensor, x: Tensor, y: Tensor) -> Colour:
    """One layer: three (B, H, W) float32 channels of whole levels, from its columns (B, 94) and offsets (B, 9)."""
    a = [column[:, None, None] for column in layer[:, MATRIX].unbind(1)]
    depth = a[6] * x + a[7] * y + a[8]
    across, down = (a[0] * x + a[1] * y + a[2]) / depth, (a[3] * x + a[4] * y + a[5]) / depth
    left, top, right, bottom = (line[:, None, None] for line in layer[:, LINES].unbind(1))
    cell = (across >= left).long() + (across >= right) + 3 * ((down >= top).long() + (down >= bottom))
    cell = cell + CELLS * torch.arange(len(layer), device=layer.device)[:, None, None]
    columns = layer[:, CELL].reshape(-1, ACROSS)
    low_x, low_y, high_x, high_y, from_x, from_y, scale, w, h = (column[cell] for column in columns.unbind(1))
    inside = (across >= low_x) & (across < high_x) & (down >= low_y) & (down < high_y) & (depth > 0)
    # Where nothing is, some pixel is read and thrown away; infinities must not become addresses.
    u = torch.where(inside, (across - from_x) * scale - 0.5, 0).clamp(min=0)
    v = torch.where(inside, (down - from_y) * scale - 0.5, 0).clamp(min=0)
    u, v = torch.minimum(u, w - 1), torch.minimum(v, h - 1)
    u0, v0 = u.floor(), v.floor()
    u1, v1 = torch.minimum(u0 + 1, w - 1).long(), torch.minimum(v0 + 1, h - 1).long()
    u, v, wide = u - u0, v - v0, w.long()
    above = offsets.reshape(-1)[cell] + v0.long() * wide
    below = above + (v1 - v0.long()) * wide
    u0 = u0.long()
    around = [pixels[at] for at in (above + u0, above + u1, below + u0, below + u1)]
    return tuple(torch.where(inside, _blend(around, shift, u, v), GREY) for shift in (0, 8, 16))


def _blend(around: list[Tensor], shift: int, u: Tensor, v: Tensor) -> Tensor:
    """One channel between the four pixels around a point, rounded to whole levels."""
    a, b, c, d = (((pixel >> shift) & 255).float() for pixel in around)
    upper, lower = a + (b - a) * u, c + (d - c) * u
    return torch.floor(upper + (lower - upper) * v + 0.5)


def _jitter(colour: Colour, gains: Tensor) -> Colour:
    """Gains (B, 3 or more) of hue, saturation and value, in OpenCV's 8-bit HSV, as `render.jitter` has them."""
    red, green, blue = colour
    hue_gain, saturation_gain, value_gain = (gains[:, k, None, None] for k in range(3))
    value = torch.maximum(torch.maximum(red, green), blue)
    span = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = torch.floor((span * torch.round(_SATURATION / value.clamp(min=1)) + _HALF) / (2 * _HALF))
    sixth = torch.where(value == green, blue - red + 2 * span, red - green + 4 * span)
    sixth = torch.where(value == red, green - blue, sixth)
    hue = torch.floor((sixth * torch.round(_HUE / span.clamp(min=1)) + _HALF) / (2 * _HALF))
    hue = torch.where(hue < 0, hue + 180, hue)
    hue = torch.round(hue * hue_gain) % 180
    saturation = torch.round(saturation * saturation_gain).clamp(0, 255) / 255
    value = torch.round(value * value_gain).clamp(0, 255)
    still = (hue_gain == 1) & (saturation_gain == 1) & (value_gain == 1)
    return tuple(
        torch.where(still, old, _channel(hue, saturation, value, turn))
        for old, turn in zip(colour, (5, 3, 1), strict=True)
    )


def _channel(hue: Tensor, saturation: Tensor, value: Tensor, turn: int) -> Tensor:
    """A channel of the colour: full within a sixth of the circle around its own hue, falling over the next."""
    k = (turn + hue / 30) % 6
    return torch.round(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
