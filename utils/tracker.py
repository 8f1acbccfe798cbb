"""What a run writes down as it goes: tables as CSV files, and TensorBoard events."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.errors import UserError
from utils.files.atomic import write_atomic

LOGGER = logging.getLogger("anneal")

METRICS = ("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95")
VAL_LOSSES = ("val/box_loss", "val/obj_loss", "val/cls_loss")
RATES = ("x/lr0", "x/lr1", "x/lr2")


def read_csv(path: Path | str) -> list[dict[str, float]]:
    """The rows of a numeric CSV file with a header, as floats; blanks and empty lines are ignored.

    A row of the wrong length or a value that is no number is a UserError that names the line.
    """
    return [row for _, _, row in _rows(Path(path))]


def _rows(path: Path) -> Iterator[tuple[int, list[str], dict[str, float]]]:
    """Line number, values as they are written, and as numbers by their column. Raises UserError as `read_csv` does."""
    header, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    columns = [name.strip() for name in header.split(",")]
    for number, line in enumerate(lines, 2):
        values = [value.strip() for value in line.split(",")]
        if not any(values):
            continue
        try:
            row = dict(zip(columns, map(float, values), strict=True))
        except ValueError as error:
            raise _not_a_row(path, number, columns) from error
        yield number, values, row


def _not_a_row(path: Path, number: int, columns: Sequence[str]) -> UserError:
    return UserError(f"{path}:{number}: not a row of {len(columns)} numbers; repair or delete that line")


def _text(value: Any) -> str:
    """Whole numbers as they are, others with six significant digits and no padding."""
    number = float(value)
    return str(int(number)) if isinstance(value, (int, np.integer)) else f"{number:.6g}"


def _tell_missing(path: Path, found: int, wanted: int) -> None:
    if found < wanted:
        what = f"has {found} of the {wanted} rows from before the resume"
        LOGGER.warning(f"{path}: {what}; continuing without the others")


def _header(groups: int) -> str:
    return ",".join(["step", *(f"x/{kind}{i}" for kind in ("lr", "momentum") for i in range(groups))])


class _Table:
    """A CSV file whose rows are numbered by a rising whole-number column; each change rewrites it atomically."""

    columns: ClassVar[tuple[str, ...]]
    key: ClassVar[str]
    first: ClassVar[int]  # key of the first row

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lines: list[tuple[int, str]] = []
        if self.path.exists():
            self._read()

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, which must have exactly the table's columns and a key beyond the last row's (else ValueError)."""
        if set(row) != set(self.columns):
            wrong = sorted(set(row) ^ set(self.columns))
            raise ValueError(f"{self.path.name}: missing or unknown columns {wrong}")
        number = int(row[self.key])
        if self._lines and number <= self._lines[-1][0]:
            raise ValueError(f"{self.path.name}: {self.key} {number} is written already; keep_until({number}) drops it")
        values = [str(number) if name == self.key else _text(row[name]) for name in self.columns]
        self._write([*self._lines, (number, ",".join(values))])

    def rows(self) -> list[dict[str, float]]:
        """All rows as floats by column name."""
        return [dict(zip(self.columns, map(float, line.split(",")), strict=True)) for _, line in self._lines]

    def keep_until(self, number: int) -> None:
        """Drop the rows whose key is `number` or more: what a resumed run is about to do again."""
        kept = [line for line in self._lines if line[0] < number]
        _tell_missing(self.path, len(kept), number - self.first)
        if len(kept) != len(self._lines):
            self._write(kept)

    def _write(self, lines: list[tuple[int, str]]) -> None:
        text = io.StringIO()
        text.writelines(f"{line}\n" for line in (",".join(self.columns), *(line for _, line in lines)))
        self._lines = lines  # first: what a full disk refuses now is written with the next row
        write_atomic(self.path, text.getvalue())

    def _read(self) -> None:
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines and tuple(name.strip() for name in lines[0].split(",")) != self.columns:
            raise UserError(f"{self.path}:1: other columns than this version writes; move the file away")
        for number, values, row in _rows(self.path):
            try:
                self._lines.append((int(row[self.key]), ",".join(values)))
            except (ValueError, OverflowError):  # NaN, infinity
                raise _not_a_row(self.path, number, self.columns) from None


