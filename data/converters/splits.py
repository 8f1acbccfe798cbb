"""Which part each picture goes to: as published, or drawn where nothing is."""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from data.converters.annotations import Picture
from utils.console.wording import counted
from utils.errors import UserError

PARTS = ("train", "val", "test")
DEFAULT_SHARE = 0.15


def assign(pictures: Sequence[Picture], share: float | None, seed: int, resplit: bool) -> tuple[list[Picture], str]:
    """Every picture with its part, and in words where the split comes from.

    share: of the pictures that validate where a split is drawn; None: 0.15. A published split is kept; without a
    validation part one is drawn from its training part, or with a share of 0 its test part validates.

    Raises:
        UserError: a share that makes no split, too few pictures.
    """
    published = {picture.split for picture in pictures} & set(PARTS)
    if resplit or not published:
        return _drawn(pictures, share, seed), "drawn anew" if published else "drawn: none is published"
    filled = [replace(picture, split=picture.split or "train") for picture in pictures]
    train = [picture for picture in filled if picture.split == "train"]
    rest = [picture for picture in filled if picture.split != "train"]
    if not train:
        parts = " and ".join(sorted(published))
        return _drawn(pictures, share, seed), f"drawn: only {parts} of the published one is here"
    told = "as published"
    unlisted = sum(picture.split is None for picture in pictures)
    if unlisted:
        told += f", {unlisted} outside its parts used for training"
    if "val" in published:
        return filled, told
    if share == 0:
        if "test" not in published:
            raise UserError("--val 0: the published split has no validation or test part; give a share, such as 0.15")
        return [*train, *(replace(picture, split="val") for picture in rest)], f"{told}, validated on the test part"
    return [*_drawn(train, share, seed), *rest], f"{told}, the validation part drawn from training: none is published"


def _drawn(pictures: Sequence[Picture], share: float | None, seed: int) -> list[Picture]:
    share = DEFAULT_SHARE if share is None else share
    if share == 0:
        raise UserError("--val 0: the split has to be drawn, and validation needs a share; give one, such as 0.15")
    names = [picture.name for picture in pictures]
    if len(set(names)) < len(names):  # parts are named each below its own folder
        base = os.path.commonpath([picture.file.parent for picture in pictures])
        names = [picture.file.relative_to(base).as_posix() for picture in pictures]
    validation = split(names, share, seed)
    parts = ["val" if name in validation else "train" for name in names]
    return [replace(picture, split=part) for picture, part in zip(pictures, parts, strict=True)]


def split(names: Sequence[str], share: float, seed: int) -> set[str]:
    """The names that validate: a `share` of them, rounded up, but never all.

    Names are ordered by a hash of seed and name, which no file system, library version or machine changes.
    """
    if len(names) < 2:
        raise UserError(f"{counted(len(names), 'usable picture')}: training and validation need one each at least")
    ordered = sorted(names, key=lambda name: (_digest(name, seed), name))
    count = math.ceil(round(len(names) * share, 6))
    return set(ordered[: min(max(count, 1), len(names) - 1)])


def _digest(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{unicodedata.normalize('NFC', name)}".encode("utf-8", "surrogateescape")).hexdigest()


def shared_pictures(pictures: Sequence[Picture]) -> list[str]:
    """Identical pictures (by content) in different parts, a line each that names them."""
    same: dict[bytes, list[Picture]] = defaultdict(list)
    for picture in pictures:
        same[picture.digest].append(picture)
    lines = []
    for group in same.values():
        if len({picture.split for picture in group}) > 1:
            lines.append(" = ".join(f"{picture.split}: {picture.name}" for picture in group))
    return sorted(lines)


def by_part(pictures: Sequence[Picture]) -> dict[str, int]:
    """How many pictures each part has, without the parts that have none."""
    counts = Counter(picture.split for picture in pictures)
    return {part: counts[part] for part in PARTS if counts[part]}
