"""The index: every picture and label file of a data set found, checked once, and what was wrong with it told."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data import cache as disk
from data.files import find_pictures, label_candidates
from data.jpeg import lacks_end
from data.labels import MAX_BYTES as LABEL_BYTES
from data.labels import Parsed, parse_labels
from data.pictures import SUFFIXES, BadPictureError, check_picture, read_picture
from data.report import IndexReport, counted
from utils.console.log import one_line, progress
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
CHUNK = 64  # pictures a task of the thread pool
_NONE = (-1, -1)


class LabelRows(Sequence[np.ndarray]):
    """The labels of each picture, read-only (k, 5) float32 views of `rows` (M, 5), cut at `offsets` (N + 1)."""

    def __init__(self, rows: np.ndarray, offsets: np.ndarray) -> None:
        self.rows, self.offsets = rows, offsets
        rows.flags.writeable = False

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]  # no slices
        i = range(len(self))[i]
        return self.rows[self.offsets[i] : self.offsets[i + 1]]


@dataclass(frozen=True, eq=False)
class Index:
    """Usable pictures, by source and then path. Labels are class, cx, cy, w, h, normalised to the upright picture."""

    files: tuple[str, ...]  # absolute
    shapes: np.ndarray  # (N, 2) int32: height, width in pixels after EXIF rotation
    labels: LabelRows  # N arrays (k, 5) float32
    report: IndexReport
    fingerprint: str  # of names within the sources, contents and labels: the same wherever sources and YAML lie

    def __len__(self) -> int:
        return len(self.files)


def build_index(
    sources: Sequence[Path],
    classes: int,
    *,
    root: Path,
    cache: bool = True,
    single_class: bool = False,
    allow_background: bool = True,
    poses: bool = False,
    workers: int = 8,
    desc: str = "",
) -> Index:
    """Find and check the pictures of `sources` (folders, .txt lists) and their labels.

    Broken pictures and rows are left out, reported in `report.messages` and, the first ten, in the log; no file of
    the user's is changed. With `cache` one file beside the first source keeps what was found; only files whose size
    or time changed are read again. UserError where a source is missing, no picture is usable, or, unless
    `allow_background`, no picture has a label file or every row of them was left out. With `poses`
    label rows have key points behind the box.
    """
    found = find_pictures([Path(source) for source in sources], root)
    files = found.files
    names = _relative(files, os.path.abspath(root))
    key = f"{classes} {single_class}" + (" poses" if poses else "")
    place = disk.cache_path(sources)
    known, old = disk.load(place, key) if cache and files else ({}, disk.Records.of([]))
    parse = partial(parse_labels, classes=classes, single_class=single_class, poses=poses)
    reader = _Reader(files, names, known, old, parse)
    records = reader.run(workers, desc)
    if cache and files and (reader.read or len(known) != len(files)):
        disk.save(place, key, names, records)
    report = IndexReport.of(found, records)
    usable = np.flatnonzero(records.shapes[:, 0])
    if not len(usable):
        listing = ", ".join(one_line(str(source)) for source in sources)
        why = f"; the first of {len(report.messages)} faults: {report.messages[0]}" if report.messages else ""
        raise UserError(f"no usable pictures in {listing}{why}; give pictures ({', '.join(SUFFIXES)})")
    if not allow_background and (records.stats[usable, 2] < 0).all():
        _refuse_unlabelled(files, usable, desc)
    report.log(desc)
    if not allow_background and not report.boxes and report.skipped_rows:
        lost = counted(report.skipped_rows, "label row was", "label rows were")
        prefix = f"{desc}: " if desc else ""
        raise UserError(f"{prefix}no box is left: {lost} skipped, for the reasons above; correct the label files")
    return _assemble(files, found.names, records, usable, report)


def _refuse_unlabelled(files: list[str], usable: np.ndarray, desc: str) -> None:
    looked = " and ".join(one_line(path) for path in label_candidates(files[usable[0]]))
    rule = "labels lie beside their picture, or in labels/ where it is in images/"
    remedy = "put them there, or add --allow-background to use pictures without any"
    prefix = f"{desc}: " if desc else ""
    raise UserError(f"{prefix}no picture has a label file (looked for {looked}, ...); {rule}; {remedy}")


def _relative(files: Sequence[str], root: str) -> list[str]:
    base = os.path.join(root, "")
    return [file.removeprefix(base) if file.startswith(base) else os.path.relpath(file, root) for file in files]


def _assemble(
    files: list[str], names: list[str], records: disk.Records, usable: np.ndarray, report: IndexReport
) -> Index:
    shapes = records.shapes[usable]
    rows = np.ascontiguousarray(records.rows, "<f4")  # pictures that are not usable have none
    offsets = np.append(records.offsets[usable], len(rows))
    digest = hashlib.sha256(b"\0".join(os.fsencode(names[i].replace(os.sep, "/")) for i in usable.tolist()))
    digest.update(records.stats[usable][:, [0, 4]].astype("<i8").tobytes())
    for array in (shapes.astype("<i4"), offsets.astype("<i8"), rows):
        digest.update(array.tobytes())
    chosen = tuple(files[i] for i in usable.tolist())
    return Index(chosen, shapes, LabelRows(rows, offsets), report, digest.hexdigest())


@dataclass
class _Reader:
    """Reads pictures and labels on a pool of threads (decoding and reading leave the interpreter's lock)."""

    files: list[str]
    names: list[str]
    known: dict[str, int]
    old: disk.Records
    parse: Callable[[bytes], Parsed]
    read: int = 0

    def run(self, workers: int, desc: str) -> disk.Records:
        parts: list[disk.Records] = []
        chunks = [range(start, min(start + CHUNK, len(self.files))) for start in range(0, len(self.files), CHUNK)]
        pool = ThreadPoolExecutor(max(1, workers))
        try:
            with (
                warnings.catch_warnings(),
                progress(desc=f"{desc} index".strip(), total=len(self.files), unit="img") as bar,
            ):
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit speaks
                warnings.filterwarnings("ignore", module="PIL")  # comments on odd EXIF
                for part, fresh in pool.map(self._chunk, chunks):
                    parts.append(part)
                    self.read += fresh
                    bar.update(len(part))
        finally:
            pool.shutdown(cancel_futures=True)
        return disk.Records.join(parts)

    def _chunk(self, chunk: range) -> tuple[disk.Records, int]:
        """The records of some pictures, and how many of them were read now."""
        found = [self._record(i) for i in chunk]
        return disk.Records.of([record for record, _ in found]), sum(fresh for _, fresh in found)

    def _record(self, i: int) -> tuple[disk.Record, bool]:
        """The record of a picture, and whether it was read now rather than known."""
        label, label_stat = next(_existing(self.files[i]), ("", _NONE))
        try:
            status = os.stat(self.files[i])
            state = (status.st_size, status.st_mtime_ns, *label_stat)
            known = self.known.get(self.names[i])
            if known is not None and (self.old.stats[known, :4] == state).all():
                return self.old[known], False
            picture = read_picture(self.files[i])
            shape = check_picture(picture)
        except OSError as error:
            return _broken((*_NONE, *label_stat), f"cannot be read ({error.strerror}); check its permissions"), True
        except BadPictureError as error:
            return _broken(state, str(error)), True
        record = self._labelled((*state, zlib.crc32(picture)), shape, label)
        if lacks_end(picture):
            record.notes.insert(0, (-1, "its end marker is missing, but every row is there: used; save it again"))
        return record, True

    def _labelled(self, state: tuple[int, int, int, int, int], shape: tuple[int, int], label: str) -> disk.Record:
        if not label:
            return disk.Record(state, shape, np.zeros((0, 5), np.float32), (0,) * 5, [])
        try:
            with open(label, "rb") as file:
                data = file.read(LABEL_BYTES + 1)
        except OSError as error:
            note = (0, f"cannot be read ({error.strerror}), ignored; check its permissions")
            state = (*state[:2], *_NONE, state[4])
            return disk.Record(state, shape, np.zeros((0, 5), np.float32), (1, 0, 0, 0, 0), [note])
        found = self.parse(data)
        counts = (found.skipped, found.unknown, found.polygons, found.clipped, found.duplicates)
        return disk.Record(state, shape, found.rows, counts, found.notes)


def _broken(state: tuple[int, int, int, int], reason: str) -> disk.Record:
    return disk.Record((*state, 0), (0, 0), np.zeros((0, 5), np.float32), (0,) * 5, [(-1, f"skipped: {reason}")])


def _existing(picture: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for path in label_candidates(picture):
        try:
            status = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield path, (status.st_size, status.st_mtime_ns)