class ResultsCsv(_Table):
    """`results.csv`: one row an epoch, in the columns YOLOv5 users' tools read."""

    columns = ("epoch", "train/box_loss", "train/obj_loss", "train/cls_loss", *METRICS, *VAL_LOSSES, *RATES)
    key, first = "epoch", 0

    def __init__(self, path: Path | str, groups: int = len(RATES)) -> None:
        """`groups`: of parameters; the rates of those behind the three usual ones have columns at the end."""
        more = range(len(RATES), groups)
        self.columns = (*ResultsCsv.columns, *(f"x/lr{i}" for i in more))  # type: ignore[misc]
        super().__init__(path)


class CyclesCsv(_Table):
    """`cycles.csv`: a row at each end of a learning-rate cycle; `step` counts optimizer steps."""

    columns = ("cycle", "step", "epoch", *METRICS, *VAL_LOSSES)
    key, first = "cycle", 1


class TensorBoard:
    """TensorBoard events in `folder`. Where tensorboard is not installed it says so and does nothing.

    `purge_step` (on a resume, the first step that will be done again) hides what an interrupted run wrote beyond it.
    """

    def __init__(self, folder: Path | str, *, purge_step: int | None = None) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            LOGGER.warning("no TensorBoard events are written (%s); pip install tensorboard", error)
            return
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def add_scalars(self, row: Mapping[str, Any], step: int) -> None:
        """One point of every curve in `row`."""

        def write(writer: Any) -> None:
            for tag, value in row.items():
                writer.add_scalar(tag, float(value), step)

        self._try(write)

    def picture(self, tag: str, image: np.ndarray | Path, step: int = 0) -> None:
        """A picture: (h, w, 3) uint8 RGB, or the path of a file."""

        def write(writer: Any) -> None:
            from PIL import Image

            pixels = image
            if not isinstance(image, np.ndarray):
                with Image.open(image) as file:
                    pixels = np.asarray(file.convert("RGB"))
            writer.add_image(tag, pixels, step, dataformats="HWC")

        self._try(write)

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """A text, read as Markdown."""
        self._try(lambda writer: writer.add_text(tag, text, step))

    def close(self) -> None:
        """Flush and close the event file; further calls do nothing."""
        self._try(lambda writer: writer.close())
        self._writer = None

    def _try(self, write: Callable[[Any], None]) -> None:
        """Write, if there is a file to write to. One that the disk refused takes no more."""
        if self._writer is not None:
            try:
                write(self._writer)
            except OSError as error:
                LOGGER.warning(f"no more TensorBoard events are written ({error.strerror or error})")
                self._writer = None

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RateLog:
    """`lr.csv`: the rate and momentum of each group at every optimizer step, in full precision.

    Rows from `first_step` on are dropped when it opens: a resumed run is about to write them again. `written`: how many
    rows there were when it was saved; another batch size counts the steps anew.
    """

    def __init__(self, path: Path | str, first_step: int, written: int) -> None:
        self.path = Path(path)
        kept = self._kept(first_step, written) if written else []
        write_atomic(self.path, "".join(f"{line}\n" for line in kept))
        self._empty = not kept
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  (open as long as the run)

    def _kept(self, first_step: int, written: int) -> list[str]:
        """The header and the rows of the steps before, as far as they are whole; what is not is said."""
        lines = self.path.read_text("utf-8", errors="replace").splitlines() if self.path.exists() else []
        rows = [line for line in lines if re.fullmatch(r"[0-9]{1,18}(,[-+.a-z0-9]+)+", line)]
        commas = statistics.mode(row.count(",") for row in rows) if rows else 0  # others are a part of a row, or two
        known = {int(row.split(",")[0]): row for row in rows if row.count(",") == commas}
        if not {0, written - 1} <= known.keys():  # between them another batch size may have left a gap
            _tell_missing(self.path, sum(step < written for step in known), written)
        kept = [row for step, row in known.items() if step < first_step]
        return [_header(commas // 2), *kept] if kept else []

    def append(self, step: int, optimizer: Any) -> None:
        """Write down what the optimizer's groups hold now. What the disk refuses is tried again by `flush`."""
        groups = optimizer.param_groups
        momenta = [g["momentum"] if "momentum" in g else g["betas"][0] for g in groups]
        lines = []
        if self._empty:
            lines.append(_header(len(groups)) + "\n")
            self._empty = False
        values = [float(g["lr"]) for g in groups] + [float(m) for m in momenta]
        lines.append(",".join([str(step), *map(repr, values)]) + "\n")
        with contextlib.suppress(OSError):  # a full disk
            self._file.writelines(lines)
            self._file.flush()

    def flush(self) -> None:
        """Bring what was written to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
