"""Writes a converted data set: pictures copied byte for byte, YOLO labels, and a data.yaml to train with."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml

from data.converters.annotations import Picture, yolo_row
from data.converters.splits import by_part
from utils.console.log import progress
from utils.errors import UserError

LONGEST = 200  # bytes of a name; most file systems allow 255, of which a number and the suffix have the rest


def write(target: Path, pictures: Sequence[Picture], names: Sequence[str], comment: str) -> None:
    """Write `target` into a temporary folder beside it, then rename that over an empty folder or a drawn sample.

    Every picture has its part in `split`.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            fresh = Path(scratch) / "new"
            _fill(fresh, pictures, names)
            (fresh / "data.yaml").write_text(_data_yaml(list(by_part(pictures)), names, comment), encoding="utf-8")
            if target.is_dir() and any(target.iterdir()):
                target.rename(Path(scratch) / "old")
            fresh.replace(target)
    except OSError as error:
        why = f"cannot be written ({error.strerror})"
        raise UserError(f"{error.filename or target}: {why}; name another --out") from None


def _fill(root: Path, pictures: Sequence[Picture], names: Sequence[str]) -> None:
    for part in by_part(pictures):
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
    index: dict[str, int] = {name: number for number, name in enumerate(names)}
    taken: dict[str, dict[str, str]] = defaultdict(dict)
    for picture in progress(pictures, desc="writing", total=len(pictures)):
        part, stem = picture.split, _free_stem(picture, taken)
        shutil.copyfile(picture.file, root / "images" / part / (stem + picture.file.suffix))
        rows = [yolo_row(index[box.label], box.corners, picture.width, picture.height) for box in picture.boxes]
        (root / "labels" / part / f"{stem}.txt").write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def _free_stem(picture: Picture, taken: dict[str, dict[str, str]]) -> str:
    """A name for picture and label: sub-folders joined in, and a number where it would stand for two pictures.

    `taken`: the pictures that have a name already, by part. One name in two parts is as the set was published.
    """
    stem = "_".join(PurePosixPath(picture.name).with_suffix("").parts)
    if len(stem.encode("utf-8", "surrogateescape")) > LONGEST:  # the end tells the file, the number the rest
        stem = stem.encode("utf-8", "surrogateescape")[-LONGEST:].decode("utf-8", "ignore")
    free, number = stem, 2
    while (others := taken[free.casefold()]) and (picture.split in others or set(others.values()) != {picture.name}):
        free, number = f"{stem}_{number}", number + 1
    others[str(picture.split)] = picture.name
    return free


def _data_yaml(parts: Sequence[str], names: Sequence[str], comment: str) -> str:
    content = {part: f"images/{part}" for part in parts} | {"names": dict(enumerate(names))}
    paths = "Without a `path`, folders are looked for beside this file."
    return f"# {comment}\n# {paths}\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
