"""The published weights: which there are, and fetching one that is asked for by its name alone."""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path

from utils.errors import UserError
from utils.files.atomic import write_atomic

LOGGER = logging.getLogger("anneal")
ADDRESS = "https://github.com/ultralytics/yolov5/releases/download/v7.0/"
SHA256 = {"yolov5n.pt": "4f180cf23ba0717ada0badd6c685026d73d48f184d00fc159c2641284b2ac0a3"}  # of those that were seen
TIMEOUT = 10.0  # seconds without an answer
MAX_BYTES = 1 << 30
_NAMES = re.compile(r"yolov5[nsmlx]6?\.pt")
_ZIP = b"PK\x03\x04"


def is_published(name: str) -> bool:
    """Whether `name`, without a folder, is that of a published checkpoint."""
    return _NAMES.fullmatch(name) is not None


def fetch(name: str, folder: Path, address: str = ADDRESS) -> Path:
    """Fetch the published checkpoint `name` into `folder`, whole or not at all; returns its path.

    Raises UserError that says where to get it and its checksum, where it cannot be fetched or written, or is another.
    """
    path, source = folder / name, address + name
    LOGGER.info(f"{path} does not exist: fetching {source}")
    wanted = SHA256.get(name)
    try:
        data = _download(source)
        if wanted not in (None, found := hashlib.sha256(data).hexdigest()):
            raise ValueError(f"its sha256 is {found[:12]}...")
        write_atomic(path, data)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error).split())[:100] or type(error).__name__
        remedy = f"download {source} elsewhere and give its path"
        remedy += f" (sha256 {wanted})" if wanted else ""
        raise UserError(f"{name}: not here, and cannot be fetched ({reason}); {remedy}") from None
    return path


def _download(source: str) -> bytes:
    with urllib.request.urlopen(source, timeout=TIMEOUT) as answer:
        data = answer.read(MAX_BYTES + 1)
        stated = answer.headers.get("Content-Length")
    if stated is not None and stated != str(len(data)):
        raise ValueError(f"{len(data):,} of {stated} bytes came")
    if len(data) > MAX_BYTES or not data.startswith(_ZIP):
        raise ValueError("the answer is no checkpoint")
    return data
