"""What detection leaves in its folder: annotated pictures and videos, labels, crops and tables, written by threads."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import re
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from queue import Queue
from typing import Any

import numpy as np
from PIL import Image

from predict.annotations import voc_xml
from predict.background import let_network_go_first
from predict.draw import draw
from predict.films import Film, say_form
from predict.frames import Frame, Origin
from predict.names import film_names, stems
from predict.tables import csv_rows, csv_table, json_rows, json_table
from utils.boxes import label_rows

LOGGER = logging.getLogger("anneal")
WRITERS = 2
WAITING = 16  # frames that may wait for a writer
_FORMATS = {".bmp": "BMP", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}  # others: JPEG


@dataclass
class Wanted:
    """What is to be written. style: how boxes are drawn, the options of `predict.draw.draw`."""

    media: bool = True
    txt: bool = False
    conf: bool = False
    csv: bool = False
    json: bool = False
    crop: bool = False
    form: str = "yolo"
    style: dict[str, Any] = field(default_factory=dict)


class Outputs:
    """Takes frames in order, each with its boxes; `close` finishes every file. `faults`: what could not be written."""

    def __init__(self, folder: Path, names: Sequence[str], wanted: Wanted, origins: Sequence[Origin]) -> None:
        self.folder, self.names, self.wanted = folder, tuple(names), wanted
        self.faults = Faults()
        self._pool = ThreadPoolExecutor(WRITERS, "write", initializer=let_network_go_first)
        self._room = threading.BoundedSemaphore(WAITING)
        self._films: dict[PurePosixPath, FilmThread] = {}
        self._stems, self._film_names = stems(origins), film_names(origins)
        if wanted.media and self._film_names:
            say_form()
        self._csv = csv_table(folder) if wanted.csv else None
        self._json = json_table(folder) if wanted.json else None

    def put(self, frame: Frame) -> None:
        """Write what is wanted of a frame; waits while too many are under way. OSError where a table cannot grow."""
        stem = self._stems[frame.origin.name]
        if frame.number is not None:
            stem = stem.with_name(f"{stem.name}_{frame.number:06d}")
        if self._csv:
            self._csv.add(csv_rows(frame, self.names))
        if self._json:
            self._json.add(json_rows(frame, stem))
        if frame.origin.kind != "picture" and self.wanted.media:
            self._film(frame.origin).put(frame)
        if self.wanted.txt or self.wanted.crop or (self.wanted.media and frame.origin.kind == "picture"):
            self._room.acquire()
            self._pool.submit(self._files, frame, stem).add_done_callback(self._done)

    def end(self, origin: Origin) -> None:
        """No more frames of this origin will come: its video is finished."""
        film = self._films.pop(origin.name, None)
        if film is not None:
            film.close()

    def close(self) -> None:
        """Finish everything that was begun."""
        self._pool.shutdown()
        for film in self._films.values():
            film.close()
        self._films.clear()
        for table in (self._csv, self._json):
            try:
                if table:
                    table.close()
            except OSError as error:
                self.faults.add(table.path, error)

    def _film(self, origin: Origin) -> FilmThread:
        if origin.name not in self._films:
            path = self.folder / self._film_names[origin.name]
            path.parent.mkdir(parents=True, exist_ok=True)
            self._films[origin.name] = FilmThread(path, origin.rate or 30.0, self.names, self.wanted.style, self.faults)
        return self._films[origin.name]

    def _done(self, future: Future) -> None:
        self._room.release()
        error = future.exception()
        if error is not None:
            self.faults.add(getattr(error, "filename", None) or self.folder, error)

    def _files(self, frame: Frame, stem: PurePosixPath) -> None:
        """The files of one frame."""
        if self.wanted.txt:
            if self.wanted.form == "voc":
                suffix, content = ".xml", voc_xml(frame, self.names, self.wanted.conf)
            else:
                suffix, content = ".txt", label_rows(frame.rows, frame.picture.shape[:2], self.wanted.conf)
            target = self.folder / "labels" / f"{stem}{suffix}"
            put_bytes(target, content.encode(errors="surrogateescape"))
        if self.wanted.crop:
            self._crops(frame, stem)
        if self.wanted.media and frame.origin.kind == "picture":
            drawn = draw(frame.picture, frame.rows, self.names, **self.wanted.style)
            save(drawn, self.folder / frame.origin.name)

    def _crops(self, frame: Frame, stem: PurePosixPath) -> None:
        height, width = frame.picture.shape[:2]
        for index, (x1, y1, x2, y2, _, number) in enumerate(frame.rows.tolist()):
            left, top = min(int(x1), width - 1), min(int(y1), height - 1)
            right, bottom = max(math.ceil(x2), left + 1), max(math.ceil(y2), top + 1)
            kind = re.sub(r"[^\w .-]", "_", self.names[int(number)]).strip(". ") or f"class{int(number)}"
            target = self.folder / "crops" / kind / f"{stem}_{index}.jpg"
            save(frame.picture[top:bottom, left:right], target)


class Faults:
    """Files that cannot be written: the first of each reason is said at once, the others are counted."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, file: object, error: BaseException) -> None:
        """Note one; from any thread."""
        why = _why(error)
        with self._lock:
            self._counts[why] += 1
            first = self._counts[why] == 1
        if first:
            LOGGER.warning(f"{file}: cannot be written ({why})")

    def say(self) -> int:
        """Say how many more there were of each reason. Returns how many there were in all."""
        for why, count in self._counts.items():
            if count > 1:
                what = "1 more file" if count == 2 else f"{count - 1} more files"
                LOGGER.warning(f"{what} cannot be written ({why})")
        return self._counts.total()


class FilmThread:
    """Draws and encodes the frames of one video in a thread, in their order."""

    def __init__(self, path: Path, rate: float, names: Sequence[str], style: dict[str, Any], faults: Faults) -> None:
        self._film, self._names, self._style, self._faults = Film(path, rate), names, style, faults
        self._queue: Queue[Frame | None] = Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name=f"film {path.name}")
        self._thread.start()

    def put(self, frame: Frame) -> None:
        """Waits while too many frames are under way."""
        self._queue.put(frame)

    def close(self) -> None:
        """Wait for the last frame and finish the file."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        let_network_go_first()  # the encoder's own threads too
        failed = False
        while (frame := self._queue.get()) is not None:
            if failed:
                continue  # the disk is full, say: the rest is taken and dropped
            try:
                drawn = draw(frame.picture, frame.rows, self._names, **self._style)
                self._film.write(drawn, frame.time or 0.0)
            except Exception as error:  # libraries of codecs raise their own
                failed = True
                self._faults.add(self._film.path, error)
        try:
            self._film.close()
        except Exception as error:
            if not failed:
                self._faults.add(self._film.path, error)


def save(picture: np.ndarray, path: Path) -> None:
    """Write (h, w, 3) uint8 RGB in the format of the suffix."""
    buffer = io.BytesIO()
    form = _FORMATS.get(path.suffix.lower(), "JPEG")
    Image.fromarray(picture).save(buffer, form, **({"quality": 95, "subsampling": 0} if form == "JPEG" else {}))
    put_bytes(path, buffer.getvalue())


def put_bytes(path: Path, data: bytes) -> None:
    """Write a file and the folders above it, whole or not at all. OSError with its name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def counted(boxes: Counter[str]) -> str:
    """Boxes by class, in words."""
    return ", ".join(f"{count} {name}" for name, count in boxes.most_common()) or "none"


def _why(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:200]
