"""PASCAL VOC and COCO sets as they are published, with the oddities that such sets have."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as masks

Box = tuple[str, tuple[float, float, float, float]]


@dataclass
class Shot:
    """A picture: where it lies below its part's folder, its stored size, its boxes as stored and as shown."""

    name: str
    width: int
    height: int
    boxes: list[Box]
    part: str | None
    orientation: int = 1
    named: str = ""  # how the annotation spells it
    path: Path = field(default_factory=Path)
    data: bytes = b""

    @property
    def shown(self) -> list[Box]:
        """The boxes as they lie on the picture turned by Pillow."""
        return [(label, _turned(self, corners)) for label, corners in self.boxes]


def _turned(shot: Shot, corners: tuple[float, ...]) -> tuple[float, ...]:
    if shot.orientation == 1:
        return corners
    x1, y1, x2, y2 = map(int, corners)
    drawn = np.zeros((shot.height, shot.width), np.uint8)
    drawn[y1:y2, x1:x2] = 255
    with Image.open(io.BytesIO(_encoded(Image.fromarray(drawn), "PNG", shot.orientation))) as image:
        y, x = np.nonzero(np.asarray(ImageOps.exif_transpose(image)))
    return (x.min(), y.min(), x.max() + 1, y.max() + 1)


def _encoded(image: Image.Image, kind: str, orientation: int) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(file, kind, exif=exif)
    return file.getvalue()


def draw(folder: Path, shot: Shot, seed: int) -> None:
    """Write a picture of noise, unlike any other."""
    shot.path = folder / shot.name
    shot.path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (shot.height, shot.width, 3), np.uint8)
    kind = {".png": "PNG", ".bmp": "BMP"}.get(shot.path.suffix.lower(), "JPEG")
    shot.data = _encoded(Image.fromarray(noise), kind, shot.orientation)
    shot.path.write_bytes(shot.data)


def put(file: Path, content: Any, encoding: str = "utf-8") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode(encoding))


# --- PASCAL VOC -------------------------------------------------------------------------------------------------------

VOC_FOLDERS = [("JPEGImages", "Annotations"), ("images", "annotations"), ("Images", "annots"),
               ("images", "annotations/xmls"), ("pics", "labels"), ("", "")]  # fmt: skip
VOC_ODDITIES = ("comma", "swapped", "sizeless", "parts", "latin-1", "utf-16", "utf-8-sig", "nested", "upper",
                "polygon", "copied", "no filename", "doubles")  # fmt: skip
ENCODINGS = {"latin-1", "utf-16", "utf-8-sig"}


def voc_xml(shot: Shot, odd: set[str]) -> tuple[str, str]:
    """The text of an annotation, and its encoding."""
    encoding = next(iter(sorted(odd & ENCODINGS)), "utf-8")
    name = "" if "no filename" in odd else f"<filename>{escape(shot.named)}</filename>"
    size = f"<size><width>{shot.width}</width><height>{shot.height}.0</height><depth>3</depth></size>"
    objects = ""
    for label, corners in shot.boxes * (2 if "doubles" in odd else 1):
        x1, y1, x2, y2 = corners
        if "swapped" in odd:
            x1, y1, x2, y2 = x2, y2, x1, y1
        values = [f"{v:.1f}".replace(".", ",") if "comma" in odd else f"{v:g}" for v in (x1, y1, x2, y2)]
        box = "".join(f"<{side}>{v}</{side}>" for side, v in zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True))
        box = f"<bndbox>{box}</bndbox>"
        if "polygon" in odd:
            a, b, c, d = values
            points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((a, b), (c, b), (c, d), (a, d)))
            box = f"<polygon>{points}</polygon>"
        part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
        objects += f"<object>{part if 'parts' in odd else ''}<name>{escape(label)}</name>{box}</object>"
    text = f"<annotation>{name}{'' if 'sizeless' in odd else size}{objects}</annotation>"
    if "nested" in odd:
        text = f"<root>{text}</root>"
    declared = encoding.removesuffix("-sig")
    return f'<?xml version="1.0" encoding="{declared}"?>\n{text}', encoding


def write_voc(root: Path, shots: Sequence[Shot], odd: set[str], rng: Random) -> None:
    """The set, its split as folders or as lists where its pictures have parts."""
    pictures, annotations = rng.choice(VOC_FOLDERS)
    base = root / rng.choice(("", "VOC2007", "set"))
    parted = any(shot.part for shot in shots)
    by_lists = (
        parted and rng.random() < 0.5 and len({PurePosixPath(s.name).stem.casefold() for s in shots}) == len(shots)
    )
    lists: dict[str, list[str]] = {}
    for seed, shot in enumerate(shots):
        home = base / shot.part if parted and not by_lists else base
        draw(home / pictures, shot, seed)
        if "copied" in odd:
            shot.named = shots[0].named
        text, encoding = voc_xml(shot, odd)
        file = (home / annotations / shot.name).with_suffix(".XML" if "upper" in odd else ".xml")
        put(file, text, encoding if encoding != "latin-1" or _fits(text) else "utf-8")
        if encoding == "latin-1" and not _fits(text):
            put(file, text.replace("latin-1", "utf-8"))
        lists.setdefault(shot.part or "", []).append(PurePosixPath(shot.name).stem)
    for part, names in lists.items() if by_lists else ():
        put(base / "ImageSets" / "Main" / f"{part}.txt", "".join(f"{name}\n" for name in names))


