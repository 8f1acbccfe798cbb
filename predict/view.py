"""The window of `--view-img`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import cv2

from predict.draw import draw
from predict.frames import Frame
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")


class Window:
    """Shows each frame; Q or Escape ends the detection. UserError where there is no display."""

    def __init__(self, names: Sequence[str], style: dict[str, Any]) -> None:
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("--view-img: there is no display here; leave it out")
        self._names, self._style = names, style

    def show(self, frame: Frame) -> bool:
        """Show a frame; False when somebody has asked to stop."""
        drawn = draw(frame.picture, frame.rows, self._names, **self._style)
        cv2.imshow(str(frame.origin.name), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(500 if frame.number is None else 1) & 0xFF not in (27, ord("q"))
