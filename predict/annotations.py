"""The boxes of a frame as PASCAL VOC's XML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

from predict.frames import Frame

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # what XML cannot hold


def voc_xml(frame: Frame, names: Sequence[str], scores: bool) -> str:
    """The annotation of one picture as PASCAL VOC has it; corners in pixels, rounded."""
    height, width = frame.picture.shape[:2]
    lines = [
        "<annotation>",
        f"  <folder>{_text(str(frame.origin.name.parent))}</folder>",
        f"  <filename>{_text(frame.origin.name.name)}</filename>",
        "  <source><database>Unknown</database></source>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
        "  <segmented>0</segmented>",
    ]
    for x1, y1, x2, y2, score, number in frame.rows.tolist():
        corners = zip(("xmin", "ymin", "xmax", "ymax"), (x1, y1, x2, y2), strict=True)
        box = "".join(f"<{side}>{round(value)}</{side}>" for side, value in corners)
        lines += ["  <object>", f"    <name>{_text(names[int(number)])}</name>", "    <pose>Unspecified</pose>"]
        lines += ["    <truncated>0</truncated>", "    <difficult>0</difficult>"]
        lines += [f"    <confidence>{score:.5f}</confidence>"] if scores else []
        lines += [f"    <bndbox>{box}</bndbox>", "  </object>"]
    return "\n".join([*lines, "</annotation>"]) + "\n"


def _text(text: str) -> str:
    return escape(_CONTROL.sub("?", text))
