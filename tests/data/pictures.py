"""Small real picture files and data sets for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def pattern(height: int = 24, width: int = 40, seed: int = 0) -> np.ndarray:
    """A smooth (h, w, 3) uint8 RGB picture without symmetry, so that a wrong turn or channel order shows."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 40 + 150 * x / width, 40 + 150 * y / height
    blue = np.where((y < height // 3) & (x < width // 3), 220, 30 + (seed * 37) % 100)
    return np.stack([red, green, blue], -1).astype(np.uint8)


def write_picture(path: Path, pixels: np.ndarray | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95, "subsampling": 0, **options} if path.suffix in {".jpg", ".jpeg"} else options
    Image.fromarray(pattern() if pixels is None else pixels).save(path, **options)
    return path


def write_dataset(root: Path, labels: dict[str, str | None], part: str = "train") -> Path:
    """images/PART/NAME.jpg and, where the text is not None, labels/PART/NAME.txt; the folder of the pictures."""
    for seed, (name, text) in enumerate(labels.items()):
        write_picture(root / "images" / part / f"{name}.jpg", pattern(seed=seed))
        if text is not None:
            label = root / "labels" / part / f"{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text)
    return root / "images" / part
