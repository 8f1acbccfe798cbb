"""Make a YOLO data set from annotations as they are published: PASCAL VOC, COCO, and what docs/data_convert.md lists.

python -m data.convert path/to/set --out datasets/mine
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data.converters import layouts, splits, with_datumaro, write
from data.converters.annotations import Picture, collect
from data.converters.finder import PictureFinder
from data.converters.source import Source, class_names
from data.sample import is_sample
from utils.console.wording import command, counted
from utils.errors import UserError, nearest

SHOWN = 30  # lines of what was skipped, before the rest is only counted
NAMED = 10  # pictures in two parts of a split that are named


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 with one line on stderr where the user has to change something."""
    try:
        _convert(_parser().parse_args(argv))
    except UserError as error:
        print(f"error: {error}".encode(errors="backslashreplace").decode(), file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    usage = "%(prog)s [LAYOUT] SRC --out DST [options]"
    parser = argparse.ArgumentParser("python -m data.convert", usage, __doc__.partition("\n")[0])
    what = f"the set's folder or file; its layout is detected, or named before it: {', '.join(layouts.LAYOUTS)}"
    parser.add_argument("source", metavar="[LAYOUT] SRC", nargs="+", help=what)
    what = "folder to make; must be new, empty or the sample"
    parser.add_argument("--out", required=True, type=Path, metavar="DST", help=what)
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures, where they lie elsewhere")
    what = "read by this library, which must be installed: for other layouts, by its names of them"
    parser.add_argument("--with", dest="library", choices=["datumaro"], help=what)
    parser.add_argument("--resplit", action="store_true", help="draw a new split even where one is published")
    what = f"fraction used for validation where the split is drawn ({splits.DEFAULT_SHARE})"
    parser.add_argument("--val", type=float, help=what)
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawn split (%(default)s)")
    what = "class names a,b,c in the order of their numbers; other objects are left out"
    parser.add_argument("--names", help=what)
    return parser


def _convert(args: argparse.Namespace) -> None:
    if len(args.source) > 2:
        raise UserError(f"{' '.join(args.source)}: give one folder, with its layout before it if you want to name it")
    given = Path(args.source[-1])
    if args.val is not None and not 0 <= args.val < 1:
        raise UserError(f"--val {args.val:g}: give a fraction from 0 up to 1, such as 0.15")
    for path in (given, *filter(None, [args.images])):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
    source, target = given.resolve(), args.out.resolve()
    replaces = _check_target(target)
    if source.is_relative_to(target):
        raise UserError(f"{args.out}: holds SRC itself; name another --out")
    name = args.source[0] if len(args.source) == 2 else None
    images = args.images.resolve() if args.images else None
    if args.library:
        found = with_datumaro.read(source, images, name)
    else:
        found = layouts.reader(name or _recognise(source)).read(source, images)
    pictures = collect(found, PictureFinder(found.pictures, named=images is not None))
    seen = {box.label for picture in pictures for box in picture.boxes}
    names = found.names if found.names is not None else class_names(seen)
    if args.names is not None:
        pictures, names = _choose(found, pictures, names, tuple(name.strip() for name in args.names.split(",")))
    if not seen:
        raise UserError(f"{given}: {_why_nothing(found, pictures)}")
    _print_skipped(found)
    pictures, told = splits.assign(pictures, args.val, args.seed, args.resplit)
    share = splits.DEFAULT_SHARE if args.val is None else args.val
    comment = f"Converted from {found.layout} by data/convert.py, --val {share:g} --seed {args.seed}; split {told}."
    write.write(target, pictures, names, comment)
    if replaces:
        print(f"{args.out}: the drawn sample was replaced")
    _summarise(found, pictures, names, told, args)


def _recognise(source: Path) -> str:
    name, what = layouts.recognise(source)
    print(f"layout: {what}")
    return name


def _check_target(target: Path) -> bool:
    """Whether `target` holds the drawn sample and nothing of the user's, and so may be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    if not target.is_dir() or not is_sample(target):
        raise UserError(f"{target}: exists and is not empty; name another --out or move it away")
    ours = re.compile(r"SAMPLE\.txt|(images|labels)/(train|val)/\d{4,}\.(jpg|txt)|(.+/)?\.anneal-[^/]*\.npz")
    for file in sorted(target.rglob("*")):
        name = file.relative_to(target).as_posix()
        if not file.is_dir() and not ours.fullmatch(name):
            what = f"holds {name}, which is not part of the drawn sample"
            raise UserError(f"{target}: {what}; name another --out or move it away")
    return True


def _choose(
    found: Source, pictures: list[Picture], known: tuple[str, ...], names: tuple[str, ...]
) -> tuple[list[Picture], tuple[str, ...]]:
    """Number the classes as the user says, and leave out objects of the others."""
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"--names {','.join(names)}: names must differ, and none may be empty")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"--names: the annotations have no class {unknown[0]!r}; {nearest(unknown[0], known)}")
    chosen = []
    for picture in pictures:
        kept = tuple(box for box in picture.boxes if box.label in names)
        found.counts["boxes of classes not in --names, left out"] += len(picture.boxes) - len(kept)
        chosen.append(replace(picture, boxes=kept))
    return chosen, names


def _why_nothing(found: Source, pictures: list[Picture]) -> str:
    """One line for a set of which no box is left."""
    if not found.reasons:
        return "no annotation names a class, so there is nothing to learn; is it the right folder?"
    reasons = ", ".join(f"{reason} ({count})" for reason, count in found.reasons.most_common(5))
    first = f"; the first: {found.skipped[0]}" if found.skipped else ""
    what = "no usable picture" if not pictures else "no usable box"
    if not pictures and found.reasons["its picture is missing"]:
        first += "; --images DIR names the folder of the pictures"
    return f"{found.layout}: no annotation names a class of a box that can be used, {what} is left: {reasons}{first}"


def _print_skipped(found: Source) -> None:
    for line in found.skipped[:SHOWN]:
        print(f"skipped {line}".encode(errors="backslashreplace").decode())  # names of files may be no text
    if len(found.skipped) > SHOWN:
        print(f"skipped {len(found.skipped) - SHOWN} more like these")


def _summarise(
    found: Source, pictures: list[Picture], names: Sequence[str], told: str, args: argparse.Namespace
) -> None:
    parts = splits.by_part(pictures)
    boxes = {part: Counter(box.label for p in pictures if p.split == part for box in p.boxes) for part in parts}
    print(f"{counted(len(pictures), 'picture')}: " + ", ".join(f"{count} {part}" for part, count in parts.items()))
    print(f"split {told}")
    if args.val and told == "as published":
        print("--val is not used: the split is published; --resplit draws one")
    for name in names:
        print(f"  {name}: " + ", ".join(f"{boxes[part][name]} {part}" for part in parts))
    empty = sum(not picture.boxes for picture in pictures)
    for what, count in {"pictures without objects, kept as background": empty, **found.counts}.items():
        if count:
            print(f"{what}: {count}")
    if found.skipped:
        print(f"skipped: {len(found.skipped)}")
        for reason, count in found.reasons.most_common():
            print(f"  {reason}: {count}".encode(errors="backslashreplace").decode())
    for part in parts:
        if not boxes[part]:
            print(f"warning: no picture of {part} has a box: are its annotations missing?")
    if found.counts["boxes clipped to their picture"] * 2 > sum(len(picture.boxes) for picture in pictures):
        print("warning: most boxes reach out of their pictures: are they corners where width and height are expected?")
    shared = splits.shared_pictures(pictures)
    if shared:
        print(f"warning: identical pictures in two parts of the split, which flatters validation: {len(shared)}")
        for line in shared[:NAMED]:
            print(f"  {line}".encode(errors="backslashreplace").decode())
    print(f"train with: {command('train.py', '--data', args.out / 'data.yaml')}")


if __name__ == "__main__":
    sys.exit(main())
