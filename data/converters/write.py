"""Writes a converted data set: pictures copied byte for byte, YOLO labels, and a data.yaml to train with."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml

from data.converters.annotations import Picture, yolo_row
from utils.console.log import progress
from utils.errors import UserError


def split(names: Sequence[str], share: float, seed: int) -> set[str]:
    """The names that validate: a `share` of them, rounded up, but never all.

    Names are ordered by a hash of seed and name, which no file system, library version or machine changes.
    """
    if len(names) < 2:
        raise UserError(f"{len(names)} usable pictures: training and validation need one each at least")
    ordered = sorted(names, key=lambda name: (_digest(name, seed), name))
    count = math.ceil(round(len(names) * share, 6))
    return set(ordered[: min(max(count, 1), len(names) - 1)])


def _digest(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{unicodedata.normalize('NFC', name)}".encode("utf-8", "surrogateescape")).hexdigest()


def write(target: Path, pictures: Sequence[Picture], names: Sequence[str], validation: set[str], comment: str) -> None:
    """Write `target` into a temporary folder beside it, then rename that over an empty folder or a drawn sample.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            fresh = Path(scratch) / "new"
            _fill(fresh, pictures, names, validation)
            (fresh / "data.yaml").write_text(_data_yaml(names, comment), encoding="utf-8")
            if target.is_dir() and any(target.iterdir()):
                target.rename(Path(scratch) / "old")
            fresh.replace(target)
    except OSError as error:
        raise UserError(
            f"{error.filename or target}: cannot be written ({error.strerror}); name another --out"
        ) from None


def _fill(root: Path, pictures: Sequence[Picture], names: Sequence[str], validation: set[str]) -> None:
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
    index, taken = {name: number for number, name in enumerate(names)}, set()
    for picture in progress(pictures, desc="writing", total=len(pictures)):
        part, stem = "val" if picture.name in validation else "train", _free_stem(picture.name, taken)
        shutil.copyfile(picture.file, root / "images" / part / (stem + picture.file.suffix))
        rows = [yolo_row(index[box.label], box.corners, picture.width, picture.height) for box in picture.boxes]
        (root / "labels" / part / f"{stem}.txt").write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def _free_stem(name: str, taken: set[str]) -> str:
    """A name for picture and label: sub-folders joined in, and a number where two pictures differ by suffix only."""
    stem = "_".join(PurePosixPath(name).with_suffix("").parts)
    free, number = stem, 2
    while free.casefold() in taken:
        free, number = f"{stem}_{number}", number + 1
    taken.add(free.casefold())
    return free


def _data_yaml(names: Sequence[str], comment: str) -> str:
    content = {"train": "images/train", "val": "images/val", "names": dict(enumerate(names))}
    paths = "Without a `path`, folders are looked for beside this file."
    return f"# {comment}\n# {paths}\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
