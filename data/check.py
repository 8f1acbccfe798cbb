"""Look at a data set without training: what it holds, what is there twice, and which labels look wrong.

python -m data.check datasets/mine/data.yaml
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.checks import sheets
from data.checks.labels import MEDIUM, SMALL, Suspects, sizes, suspects
from data.checks.pictures import Duplicates, Partners, duplicates, partners
from data.datasets import DatasetConfig, load_dataset
from data.files import label_candidates, label_file
from data.index import Index, build_index
from data.report import counted
from utils import config, plots
from utils.console import log
from utils.console.log import one_line
from utils.errors import UserError
from utils.files.atomic import write_atomic
from utils.files.folders import numbered

LOGGER = logging.getLogger("anneal")
OURS = ("check.txt", "labels.png", "samples.jpg", "worst.jpg", "messages.txt")
CLASSES = 100  # lines of the table of classes
SIZES = 4  # sizes of pictures that are named


@dataclass
class Options:
    """Look at a data set."""

    yaml: list[str] = config.option([], "the set's YAML; a bare name is looked up in data/ too", positional=True)
    data: str = config.option("", "the same, spelled as in the other commands")
    imgsz: int = config.option(640, "training size: which boxes are too small to learn from", low=32, high=8192)
    worst: int = config.option(5, "how many suspicious labels of each kind are listed", low=0, high=1000)
    workers: int = config.option(8, "threads that read pictures", low=1, high=256)
    out: str = config.option("", "folder for text and pictures (default: runs/check, runs/check2, ...)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, or 2 for a mistake."""
    log.setup()
    try:
        about = {"prog": "python -m data.check", "description": __doc__.partition("\n")[0]}
        (options,), _ = config.parse([Options], argv, **about)
        check(options)
        return 0
    except UserError as error:
        LOGGER.error(str(error))
        return 2
    except OSError as error:
        LOGGER.error(f"{error.filename}: {error.strerror}; check that it is there and may be read or written")
        return 2
    except KeyboardInterrupt:
        return 130


def check(options: Options) -> None:
    """Print the summary, and leave it with its pictures in a folder. Raises UserError."""
    given = [*options.yaml, *filter(None, [options.data])]
    if len(given) != 1:
        raise UserError("give one data set: python -m data.check path/to/data.yaml")
    data = load_dataset(given[0])
    if options.out:
        _own_folder(Path(options.out))
    LOGGER.info(f"{data.file}: {counted(data.classes, 'class', 'classes')}, pictures in {data.root}")
    parts = _index(data, options.workers)
    how = (data.names, options.imgsz, options.worst, data.poses)
    found = [suspects(part, index, *how) for part, index in parts.items()]
    kinds = _joined(found, options.worst)
    folder = _own_folder(Path(options.out)) if options.out else numbered("runs", "check")
    log.setup(folder / "check.txt")
    told = [*_parts(parts), *_classes(parts, data.names), *_pictures(parts)]
    told += [*_duplicates(duplicates(parts), data.root), *_partners(partners(parts), data.root)]
    for line in [*told, *_suspects(kinds, data.root, options.worst)]:
        LOGGER.info("%s", line)
    _draw(parts, kinds, data, folder)
    messages = [message for index in parts.values() for message in index.report.messages]
    if messages:
        write_atomic(folder / "messages.txt", "".join(f"{message}\n" for message in messages))
    LOGGER.info("\nIn %s: %s", folder, ", ".join(name for name in OURS if (folder / name).exists()))


def _own_folder(folder: Path) -> Path:
    """The folder named by the user, made; what an earlier check left there goes, but nothing of anybody else's."""
    there = [name for name in OURS if (folder / name).exists()]
    if there and OURS[0] not in there:
        raise UserError(f"{folder}: holds a {there[0]}, which no earlier check wrote; name another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in there:
            (folder / name).unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); name another --out") from None
    return folder


def _index(data: DatasetConfig, workers: int) -> dict[str, Index]:
    parts = {}
    for part in ("train", "val", "test"):
        sources = getattr(data, part)
        if sources and all(source.exists() for source in sources):  # a test part may be missing, which was said
            common = {"root": data.root, "poses": data.poses, "workers": workers}
            parts[part] = build_index(sources, data.classes, desc=part, **common)
            if all(label_file(file) is None for file in parts[part].files):
                looked = " and ".join(label_candidates(parts[part].files[0]))
                LOGGER.warning(f"{part}: no label file; looked for {looked}")
    return parts


def _joined(found: Sequence[Sequence[Suspects]], keep: int) -> list[Suspects]:
    """The suspects of all parts, kind by kind."""
    kinds = []
    for same in zip(*found, strict=True):
        kind = Suspects(same[0].title, sum(each.count for each in same), [row for each in same for row in each.worst])
        kind.cut(keep)
        kinds.append(kind)
    return kinds


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines


def _numbers(values: Iterable[int]) -> list[str]:
    return [f"{int(value):,}" for value in values]


def _parts(parts: Mapping[str, Index]) -> list[str]:
    rows = [["", "pictures", "without boxes", "boxes", "small", "medium", "large"]]
    for part, index in parts.items():
        report, by_size = index.report, np.bincount(sizes(index), minlength=3)
        rows.append([part, *_numbers([report.pictures, report.backgrounds, report.boxes, *by_size])])
    small, medium = (f"under {area**0.5:.0f} x {area**0.5:.0f} px" for area in (SMALL, MEDIUM))
    return ["", *_table(rows), f"(small: {small}, medium: {medium}, by area in the original pictures)"]