def _fits(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


# --- COCO -------------------------------------------------------------------------------------------------------------

COCO_PLACES = ("by part", "images by part", "roboflow", "one")
COCO_ODDITIES = ("text ids", "float ids", "large ids", "from 0", "text sizes", "sizeless", "polygon", "rle",
                 "text boxes", "root", "listed twice", "comma", "negative", "captions", "doubles")  # fmt: skip
_ID: dict[str, Callable[[int], Any]] = {"text ids": str, "float ids": float, "large ids": lambda n: (1 << 60) + n}


def _outline(shot: Shot, corners: tuple[float, ...], odd: set[str]) -> dict[str, Any]:
    x1, y1, x2, y2 = corners
    if "polygon" in odd:
        return {"segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
    if "rle" in odd:
        drawn = np.zeros((shot.height, shot.width), np.uint8, order="F")
        drawn[int(y1) : int(y2), int(x1) : int(x2)] = 1
        coded = masks.encode(drawn)
        return {"segmentation": {"size": coded["size"], "counts": coded["counts"].decode()}, "bbox": []}
    box = (x2, y2, x1 - x2, y1 - y2) if "negative" in odd else (x1, y1, x2 - x1, y2 - y1)
    if "comma" in odd:
        return {"bbox": [f"{v:.1f}".replace(".", ",") for v in box]}
    return {"bbox": [f"{v:g}" for v in box] if "text boxes" in odd else list(box)}


def coco_json(shots: Sequence[Shot], labels: Sequence[str], odd: set[str], rng: Random) -> dict[str, Any]:
    spell = next((_ID[one] for one in sorted(odd & _ID.keys())), int)
    first = 0 if "from 0" in odd else 1
    numbers = list(range(first, first + len(shots)))
    rng.shuffle(numbers)
    images, annotations = [], []
    for number, shot in zip(numbers, shots, strict=True):
        entry = {"id": number if "text ids" in odd else spell(number), "file_name": shot.named}
        if "sizeless" not in odd:
            sides = {"width": shot.width, "height": shot.height}
            entry |= {side: f"{v}" if "text sizes" in odd else v for side, v in sides.items()}
        images += [entry] * (2 if "listed twice" in odd else 1)
        for label, corners in shot.boxes * (2 if "doubles" in odd else 1):
            kind = first + labels.index(label)
            owner = {"image_id": spell(number), "category_id": kind if "large ids" in odd else spell(kind)}
            annotations.append(owner | _outline(shot, corners, odd) | {"id": len(annotations), "iscrowd": 0})
    rng.shuffle(annotations)
    above = "things" if "root" in odd else "none"
    categories = [{"id": first + n, "name": label, "supercategory": above} for n, label in enumerate(labels)]
    if "root" in odd:
        categories.insert(0, {"id": 99, "name": "things", "supercategory": "none"})
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, shots: Sequence[Shot], odd: set[str], rng: Random) -> None:
    """The set, in one JSON or one a part."""
    parted = any(shot.part for shot in shots)
    place = rng.choice(COCO_PLACES[:3]) if parted else "one"
    labels = sorted({label for shot in shots for label, _ in shot.boxes})
    for seed, shot in enumerate(shots):
        folder = {"by part": f"{shot.part}2017", "images by part": f"images/{shot.part}", "roboflow": f"{shot.part}",
                  "one": rng.choice(("images", "pictures", ""))}[place]  # fmt: skip
        draw(root / folder, shot, seed)
        if place == "one" and folder == "pictures" and "/" in shot.named:
            shot.named = PurePosixPath(shot.named.replace("\\", "/")).name
    for part in sorted({shot.part or "" for shot in shots}):
        own = [shot for shot in shots if (shot.part or "") == part]
        name = {"roboflow": f"{part}/_annotations.coco.json", "one": "annotations/instances.json"}.get(
            place, f"annotations/instances_{part}{'2017' if place == 'by part' else ''}.json"
        )
        put(root / name, coco_json(own, labels, odd, rng))
    if "captions" in odd:
        put(root / "annotations/captions_train.json", {"info": {}, "images": [], "annotations": [{"caption": "a"}]})


WRITERS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "voc": (write_voc, VOC_ODDITIES),
    "coco": (write_coco, COCO_ODDITIES),
}
