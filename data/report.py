"""What indexing found and left out, in numbers, in one line, and message by message."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from data.cache import Record
from data.files import Found, label_candidates
from utils.console.log import one_line
from utils.console.wording import counted

LOGGER = logging.getLogger("anneal")
SHOWN = 10  # messages in the log; the report has all
HANDFUL = 5  # pictures with the same fault that have a message each in the log; more have one together
_MISMATCH = 0.1  # from this share of rows of unknown classes on, the names are at fault, not the rows


@dataclass
class IndexReport:
    """Counts over an index. `messages` are one-line: file[:line]: what; remedy."""

    pictures: int = 0  # usable ones
    boxes: int = 0
    backgrounds: int = 0  # usable pictures without a box
    skipped_pictures: int = 0
    skipped_rows: int = 0
    unknown_classes: int = 0  # of the skipped rows, those whose class has no name
    polygons: int = 0  # rows turned into boxes
    clipped: int = 0  # boxes that left their picture
    duplicates: int = 0
    messages: list[str] = field(default_factory=list)
    pictures_of: dict[str, list[str]] = field(default_factory=dict)  # fault of a picture as a whole: which have it

    @classmethod
    def of(cls, found: Found, records: Sequence[Record]) -> IndexReport:
        """Add up what was found in every file: `records` in the order of `found.files`."""
        report = cls(messages=[one_line(message) for message in found.messages], skipped_pictures=found.skipped)
        for file, record in zip(found.files, records, strict=True):
            usable = record.shape[0] > 0
            report.pictures += usable
            report.skipped_pictures += not usable
            report.boxes += len(record.rows)
            report.backgrounds += usable and not len(record.rows)
            report.skipped_rows += record.counts[0]
            report.unknown_classes += record.counts[1]
            report.polygons += record.counts[2]
            report.clipped += record.counts[3]
            report.duplicates += record.counts[4]
            if record.notes:
                report.messages += _messages(file, record.notes)
            for _, text in (note for note in record.notes if note[0] < 0):
                report.pictures_of.setdefault(text, []).append(file)
        return report

    @property
    def mismatch(self) -> bool:
        """Whether so many rows have an unknown class that the names are likely wrong."""
        return self.unknown_classes > _MISMATCH * (self.boxes + self.skipped_rows)

    def summary(self) -> str:
        """One line: what there is, then only what was out of the ordinary."""
        pictures = counted(self.pictures, "picture", "pictures")
        parts = [f"{pictures} ({self.backgrounds:,} without boxes), {counted(self.boxes, 'box', 'boxes')}"]
        told = (
            (self.skipped_pictures, "picture skipped", "pictures skipped"),
            (self.skipped_rows, "label row skipped", "label rows skipped"),
            (self.polygons, "polygon boxed", "polygons boxed"),
            (self.clipped, "box clipped to its picture", "boxes clipped to their picture"),
            (self.duplicates, "repeated row dropped", "repeated rows dropped"),
        )
        parts += [counted(count, one, many) for count, one, many in told if count]
        if self.mismatch:
            rows = counted(self.unknown_classes, "row is of a class", "rows are of classes")
            parts.append(f"'names' does not match the labels: {rows} beyond it")
        return "; ".join(parts)

    def brief(self, prefix: str = "") -> list[str]:
        """The messages, where those of more than a handful of pictures with one fault are one, before the others."""
        shared = {text: files for text, files in self.pictures_of.items() if len(files) > HANDFUL}
        together = {_message(file, text) for text, files in shared.items() for file in files}
        told = []
        for text, files in shared.items():
            names = ", ".join(os.path.basename(file) for file in files[:3])
            told.append(one_line(f"{prefix}{counted(len(files), 'picture')} ({names}, ...), of each: {text}"))
        return told + [message for message in self.messages if message not in together]

    def log(self, desc: str) -> None:
        """Log the summary, the first messages, and a warning where nothing at all is labelled."""
        prefix = f"{desc}: " if desc else ""
        messages = self.brief(prefix)
        for message in messages[:SHOWN]:
            LOGGER.warning("%s", message)
        if len(messages) > SHOWN:
            more = counted(len(messages) - SHOWN, "more such message", "more such messages")
            LOGGER.warning("%s... and %s", prefix, more)
        LOGGER.log(logging.WARNING if self.mismatch else logging.INFO, "%s%s", prefix, self.summary())
        if not self.boxes:
            what = "every picture is background, and nothing can be learned from it"
            LOGGER.warning("%sno labels at all: %s", prefix, what)


def _messages(picture: str, notes: Sequence[tuple[int, str]]) -> list[str]:
    candidates = label_candidates(picture)
    labels = next((path for path in candidates if os.path.exists(path)), candidates[0])
    messages = []
    for line, text in notes:
        place = picture if line < 0 else f"{labels}:{line}" if line else labels
        messages.append(_message(place, text))
    return messages


def _message(place: str, text: str) -> str:
    return one_line(f"{place}: {text}")
