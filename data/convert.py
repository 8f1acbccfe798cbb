"""Make a YOLO data set from PASCAL VOC (the Kaggle face-mask layout) or COCO annotations.

python -m data.convert voc path/to/archive --out datasets/mask --val 0.15 --seed 0
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data.converters import coco, voc, write
from data.converters.annotations import Annotations
from data.sample import is_sample
from utils.errors import UserError, nearest

READERS = {"voc": voc.read, "coco": coco.read}
SHOWN = 30  # lines of what was skipped, before the rest is only counted


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 with one line on stderr where the user has to change something."""
    try:
        _convert(_parser().parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m data.convert", description=__doc__.partition("\n")[0])
    parser.add_argument("format", choices=sorted(READERS), help="what SRC holds")
    parser.add_argument(
        "source", metavar="SRC", type=Path, help="folder with images/ and annotations/, or a COCO JSON file"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DST", help="folder to make; must be new, empty or the sample"
    )
    parser.add_argument(
        "--val", type=float, default=0.15, help="share of the pictures kept for validation (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which split (%(default)s)")
    parser.add_argument(
        "--names", help="class names a,b,c in the order of their numbers; objects of others are left out"
    )
    return parser


def _convert(args: argparse.Namespace) -> None:
    if not 0 < args.val < 1:
        raise UserError(f"--val {args.val:g}: a share between 0 and 1, such as 0.15")
    if not args.source.exists():
        raise UserError(f"{args.source}: no such file or folder")
    source, target = args.source.resolve(), args.out.resolve()
    replaces = _check_target(target)
    if source.is_relative_to(target):
        raise UserError(f"{args.out}: holds SRC itself; name another --out")
    found = READERS[args.format](source)
    if args.names is not None:
        found = _choose(found, tuple(name.strip() for name in args.names.split(",")))
    if not found.names:
        raise UserError(
            f"{args.source}: no annotation names a class, so there is nothing to learn; is it the right folder?"
        )
    for line in found.skipped[:SHOWN]:
        print(f"skipped {line}".encode(errors="backslashreplace").decode())  # names of files may be no text
    if len(found.skipped) > SHOWN:
        print(f"skipped {len(found.skipped) - SHOWN} more of the like")
    pictures = [found.pictures[name] for name in sorted(found.pictures)]
    validation = write.split([picture.name for picture in pictures], args.val, args.seed)
    comment = f"Converted from {args.format} by data/convert.py, --val {args.val:g} --seed {args.seed}."
    write.write(target, pictures, found.names, validation, comment)
    if replaces:
        print(f"{args.out}: the drawn sample was replaced")
    _summarise(found, validation, args.out)


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
            raise UserError(
                f"{target}: holds {name}, which is not part of the drawn sample; name another --out or move it away"
            )
    return True


def _choose(found: Annotations, names: tuple[str, ...]) -> Annotations:
    """Number the classes as the user says, and leave out objects of the others."""
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"--names {','.join(names)}: names must differ, and none may be empty")
    unknown = [name for name in names if name not in found.names]
    if unknown:
        raise UserError(f"--names: the annotations have no class {unknown[0]!r}; {nearest(unknown[0], found.names)}")
    pictures = {}
    for name, picture in found.pictures.items():
        kept = tuple(box for box in picture.boxes if box.label in names)
        found.counts["boxes of classes not in --names, left out"] += len(picture.boxes) - len(kept)
        pictures[name] = replace(picture, boxes=kept)
    return Annotations(pictures, names, found.skipped, found.counts)


def _summarise(found: Annotations, validation: set[str], out: Path) -> None:
    parts = {"train": Counter(), "val": Counter()}
    for picture in found.pictures.values():
        part = parts["val" if picture.name in validation else "train"]
        part.update(box.label for box in picture.boxes)
    empty = sum(not picture.boxes for picture in found.pictures.values())
    print(f"{len(found.pictures)} pictures: {len(found.pictures) - len(validation)} train, {len(validation)} val")
    for name in found.names:
        print(f"  {name}: {parts['train'][name]} train, {parts['val'][name]} val")
    counts = {"pictures without objects, kept as background": empty, **found.counts, "skipped": len(found.skipped)}
    for what, count in counts.items():
        if count:
            print(f"{what}: {count}")
    print(f"train with: python train.py --data {out / 'data.yaml'}")


if __name__ == "__main__":
    sys.exit(main())
