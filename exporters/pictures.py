"""Real pictures on which an exported file is run beside its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from data.datasets import load_dataset
from data.files import find_pictures
from data.letterbox import letterbox
from data.pictures import decode
from data.sample_scene import draw_scene
from data.store import fitted_into
from models import Detector
from utils.errors import UserError
from utils.nms import non_max_suppression

LOGGER = logging.getLogger("anneal")
LOOKED_AT = 16  # pictures of the data set


def some_pictures(data: str, state: dict[str, Any]) -> list[np.ndarray]:
    """Up to 16 validation pictures, spread over the set, (h, w, 3) uint8: of the YAML `data`, else of the checkpoint's
    own; where that is not here, drawn ones, which is said. UserError for a `data` that cannot be read."""
    try:
        dataset = load_dataset(data or state.get("data") or "", render_sample=False)
        files = find_pictures(dataset.val, dataset.root).files
        step = max(1, len(files) // LOOKED_AT)
        pictures = [decode(file) for file in files[::step][:LOOKED_AT]]
    except UserError:
        if data:
            raise
        pictures = []
    if not pictures:
        LOGGER.info("compared on drawn pictures: the checkpoint's data set was not found (name one with --data)")
        pictures = [draw_scene(np.random.default_rng(number))[0] for number in range(LOOKED_AT)]
    return pictures


@torch.inference_mode()
def most_boxes(
    detector: Detector, pictures: Sequence[np.ndarray], size: tuple[int, int], device: torch.device
) -> list[np.ndarray]:
    """The pictures sorted by how many boxes the detector finds on each, most first."""
    counts = []
    for picture in pictures:
        decoded = detector(batch_of([picture], 1, size).to(device))[0]
        counts.append(len(non_max_suppression(decoded)[0]))
    return [pictures[i] for i in np.argsort(counts, kind="stable")[::-1]]


def batch_of(pictures: Sequence[np.ndarray], count: int, size: tuple[int, int]) -> Tensor:
    """`count` of the (h, w, 3) uint8 pictures, again from the first where they are too few, letterboxed to `size`
    (height, width): (count, 3, H, W) float32 in [0, 1]."""
    out = np.empty((count, 3, *size), np.uint8)
    for place in range(count):
        picture = pictures[place % len(pictures)]
        height, width = fitted_into(picture.shape[0], picture.shape[1], *size)
        fitting = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        letterbox(fitting, picture.shape[:2], out[place])
    return torch.from_numpy(out).float().div_(255)
