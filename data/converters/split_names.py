"""Which part of a published split a folder, list or subset is, by its name."""

from __future__ import annotations

import re
from pathlib import PurePath

_NAMES = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip


def split_name(text: str) -> str | None:
    """The split that a whole name says: "Train", "valid", "val2017", "test_set"; None where it says none."""
    word = re.match(r"[a-z]+", text.strip().casefold())
    rest = re.sub(r"^[a-z]+[\W_]*(\d+|set|images?|imgs?|data|labels?)?$", "", text.strip().casefold())
    return _NAMES.get(word[0]) if word and not rest else None


def split_of(path: PurePath) -> str | None:
    """The split that a folder of a (relative) path says, the innermost first."""
    return next((split for part in reversed(path.parts[:-1]) if (split := split_name(part))), None)


def split_of_file(path: PurePath) -> str | None:
    """The split of an annotation file by a word of its name (train_labels.csv, instances_val2017.json), else folder."""
    words = re.findall(r"[a-z]+", path.name.casefold())
    return next((split for word in words if (split := _NAMES.get(word))), None) or split_of(path)
