"""The built-in sample: drawn scenes of masked and bare heads, a YOLO data set that needs no download.

It shows that everything works, and trains in minutes; it says nothing about real photographs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from data.sample_faces import CLASSES
from data.sample_scene import draw_scene
from utils.console.log import progress
from utils.errors import UserError

MARKER = "SAMPLE.txt"
VERSION = 1  # raised whenever the same seed draws other pictures


def is_sample(root: Path) -> bool:
    """True where `root` was made by `render`."""
    return (root / MARKER).is_file()


def render(root: Path, *, seed: int = 0, train: int = 256, val: int = 64) -> None:
    """Draw the sample into `root`, which must not exist or be empty.

    Writes images/{train,val}/*.jpg, labels/{train,val}/*.txt (class cx cy w h, normalised) and a marker file. Picture
    k of a part depends on the seed, the part and k alone. `root` appears complete or not at all.

    Raises:
        UserError: `root` has something in it, or cannot be written.
    """
    root = Path(root).resolve()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        remedy = "name another folder or move this one away"
        raise UserError(f"{root}: not empty, so the sample is not drawn there; {remedy}")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    except OSError as error:
        what = f"{root}: the sample cannot be drawn there ({error.strerror})"
        raise UserError(f"{what}; name a folder you may write to") from None
    try:
        partial.chmod(0o755)
        counts = _draw_all(partial, seed, {"train": train, "val": val})
        (partial / MARKER).write_text(_describe(seed, train, val, counts), encoding="utf-8")
        partial.replace(root)
    except OSError as error:
        if is_sample(root):  # another process drew it meanwhile
            return
        what = f"{root}: the sample cannot be drawn there ({error.strerror})"
        raise UserError(f"{what}; free some space or check its permissions") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _draw_all(root: Path, seed: int, parts: dict[str, int]) -> np.ndarray:
    """Draw every part; (3,) heads of each class."""
    jobs = []
    for part, count in parts.items():
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        jobs += [(root, seed, part, number) for number in range(count)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawn = pool.map(lambda job: _draw_one(*job), jobs)
        return sum(progress(drawn, desc="drawing the sample", total=len(jobs)), np.zeros(len(CLASSES), np.int64))


def _draw_one(root: Path, seed: int, part: str, number: int) -> np.ndarray:
    rng = np.random.default_rng([seed, int(part == "val"), number])
    picture, labels = draw_scene(rng)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 96))]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)[1]
    (root / "images" / part / f"{number:04d}.jpg").write_bytes(encoded.tobytes())
    rows = "".join(f"{int(row[0])} " + " ".join(f"{v:.6f}" for v in row[1:]) + "\n" for row in labels)
    (root / "labels" / part / f"{number:04d}.txt").write_text(rows, encoding="utf-8")
    return np.bincount(labels[:, 0].astype(int), minlength=len(CLASSES))


def _describe(seed: int, train: int, val: int, counts: np.ndarray) -> str:
    heads = "\n".join(f"  {name}: {count}" for name, count in zip(CLASSES, counts, strict=True))
    return (
        "This data set was drawn by a program (data/sample.py); it holds no photographs.\n"
        f"version: {VERSION}\nseed: {seed}\npictures: {train} train, {val} val\nheads:\n{heads}\n"
        "`python -m data.convert` replaces a folder that holds this file; any other full folder it leaves alone.\n"
    )
