"""PASCAL VOC as the Kaggle face-mask set has it: SRC/images/*, SRC/annotations/*.xml."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data.converters.annotations import Annotations, Box, Picture, contained, place, shown_size
from data.pictures import SUFFIXES, BadPictureError
from utils.console.log import progress
from utils.errors import UserError

KAGGLE = ("with_mask", "without_mask", "mask_weared_incorrect")
LARGEST = 8 << 20  # bytes: a hundred thousand objects take less


class Unusable(Exception):
    """A picture that has to be left out; the text says why."""


class _NoDoctype(ET.TreeBuilder):
    """Entities, which can blow a small file up without bound, are declared in a DOCTYPE only."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise Unusable("it has a DOCTYPE, which annotations need not and may not have")


def read(source: Path, workers: int = 8) -> Annotations:
    """Read every annotation below `source`. Corners are taken as they stand: pixel edges counted from 0.

    Raises:
        UserError: `source` has no annotations/*.xml or no images/.
    """
    files = sorted((source / "annotations").glob("*.xml"))
    if not files or not (source / "images").is_dir():
        raise UserError(f"{source}: needs annotations/*.xml and images/; name the folder that holds both")
    found = Annotations()
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda file: _attempt(file, source / "images"), files)
        for file, result in zip(files, progress(results, desc="reading", total=len(files)), strict=True):
            found.add(str(file.relative_to(source)), result)
    seen = {box.label for picture in found.pictures.values() for box in picture.boxes}
    found.names = KAGGLE if seen == set(KAGGLE) else tuple(sorted(seen))
    unused = {file.resolve() for file in (source / "images").rglob("*") if file.suffix.lower() in SUFFIXES}
    unused -= {picture.file.resolve() for picture in found.pictures.values()}
    found.counts["pictures without a usable annotation, left out"] += len(unused)
    return found


def _attempt(file: Path, images: Path) -> Picture | str:
    try:
        return _read_one(file, images)
    except Unusable as error:
        return str(error)
    except ET.ParseError as error:
        return f"line {error.position[0]}: broken XML"
    except (ValueError, LookupError):
        return "its text or a name in it cannot be decoded"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _read_one(file: Path, images: Path) -> Picture:
    if file.stat().st_size > LARGEST:
        raise Unusable(f"larger than {LARGEST >> 20} MiB")
    tree = ET.fromstring(file.read_bytes(), ET.XMLParser(target=_NoDoctype()))
    path = _find(images, (tree.findtext("filename") or "").strip(), file.stem)
    try:
        size = shown_size(path)
    except BadPictureError as error:
        raise Unusable(f"{path.name}: {error}") from None
    stated = tuple(_number(tree.findtext(f"size/{side}")) or 0 for side in ("width", "height"))
    if all(stated) and stated != size:
        raise Unusable(f"made for {stated[0]:g}x{stated[1]:g} pixels, but {path.name} has {size[0]}x{size[1]}")
    items = [(f"object {number}", _box(item)) for number, item in enumerate(tree.iter("object"), 1)]
    picture = place(path.relative_to(images).as_posix(), path, size, items)
    marks = [(item.findtext("difficult") or "").strip() for item in tree.iter("object")]
    picture.counts["objects marked difficult, treated like the others"] += marks.count("1")
    return picture


def _box(item: ET.Element) -> Box | None:
    label = (item.findtext("name") or "").strip()
    corners = tuple(_number(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
    return Box(label, corners) if label and None not in corners else None


def _find(images: Path, name: str, stem: str) -> Path:
    """The annotated picture: by its stated name, else by the annotation's own name."""
    if name:
        picture = contained(images, name)
        if picture is None:
            raise Unusable(f"its picture {name!r} lies outside {images.name}/")
        if picture.is_file():
            return picture
    for suffix in SUFFIXES:
        if (images / (stem + suffix)).is_file():
            return images / (stem + suffix)
    raise Unusable(f"its picture {name or stem!r} is missing")


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