def _classes(parts: Mapping[str, Index], names: Sequence[str]) -> list[str]:
    """Boxes of each class by part and by size."""
    count = len(names)
    classes = {part: index.labels.rows[:, 0].astype(int) for part, index in parts.items()}
    columns = [np.bincount(each, minlength=count) for each in classes.values()]
    every, by_size = np.concatenate(list(classes.values())), np.concatenate([sizes(index) for index in parts.values()])
    columns += [np.bincount(every[by_size == size], minlength=count) for size in range(3)]
    rows = [["class", *parts, "small", "medium", "large"]]
    for c in range(min(count, CLASSES)):
        rows.append([f"{c} {one_line(names[c])}", *_numbers(column[c] for column in columns)])
    lines = ["", *_table(rows)]
    if count > CLASSES:
        lines.append(f"... and {counted(count - CLASSES, 'more class', 'more classes')}")
    for part, column in zip(parts, columns, strict=False):
        absent = [one_line(names[c]) for c in np.nonzero(column == 0)[0][:10]]
        if absent and part in ("train", "val"):
            total = int((column == 0).sum())
            result = "cannot be learned" if part == "train" else "cannot be measured"
            more = f" and {total - 10} more" if total > 10 else ""
            lines.append(f"warning: without a box in {part}, so {result}: {', '.join(absent)}{more}")
    return lines


def _pictures(parts: Mapping[str, Index]) -> list[str]:
    """How large the pictures are, and of which kinds their files."""
    shapes = np.concatenate([index.shapes for index in parts.values()])
    common = Counter(map(tuple, shapes.tolist())).most_common()
    named = ", ".join(f"{w} x {h} ({number:,})" for (h, w), number in common[:SIZES])
    if len(common) > SIZES:
        (least_h, least_w), (most_h, most_w) = shapes.min(0), shapes.max(0)
        named += f", {counted(len(common) - SIZES, 'other size', 'other sizes')};"
        named += f" widths {least_w} to {most_w}, heights {least_h} to {most_h}"
    suffixes = Counter(os.path.splitext(file)[1] for index in parts.values() for file in index.files)
    kinds = ", ".join(f"{suffix} ({number:,})" for suffix, number in suffixes.most_common())
    return ["", f"sizes of pictures: {named}", f"files: {kinds}"]


def _short(path: str, root: Path) -> str:
    return one_line(path.removeprefix(os.path.join(root, "")))


def _duplicates(found: Duplicates, root: Path) -> list[str]:
    lines = [""]
    for groups, what in (
        (found.across, "warning: identical pictures in two parts of the split, which flatters validation"),
        (found.within, "identical pictures within a part"),
        (found.contradicting, "warning: identical pictures with different labels"),
    ):
        if groups:
            rows = [" = ".join(f"{part}: {_short(file, root)}" for part, file in group) for group in groups]
            lines += [f"{what}: {counted(len(groups), 'group', 'groups')}", *_first(rows)]
    return lines if len(lines) > 1 else ["", "identical pictures: none"]


def _first(rows: Sequence[str]) -> list[str]:
    """The first five, and how many more there are."""
    more = [f"  ... and {len(rows) - 5:,} more"] if len(rows) > 5 else []
    return [*(f"  {row}" for row in rows[:5]), *more]


def _partners(found: Partners, root: Path) -> list[str]:
    unused = [_short(path, root) for path in found.unused]
    shared = [", ".join(_short(path, root) for path in group) for group in found.shared]
    lines: list[str] = []
    for what, rows in (("label files without a picture", unused), ("pictures that share one label file", shared)):
        lines += [f"warning: {what}: {len(rows):,}", *_first(rows)] if rows else []
    return lines


def _suspects(kinds: Sequence[Suspects], root: Path, keep: int) -> list[str]:
    lines = [""]
    for kind in kinds:
        if kind.count:
            lines.append(f"{counted(kind.count, 'label', 'labels')}: {kind.title}")
            for row in kind.worst:
                lines.append(f"  {row.part}: {_short(row.picture, root)}, line {row.line}: {one_line(row.what)}")
            more = kind.count - len(kind.worst)
            lines += [f"  ... and {more:,} more"] if more and keep else []
    return lines if len(lines) > 1 else ["", "labels that look wrong: none"]


def _draw(parts: Mapping[str, Index], kinds: Sequence[Suspects], data: DatasetConfig, folder: Path) -> None:
    rows = np.concatenate([index.labels.rows for index in parts.values()])
    plots.labels(rows, data.names, folder / "labels.png")
    sheets.samples(parts, data.names, folder / "samples.jpg")
    # the worst of each kind first, so that every kind is on the sheet
    ordered = sorted(((rank, k) for k, kind in enumerate(kinds) for rank in range(len(kind.worst))))
    if ordered:
        chosen = [kinds[k].worst[rank] for rank, k in ordered]
        titles = [kinds[k].title.partition(",")[0] for _, k in ordered]
        sheets.worst(chosen, titles, data.names, folder / "worst.jpg")


if __name__ == "__main__":
    sys.exit(main())
