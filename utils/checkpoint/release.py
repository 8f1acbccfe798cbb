"""The published weights: which there are, and where to get one. Nothing here opens a connection."""

from __future__ import annotations

import re
from pathlib import Path

from utils.errors import UserError

ADDRESS = "https://github.com/ultralytics/yolov5/releases/download/v7.0/"
SHA256 = {"yolov5n.pt": "4f180cf23ba0717ada0badd6c685026d73d48f184d00fc159c2641284b2ac0a3"}  # of those that were seen
_NAMES = re.compile(r"yolov5[nsmlx]6?\.pt")


def missing(weights: str) -> UserError | None:
    """The error for a published checkpoint, or an address, in place of a file that is there; None for other names.

    It says what to download from where, and the sha256 to check it with where that is known.
    """
    if re.match(r"https?://", weights, flags=re.IGNORECASE):
        return UserError(f"{weights}: weights are not fetched; download the file and give its path")
    name = Path(weights).name
    if _NAMES.fullmatch(name) is None:
        return None
    checksum = f", sha256 {SHA256[name]}" if name in SHA256 else ""
    return UserError(f"{weights}: no such file, and none is fetched; download it from {ADDRESS}{name}{checksum}")
