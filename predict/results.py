"""What a model found on some pictures, in the forms that users of YOLOv5 call it by."""

from __future__ import annotations

import importlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from utils.boxes import xyxy_to_cxcywh
from utils.console.log import printable
from utils.errors import UserError
from utils.files.atomic import write_atomic
from utils.files.folders import numbered
from utils.metrics.coco_json import picture_names
from utils.plots.pictures import annotated

LOGGER = logging.getLogger("anneal")
CORNERS = ("xmin", "ymin", "xmax", "ymax", "confidence", "class", "name")
CENTRES = ("xcenter", "ycenter", "width", "height", "confidence", "class", "name")
FOLDER = "runs/detect/exp"
SHOWN = 16  # pictures in a notebook, at most


@dataclass(eq=False)  # arrays are not equal or unequal as a whole
class Results:
    """Boxes by picture. `results[i]` is that of picture i alone, a slice that of several; iterating gives each of them.

    pictures: (h, w, 3) uint8 RGB each. xyxy: (n, 6) tensors x1, y1, x2, y2, score, class in pixels, by falling score.
    class_names: by number. files: what each picture is called. times: milliseconds a picture by part. largest: height
    and width that the network saw at most.
    """

    pictures: list[np.ndarray]
    xyxy: list[Tensor]
    class_names: tuple[str, ...]
    files: list[str]
    times: dict[str, float] = field(default_factory=dict)
    largest: tuple[int, int] = (0, 0)
    _drawn: list[np.ndarray] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        """Pictures."""
        return len(self.pictures)

    def __getitem__(self, i: int | slice) -> Results:
        chosen = range(len(self))[i]
        places = chosen if isinstance(chosen, range) else [chosen]
        pictures, rows, files = ([each[k] for k in places] for each in (self.pictures, self.xyxy, self.files))
        drawn = self._drawn and [self._drawn[k] for k in places]
        return replace(self, pictures=pictures, xyxy=rows, files=files, _drawn=drawn)

    def __iter__(self) -> Iterator[Results]:
        return (self[i] for i in range(len(self)))

    def tolist(self) -> list[Results]:
        """A `Results` a picture."""
        return list(self)

    @property
    def n(self) -> int:
        """Pictures."""
        return len(self)

    @property
    def names(self) -> dict[int, str]:
        """The classes' names by number."""
        return dict(enumerate(self.class_names))

    @property
    def ims(self) -> list[np.ndarray]:
        """The pictures; once `render` was called, the drawn ones."""
        return self.pictures if self._drawn is None else self._drawn

    @property
    def s(self) -> tuple[int, int, int, int]:
        """(B, 3, H, W) of a tensor that holds all pictures as the network saw them."""
        return len(self), 3, *self.largest

    @property
    def t(self) -> tuple[float, ...]:
        """Milliseconds a picture: to load and prepare, in the network, in NMS."""
        return tuple(self.times.values())

    @property
    def pred(self) -> list[Tensor]:
        """`xyxy`."""
        return self.xyxy

    @property
    def xywh(self) -> list[Tensor]:
        """The same with centre and size instead of corners."""
        return [torch.cat((xyxy_to_cxcywh(rows[:, :4]), rows[:, 4:]), 1) for rows in self.xyxy]

    @property
    def xyxyn(self) -> list[Tensor]:
        """`xyxy` with corners as parts of the picture's width and height."""
        return self._relative(self.xyxy)

    @property
    def xywhn(self) -> list[Tensor]:
        """`xywh` as parts of the picture's width and height."""
        return self._relative(self.xywh)

    def _relative(self, boxes: Sequence[Tensor]) -> list[Tensor]:
        sides = [[*picture.shape[1::-1] * 2, 1, 1] for picture in self.pictures]
        return [rows / rows.new_tensor(side) for rows, side in zip(boxes, sides, strict=True)]

    def pandas(self) -> SimpleNamespace:
        """`xyxy`, `xyxyn`, `xywh`, `xywhn` as lists of DataFrames with the classes' names. UserError without pandas."""
        pandas = _package("pandas", "pandas()")

        def frames(boxes: Sequence[Tensor], columns: Sequence[str]) -> list[Any]:
            tables = ([[*row[:5], int(row[5]), self._name(row[5])] for row in rows.tolist()] for rows in boxes)
            types = dict.fromkeys(columns, float) | {"class": int, "name": str}  # of a table without rows too
            return [pandas.DataFrame(table, columns=columns).astype(types) for table in tables]

        return SimpleNamespace(
            xyxy=frames(self.xyxy, CORNERS),
            xyxyn=frames(self.xyxyn, CORNERS),
            xywh=frames(self.xywh, CENTRES),
            xywhn=frames(self.xywhn, CENTRES),
        )

    def to_json(self) -> str:
        """A list of pictures: file, width, height, and boxes with class, name, score, x1, y1, x2, y2."""
        keys = ("x1", "y1", "x2", "y2", "score")
        pictures = [
            {
                "file": file,
                "width": picture.shape[1],
                "height": picture.shape[0],
                "boxes": [
                    {"class": int(row[5]), "name": self._name(row[5])} | dict(zip(keys, row[:5], strict=True))
                    for row in rows.tolist()
                ],
            }
            for file, picture, rows in zip(self.files, self.pictures, self.xyxy, strict=True)
        ]
        return json.dumps(pictures)

    def to_supervision(self) -> list[Any]:
        """A `supervision.Detections` a picture. UserError without supervision."""
        supervision = _package("supervision", "to_supervision()")
        found = []
        for rows in (rows.cpu().numpy() for rows in self.xyxy):
            numbers = rows[:, 5].astype(int)
            names = {"class_name": np.array([self._name(number) for number in numbers], dtype=str)}
            found.append(supervision.Detections(rows[:, :4], confidence=rows[:, 4], class_id=numbers, data=names))
        return found

    def render(self) -> list[np.ndarray]:
        """The pictures with boxes and names drawn: new arrays (h, w, 3) uint8 RGB, which `ims` gives from then on."""
        self._drawn = self._annotated()
        return self._drawn

    def _annotated(self) -> list[np.ndarray]:
        return [
            annotated(picture, rows[:, [0, 1, 2, 3, 5, 4]].cpu(), self.class_names)
            for picture, rows in zip(self.pictures, self.xyxy, strict=True)
        ]

    def show(self) -> None:
        """Open each drawn picture in the system's viewer."""
        for picture in self._annotated():
            Image.fromarray(picture).show()

    def save(self, save_dir: str | Path = FOLDER, exist_ok: bool = False) -> Path:
        """Write the drawn pictures as JPEG into a folder, numbered where it is taken; returns it."""
        folder = _folder(save_dir, exist_ok)
        for name, picture in zip(picture_names(self.files), self._annotated(), strict=True):
            write_atomic(folder / f"{name}.jpg", _encoded(picture, ".jpg"))
        LOGGER.info(f"{len(self)} pictures are in {folder}")
        return folder

    def crop(self, save: bool = True, save_dir: str | Path = FOLDER, exist_ok: bool = False) -> list[dict[str, Any]]:
        """Each box cut out: dictionaries with `file`, `box`, `conf`, `cls`, `label` and `im`, (h, w, 3) uint8 RGB.

        With `save` also as JPEG in `crops/CLASS/` of a folder, as in `save`. A box under a pixel has no picture.
        """
        folder = _folder(save_dir, exist_ok) if save else None
        crops = []
        for name, part in zip(picture_names(self.files), self, strict=True):
            picture, rows = part.pictures[0], part.xyxy[0]
            for number, row in enumerate(rows.tolist()):
                x1, y1, x2, y2 = (round(side) for side in row[:4])
                cut, label = picture[max(y1, 0) : y2, max(x1, 0) : x2], self._name(row[5])
                if not cut.size:
                    continue
                facts = {"file": part.files[0], "box": row[:4], "conf": row[4], "cls": int(row[5]), "label": label}
                crops.append(facts | {"im": cut.copy()})
                if folder is not None:
                    place = folder / "crops" / _plain(label)
                    place.mkdir(parents=True, exist_ok=True)
                    write_atomic(place / f"{name}_{number}.jpg", _encoded(cut, ".jpg"))
        return crops

    def print(self) -> None:
        """Say what was found."""
        print(printable(str(self)))

    def __str__(self) -> str:
        lines = []
        for place, (file, picture, rows) in enumerate(zip(self.files, self.pictures, self.xyxy, strict=True), 1):
            counts = Counter(int(number) for number in rows[:, 5].tolist())
            found = ", ".join(f"{count} {self._name(number)}" for number, count in sorted(counts.items()))
            size = f"{picture.shape[1]}x{picture.shape[0]}"
            lines.append(f"picture {place}/{len(self)} {file}: {size}, {found or 'nothing found'}")
        if self.times:
            lines.append(", ".join(f"{ms:.1f} ms {part}" for part, ms in self.times.items()) + " per picture")
        return "\n".join(lines)

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: the drawn pictures, one below the other."""
        drawn = self._annotated()[:SHOWN]
        if not drawn:
            return None
        width = max(picture.shape[1] for picture in drawn)
        rows = [np.pad(each, ((0, 4), (0, width - each.shape[1]), (0, 0)), constant_values=255) for each in drawn]
        return _encoded(np.concatenate(rows), ".png")

    def _name(self, number: float) -> str:
        return self.class_names[int(number)]


def _package(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{what} needs {name}; pip install {name}") from None


def _folder(save_dir: str | Path, exist_ok: bool) -> Path:
    folder = Path(save_dir)
    return numbered(folder.parent, folder.name, exist_ok)


def _plain(name: str) -> str:
    """A class's name as that of a folder, which stays where it is put."""
    return "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name).lstrip(".") or "_"


def _encoded(picture: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
