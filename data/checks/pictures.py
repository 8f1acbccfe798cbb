"""Pictures that are there twice, and label files that belong to no picture or to two."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from data.checks.labels import iou
from data.files import unused_labels
from data.index import Index
from utils.console.log import progress

AGREEING = 0.5  # IoU from which on two boxes drawn by hand mark one object


@dataclass(frozen=True)
class Duplicates:
    """Groups of pictures with the same content, each a list of (part, file)."""

    across: list[list[tuple[str, str]]] = field(default_factory=list)  # in more than one part of the split
    within: list[list[tuple[str, str]]] = field(default_factory=list)
    contradicting: list[list[tuple[str, str]]] = field(
        default_factory=list
    )  # of all these: whose labels mark other objects


def duplicates(parts: Mapping[str, Index]) -> Duplicates:
    """Pictures whose files are the same byte for byte. Only files of one length are read."""
    by_size = defaultdict(list)
    for part, index in parts.items():
        for i, file in enumerate(index.files):
            by_size[os.path.getsize(file)].append((part, file, i))
    twice = [(size, *each) for size, group in by_size.items() if len(group) > 1 for each in group]
    same = defaultdict(list)
    for size, part, file, i in progress(twice, desc="identical pictures", total=len(twice), unit="img"):
        same[size, _digest(file)].append((part, file, i))
    found = Duplicates()
    for group in same.values():
        if len(group) < 2:
            continue
        named = [(part, file) for part, file, _ in group]
        (found.across if len({part for part, _ in named}) > 1 else found.within).append(named)
        first, *others = (parts[part].labels[i] for part, _, i in group)
        if not all(_agree(first, other) for other in others):
            found.contradicting.append(named)
    return found


def _digest(file: str) -> bytes:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _agree(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two sets of labels mark the same objects: as many, and each has one of its class at its place."""
    if len(a) != len(b) or not len(a):
        return len(a) == len(b)
    same = (iou(a, b) >= AGREEING) & (a[:, :1] == b[:, 0])
    return bool(same.any(0).all() and same.any(1).all())


@dataclass(frozen=True)
class Partners:
    """What does not go together one to one."""

    unused: list[str] = field(default_factory=list)  # label files without a picture
    shared: list[tuple[str, ...]] = field(default_factory=list)  # pictures of one name, which share one label file


def partners(parts: Mapping[str, Index]) -> Partners:
    """Label files without a picture, and pictures that share one, in the folders of the pictures in use."""
    files = {file for index in parts.values() for file in index.files}
    found = Partners()
    stems = defaultdict(list)
    for file in sorted(files):
        stems[os.path.splitext(file)[0]].append(file)
    found.shared.extend(tuple(group) for group in stems.values() if len(group) > 1)
    found.unused.extend(unused_labels(files))
    return found
