"""What a picture may be given as in Python: a path, glob, address, Pillow picture, array, tensor, or a list of them."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.pictures import MIN_SIDE, SUFFIXES, decode, of_pillow
from predict.addresses import is_address, picture, plain
from utils.errors import UserError

KINDS = "a path, a glob, an address, a Pillow picture, an array (h, w, 3) uint8 RGB, a tensor (3, h, w)"
KINDS += ", or a list of them"


def pictures_of(source: Any) -> tuple[list[np.ndarray], list[str]]:
    """The pictures in `source`, (h, w, 3) uint8 RGB, and what each is called. UserError for anything else."""
    found: list[tuple[np.ndarray, str]] = []
    for item in source if isinstance(source, list | tuple) else [source]:
        if isinstance(item, str | Path):
            text = str(item)
            if is_address(text):
                found.append((picture(text), plain(text)))
            else:
                found += [(decode(file), file) for file in _files(text)]
        elif isinstance(item, Image.Image):
            name = getattr(item, "filename", "")
            found.append((of_pillow(item), name if isinstance(name, str) else ""))
        elif isinstance(item, Tensor):
            found += [(_checked(picture), "") for picture in _of_tensor(item)]
        elif isinstance(item, np.ndarray):
            found.append((_checked(_of_array(item)), ""))
        else:
            raise UserError(f"a {type(item).__name__} is not a picture; give {KINDS}")
    return [picture for picture, _ in found], [name or f"picture{i}" for i, (_, name) in enumerate(found)]


def _files(text: str) -> list[str]:
    """The pictures a path names: a file, those in a folder, those that a glob matches."""
    path = Path(text)
    if path.is_dir():
        files = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    elif path.exists():
        return [text]
    else:
        matches = sorted(glob.glob(text, recursive=True))
        files = [file for file in matches if Path(file).suffix.lower() in SUFFIXES]
    if not files:
        raise UserError(f"{text}: no picture there; give a picture, a folder of them or a glob such as 'images/*.jpg'")
    return files


def _of_array(array: np.ndarray) -> np.ndarray:
    """Grey becomes three equal channels, a fourth is dropped."""
    if array.dtype != np.uint8:
        raise UserError(f"an array of {array.dtype} is not a picture; give (h, w, 3) uint8 RGB")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise UserError(f"an array of shape {array.shape} is not a picture; give (h, w, 3) uint8 RGB")
    return np.repeat(array, 3, 2) if array.shape[2] == 1 else array[..., :3]


def _of_tensor(tensor: Tensor) -> Sequence[np.ndarray]:
    """(3, h, w) or (B, 3, h, w), uint8, or float in [0, 1]."""
    batch = tensor[None] if tensor.ndim == 3 else tensor
    if batch.ndim != 4 or batch.shape[1] != 3:
        raise UserError(f"a tensor of shape {tuple(tensor.shape)} is not a picture; give (3, h, w) or (B, 3, h, w) RGB")
    if batch.dtype != torch.uint8:
        if not batch.is_floating_point() or not ((batch >= 0) & (batch <= 1)).all():
            raise UserError("a tensor of pictures is uint8, or float from 0 to 1; for example, divide it by 255")
        batch = (batch.float() * 255).round().to(torch.uint8)
    return list(batch.detach().permute(0, 2, 3, 1).cpu().numpy())


def _checked(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise UserError(f"a picture of {width} x {height} pixels is too small; it needs {MIN_SIDE} on a side")
    return np.ascontiguousarray(picture)
