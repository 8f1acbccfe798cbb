"""The tables of a detection, a row a box: written as it goes, so that they take no memory and a kill loses no row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from predict.frames import Frame

COLUMNS = ("file", "frame", "time", "class", "score", "x1", "y1", "x2", "y2")


class Table:
    """A text file that grows by whole rows, between what stands at its beginning and at its end."""

    def __init__(self, path: Path, begin: str, between: str, end: str) -> None:
        self.path, self._between, self._end = path, between, end
        self._file: TextIO = path.open("w", 1, encoding="utf-8", newline="")
        self._file.write(begin)
        self._empty = True

    def add(self, rows: Sequence[str]) -> None:
        """Write some rows. OSError, with the file's name, where that fails."""
        if not rows:
            return
        try:
            self._file.write(("" if self._empty else self._between) + self._between.join(rows))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self._empty = False

    def close(self) -> None:
        """Write the end. OSError where that fails."""
        with self._file:
            self._file.write(self._end)


def csv_table(folder: Path) -> Table:
    """predictions.csv, for `csv_rows`."""
    return Table(folder / "predictions.csv", _csv_line(COLUMNS), "", "")


def csv_rows(frame: Frame, names: Sequence[str]) -> list[str]:
    """A line a box: file, frame, time in seconds, class, score, corners in pixels."""
    file = frame.origin.shown.encode(errors="backslashreplace").decode()
    moment = "" if frame.time is None else f"{frame.time:.3f}"
    place = (file, "" if frame.number is None else frame.number, moment)
    return [
        _csv_line((*place, names[int(number)], f"{score:.5f}", *(f"{side:.2f}" for side in corners)))
        for *corners, score, number in frame.rows.tolist()
    ]


def json_table(folder: Path) -> Table:
    """predictions.json, for `json_rows`."""
    return Table(folder / "predictions.json", "[", ",\n", "]\n")


def json_rows(frame: Frame, stem: PurePosixPath) -> list[str]:
    """An entry a box of COCO's results format."""
    facts = {"image_id": str(stem), "file_name": str(frame.origin.name)}
    return [
        json.dumps(facts | {"category_id": int(k), "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score})
        for x1, y1, x2, y2, score, k in frame.rows.double().tolist()
    ]


def _csv_line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
