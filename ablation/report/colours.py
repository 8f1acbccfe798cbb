"""Colours of curves on light and on dark ground, that colour-blind readers tell apart."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

from utils.plots import style

# the palette of all plots, each colour lighter for dark ground
ON_DARK = ("#4FA8E0", "#F2833F", "#2CC295", "#E59BC6", "#F2B533", "#93D2F7")
DASHES = 4


@dataclass(frozen=True)
class Look:
    """A curve's colour as `#rrggbb` on light and on dark ground, and its dash pattern 0..3."""

    light: str
    dark: str
    dash: int


def looks(levels: Sequence[Sequence[str]]) -> list[Look]:
    """One look for each cell, given its levels of the settings that vary.

    With two settings or more, colour says the first and dashes the second where the palette has enough of both; else
    each cell has its own colour. Cells that differ further share a look: the legend and the readout name them.
    """
    first, second = (list(dict.fromkeys(cell[i] for cell in levels if len(cell) > i)) for i in (0, 1))
    if 1 < len(first) <= len(style.PALETTE) and 1 < len(second) <= DASHES:
        first, second = sorted(first), sorted(second)  # a change in rank must not change the colours
        return [_look(first.index(cell[0]), second.index(cell[1])) for cell in levels]
    places = {cell: i for i, cell in enumerate(sorted({tuple(cell) for cell in levels}))}
    return [_look(places[tuple(cell)], places[tuple(cell)] // len(style.PALETTE) % DASHES) for cell in levels]


def _look(colour: int, dash: int) -> Look:
    if colour < len(ON_DARK):
        return Look(style.PALETTE[colour], ON_DARK[colour], dash)
    red, green, blue = colorsys.hls_to_rgb(colour * 0.618034 % 1, 0.68, 0.6)
    return Look(style.colour(colour), f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}", dash)
