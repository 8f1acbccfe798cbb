"""The look shared by all plots: figures without pyplot, colours that colour-blind readers tell apart, safe names.

Only this module touches matplotlib, inside functions: it takes half a second to import, and a figure made here draws
with Agg whatever the display, leaving pyplot and the global settings alone.
"""

from __future__ import annotations

import colorsys
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.files.atomic import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette without black and yellow, which vanish on dark and on white ground.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", ":", "-.")
INK, MUTED, FAINT = "#222222", "#6b6b6b", "#d9d9d9"


def colour(i: int) -> str:
    """The colour of class or series `i` as `#rrggbb`: the palette first, then hues spread by the golden ratio."""
    if i < len(PALETTE):
        return PALETTE[i]
    lightness = (0.3, 0.42, 0.54)[i % 3]
    red, green, blue = colorsys.hls_to_rgb(i * 0.618034 % 1, lightness, 0.65)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def rgb(i: int) -> tuple[int, int, int]:
    """`colour(i)` as three numbers in 0..255."""
    code = colour(i)
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def ink(ground: tuple[int, int, int]) -> str:
    """Black or white, whichever reads better on a ground of `rgb`."""
    return "black" if 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2] > 140 else "white"


def dash(i: int) -> str:
    """The line style of series `i`; it changes when the palette starts again."""
    return DASHES[i // len(PALETTE) % len(DASHES)]


def array(values: Any) -> np.ndarray:
    """A tensor on any device, or anything numpy reads, as an array."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def font_path() -> str:
    """The DejaVu Sans file that matplotlib ships."""
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(font_path()).get_charmap())


def plain_name(names: Sequence[str], i: int, limit: int = 24) -> str:
    """Class `i`'s name on one line, cut at `limit` characters.

    `class i` where the name is missing or the shipped font lacks one of its letters: boxes of tofu name nothing.
    """
    name = " ".join(str(names[i]).split()) if 0 <= i < len(names) else ""
    if not name or any(ord(letter) not in _glyphs() for letter in name):
        return f"class {i}"
    return name if len(name) <= limit else name[: limit - 1] + "…"


def plot_name(names: Sequence[str], i: int, limit: int = 24) -> str:
    """`plain_name` for matplotlib, which reads `$` as mathematics and leaves a leading `_` out of legends."""
    name = plain_name(names, i, limit).replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `width` by `height` inches with `rows` x `columns` tidy axes, listed row by row.

    Options are matplotlib's `Figure.subplots`'.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.03, hspace=0.05)
    drawing = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(drawing)
    axes = list(drawing.subplots(rows, columns, squeeze=False, **options).ravel())
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(MUTED)
        axis.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
        axis.grid(color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
    return drawing, axes


def title(axis: Axes, text: str, note: str = "") -> None:
    """A bold title at the left, with a muted note at the right."""
    axis.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK)
    axis.set_title(note, loc="right", fontsize=9, color=MUTED)


def legend(axis: Axes, **options: Any) -> None:
    """A legend without a frame line, over the curves."""
    shown = axis.legend(**{"fontsize": 9, "framealpha": 0.85, "edgecolor": "none", **options})
    shown.set_zorder(10)


def colorbar(picture: Any, axis: Axes, **options: Any) -> Axes:
    """A bar of the picture's colours beside its axes; its own axes."""
    bar = axis.figure.colorbar(picture, ax=axis, pad=0.02, **options)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, colors=MUTED, labelcolor=INK)
    return bar.ax


def say(axis: Axes, text: str) -> None:
    """Text in the middle of axes that have nothing to show, so need no scale."""
    axis.set(xticks=[], yticks=[])
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", fontsize=11, color=MUTED)


def save(drawing: Figure, out: Path | str, dpi: int = 150) -> None:
    """Write the figure as PNG, atomically and without a date or version in it."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    write_atomic(out, buffer.getvalue())
