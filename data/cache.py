"""What the index found, in one plain-data file beside the pictures' folder, so that only changes are read again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.files.atomic import atomic_file

LOGGER = logging.getLogger("anneal")
VERSION = 3


@dataclass(slots=True)
class Record:
    """One picture as it was found. `shape` is (0, 0) for a picture that cannot be used."""

    # bytes and mtime (ns) of the picture and of its labels, -1, -1 without a label file; CRC-32 of the picture's bytes
    stat: tuple[int, int, int, int, int]
    shape: tuple[int, int]
    rows: np.ndarray  # (k, 5) float32
    counts: tuple[int, ...]  # rows skipped, unknown classes, polygons, clipped, duplicates
    notes: list[tuple[int, str]]  # (line of the label file, text); line -1 is the picture itself


class Records(Sequence[Record]):
    """Many records in a few arrays: some 150 bytes each, where objects would take over 1,000.

    `stats` (N, 5) int64, `shapes` (N, 2) int32, `rows` (M, 5) float32 cut at `offsets` (N + 1), `counts` (N, 5) int32,
    and `notes` by number.
    """

    def __init__(
        self,
        stats: np.ndarray,
        shapes: np.ndarray,
        rows: np.ndarray,
        lengths: np.ndarray,
        counts: np.ndarray,
        notes: dict[int, list[tuple[int, str]]],
    ) -> None:
        self.stats, self.shapes, self.rows, self.counts, self.notes = stats, shapes, rows, counts, notes
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @classmethod
    def of(cls, records: Sequence[Record]) -> Records:
        """The same records, packed."""
        return cls(
            np.array([record.stat for record in records], np.int64).reshape(-1, 5),
            np.array([record.shape for record in records], np.int32).reshape(-1, 2),
            np.concatenate([record.rows for record in records] or [np.zeros((0, 5), np.float32)]),
            np.array([len(record.rows) for record in records], np.int64),
            np.array([record.counts for record in records], np.int32).reshape(-1, 5),
            {i: record.notes for i, record in enumerate(records) if record.notes},
        )

    @classmethod
    def join(cls, parts: Sequence[Records]) -> Records:
        """All of them, one after another."""
        parts = [cls.of([]), *parts]
        stats, shapes, rows, counts = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("stats", "shapes", "rows", "counts")
        )
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        notes: dict[int, list[tuple[int, str]]] = {}
        start = 0
        for part in parts:
            notes |= {start + i: found for i, found in part.notes.items()}
            start += len(part)
        return cls(stats, shapes, rows, lengths, counts, notes)

    def __len__(self) -> int:
        return len(self.stats)

    def __getitem__(self, i: int) -> Record:  # type: ignore[override]  # no slices
        i = range(len(self))[i]
        rows = self.rows[self.offsets[i] : self.offsets[i + 1]]
        stat, shape, counts = (tuple(column[i].tolist()) for column in (self.stats, self.shapes, self.counts))
        return Record(stat, shape, rows, counts, self.notes.get(i, []))


def cache_path(sources: Sequence[Path]) -> Path:
    """The one cache file of these sources: beside the first folder or list, never inside it."""
    first = Path(sources[0])
    more = "-" + hashlib.sha256("\n".join(map(str, sources[1:])).encode()).hexdigest()[:8] if sources[1:] else ""
    return first.parent / f".anneal-{first.name}{more}.npz"


def save(path: Path, key: str, names: Sequence[str], records: Records) -> None:
    """Write the records of `names`, through a temporary file. A folder that cannot be written is only mentioned."""
    notes = [(i, line, text) for i, found in records.notes.items() for line, text in found]
    arrays = {
        "names": np.frombuffer(b"\0".join(os.fsencode(name) for name in names), np.uint8),
        "stats": records.stats,
        "shapes": records.shapes,
        "lengths": np.diff(records.offsets),
        "rows": records.rows,
        "counts": records.counts,
        "notes": np.frombuffer(json.dumps(notes).encode(), np.uint8),
        "key": np.frombuffer(f"{VERSION} {key}".encode(), np.uint8),
    }
    try:
        with atomic_file(path) as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        LOGGER.info("The index is not cached: %s cannot be written (%s).", path, error.strerror)


def load(path: Path, key: str) -> tuple[dict[str, int], Records]:
    """The records, and their numbers by name; none without a cache, or with one that is broken or of another `key`."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe never ends
            raise ValueError("not a regular file")
        with zipfile.ZipFile(path) as archive:  # stored, not compressed: never larger in memory than on disk
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise ValueError("compressed")
        with np.load(path, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        if content["key"].tobytes().decode() != f"{VERSION} {key}":
            return {}, Records.of([])
        return _records(content, classes=int(key.split()[0]))
    except FileNotFoundError:
        return {}, Records.of([])
    except Exception as error:  # whatever a damaged file makes its readers raise
        LOGGER.info("The index cache %s is not usable (%s): reading everything again.", path, type(error).__name__)
        return {}, Records.of([])


def _records(content: dict[str, np.ndarray], classes: int) -> tuple[dict[str, int], Records]:
    raw = content["names"].tobytes()
    names = [os.fsdecode(name) for name in raw.split(b"\0")] if raw else []
    stats, shapes, rows = (content[name] for name in ("stats", "shapes", "rows"))
    lengths, counts = content["lengths"], content["counts"]
    sound = stats.shape == (len(names), 5) and shapes.shape == (len(names), 2) and counts.shape == (len(names), 5)
    sound = sound and lengths.shape == (len(names),) and (lengths >= 0).all() and rows.dtype == np.float32
    if not sound or rows.shape != (int(lengths.sum()), 5) or not ((rows >= 0).all() and (rows[:, 1:] <= 1).all()):
        raise ValueError("inconsistent")
    known = (rows[:, 0] < classes) & (rows[:, 0] == np.floor(rows[:, 0])) & (rows[:, 3:] > 0).all(1)
    if not known.all() or (shapes < 0).any() or shapes.dtype.kind != "i" or stats.dtype.kind != "i":
        raise ValueError("no labels or pictures of this data set")
    notes: dict[int, list[tuple[int, str]]] = {}
    for i, line, text in json.loads(content["notes"].tobytes()):
        notes.setdefault(range(len(names))[i], []).append((int(line), str(text)))
    return {name: i for i, name in enumerate(names)}, Records(stats, shapes, rows, lengths, counts, notes)
