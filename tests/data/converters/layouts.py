"""Small sets written in every layout as the tools write them, and what a converted set holds, picture by picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import cv2
import numpy as np
import yaml

Boxes = tuple[tuple[str, tuple[float, float, float, float]], ...]


@dataclass(frozen=True)
class Shot:
    """A picture of a set: where it lies, what the annotation calls it, its size, boxes in pixels and split."""

    path: str
    named: str
    width: int
    height: int
    boxes: Boxes
    split: str | None = None


def shot(path: str, *boxes: tuple, named: str | None = None, size: tuple[int, int] = (40, 30), split=None) -> Shot:
    return Shot(path, path if named is None else named, *size, tuple((b[0], tuple(b[1:])) for b in boxes), split)


def draw(root: Path, shots: list[Shot]) -> dict[bytes, Shot]:
    """Write the pictures, no two alike; the bytes of each."""
    made = {}
    for number, one in enumerate(shots):
        noise = np.random.default_rng(number).integers(0, 255, (one.height, one.width, 3), np.uint8)
        file = root / one.path
        file.parent.mkdir(parents=True, exist_ok=True)
        data = cv2.imencode(file.suffix.lower(), noise)[1].tobytes()
        file.write_bytes(data)
        made[data] = one
    return made


def put(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    file.write_bytes(text.encode("utf-8"))


def converted(out: Path) -> dict[bytes, tuple[str, Boxes]]:
    """Of each picture of a converted set, by its bytes: its part of the split and its boxes in pixels."""
    names = yaml.safe_load((out / "data.yaml").read_text("utf-8"))["names"]
    found = {}
    for file in sorted((out / "images").rglob("*")):
        if file.is_dir():
            continue
        data = file.read_bytes()
        height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
        part = file.parent.name
        rows = [line.split() for line in (out / "labels" / part / f"{file.stem}.txt").read_text("utf-8").splitlines()]
        assert data not in found
        found[data] = part, tuple(_pixels(row, names, width, height) for row in rows)
    return found


def _pixels(row: list[str], names: dict[int, str], width: int, height: int) -> tuple[str, tuple[float, ...]]:
    cx, cy, w, h = (float(v) for v in row[1:])
    corners = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
    return str(names[int(row[0])]), corners


def same(got: Boxes, want: Boxes, within: float = 2e-3) -> bool:
    """Whether two lists hold the same boxes in any order; boxes given twice count once."""
    left = sorted({(label, *(round(v, 1) for v in corners)) for label, corners in want})
    right = sorted({(label, *(round(v, 1) for v in corners)) for label, corners in got})
    close = len(left) == len(right) and all(
        a[0] == b[0] and all(abs(x - y) <= 0.1 + within for x, y in zip(a[1:], b[1:], strict=True))
        for a, b in zip(left, right, strict=True)
    )
    return close


def classes(shots: list[Shot]) -> list[str]:
    return sorted({label for one in shots for label, _ in one.boxes})


def yolo_row(index: int, corners: tuple, width: int, height: int) -> str:
    x1, y1, x2, y2 = corners
    values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return " ".join((str(index), *(f"{value:.6f}" for value in values)))


def write_yolo(root: Path, shots: list[Shot], place: Callable[[PurePosixPath], PurePosixPath] | None = None) -> None:
    """Labels beside the pictures or, with `place`, where it puts them; classes.txt."""
    names = classes(shots)
    for one in shots:
        path = PurePosixPath(one.path)
        rows = [yolo_row(names.index(label), corners, one.width, one.height) for label, corners in one.boxes]
        put(root / (place(path) if place else path).with_suffix(".txt"), "".join(f"{row}\n" for row in rows))
    put(root / "classes.txt", "\n".join(names) + "\n")


def write_darknet(root: Path, shots: list[Shot]) -> None:
    """As CVAT exports YOLO 1.1: obj.data, obj.names, train.txt with the paths of the exporting machine."""
    write_yolo(root, shots)
    (root / "classes.txt").rename(root / "obj.names")
    lines = [f"classes = {len(classes(shots))}", "names = data/obj.names", "backup = backup/"]
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        listed = [one for one in shots if one.split == split]
        if listed:
            put(root / f"{name}.txt", "".join(f"data/{one.path}\n" for one in listed))
            lines.append(f"{name} = data/{name}.txt")
    put(root / "obj.data", "\n".join(lines) + "\n")


def write_labelme(root: Path, shots: list[Shot]) -> None:
    for number, one in enumerate(shots):
        shapes = [
            {"label": label, "points": [[x2, y1], [x1, y2]], "group_id": None, "shape_type": "rectangle", "flags": {}}
            for label, (x1, y1, x2, y2) in one.boxes
        ]
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": one.named, "imageData": None,
                   "imageHeight": one.height, "imageWidth": one.width}  # fmt: skip
        put((root / one.path).with_name(f"{number}_{PurePosixPath(one.path).stem}.json"), content)


def write_cvat(root: Path, shots: list[Shot]) -> None:
    labels = "".join(f"<label><name>{escape(name)}</name><attributes/></label>" for name in classes(shots))
    images = ""
    for number, one in enumerate(shots):
        shapes = "".join(
            f'<box label={quoteattr(label)} source="manual" occluded="0" xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" '
            f'ybr="{y2:.2f}" z_order="0"></box>'
            for label, (x1, y1, x2, y2) in one.boxes
        )
        subset = f" subset={quoteattr(one.split.title())}" if one.split else ""
        name = quoteattr(one.named)
        images += f'<image id="{number}" name={name}{subset} width="{one.width}" height="{one.height}">{shapes}</image>'
    meta = f"<meta><project><labels>{labels}</labels></project></meta>"
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    put(root / "annotations.xml", f"{head}<annotations><version>1.1</version>{meta}{images}</annotations>")


def _percent(one: Shot, label: str, corners: tuple) -> dict[str, Any]:
    x1, y1, x2, y2 = corners
    return {"x": x1 / one.width * 100, "y": y1 / one.height * 100, "width": (x2 - x1) / one.width * 100,
            "height": (y2 - y1) / one.height * 100, "rotation": 0, "rectanglelabels": [label]}  # fmt: skip


def write_label_studio(root: Path, shots: list[Shot], url: str = "/data/local-files/?d=") -> None:
    tasks = []
    for number, one in enumerate(shots, 1):
        result = [
            {"id": f"r{k}", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "image_rotation": 0,
             "original_width": one.width, "original_height": one.height, "value": _percent(one, *box)}
            for k, box in enumerate(one.boxes)
        ]  # fmt: skip
        annotation = {"id": number, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False,
                      "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z"}  # fmt: skip
        tasks.append({"id": number, "annotations": [annotation], "drafts": [], "predictions": [],
                      "data": {"image": url + one.named}, "meta": {}})  # fmt: skip
    put(root / "project-1.json", tasks)


def write_label_studio_min(root: Path, shots: list[Shot], url: str = "") -> None:
    put(root / "project-1-min.json", [
        {"image": url + one.named, "id": number, "annotator": 1, "annotation_id": number, "lead_time": 2.5,
         "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z",
         "label": [{**_percent(one, *box), "original_width": one.width, "original_height": one.height}
                   for box in one.boxes]}
        for number, one in enumerate(shots, 1)
    ])  # fmt: skip


def _via_regions(one: Shot) -> list[dict[str, Any]]:
    return [
        {"shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
         "region_attributes": {"class": label}}
        for label, (x1, y1, x2, y2) in one.boxes
    ]  # fmt: skip


def write_via(root: Path, shots: list[Shot]) -> None:
    entries = {f"{one.named}{100 + n}": {"filename": one.named, "size": 100 + n, "regions": _via_regions(one),
                                         "file_attributes": {}} for n, one in enumerate(shots)}  # fmt: skip
    put(root / "via_project.json", {"_via_settings": {}, "_via_img_metadata": entries, "_via_attributes": {}})


def write_via_csv(root: Path, shots: list[Shot]) -> None:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
                   "region_attributes"])  # fmt: skip
    for size, one in enumerate(shots, 100):
        regions = _via_regions(one)
        for number, region in enumerate(regions):
            rows.writerow([one.named, size, "{}", len(regions), number, json.dumps(region["shape_attributes"]),
                           json.dumps(region["region_attributes"])])  # fmt: skip
        if not regions:
            rows.writerow([one.named, size, "{}", 0, 0, "{}", "{}"])
    put(root / "via_export.csv", text.getvalue())


def write_csv(root: Path, shots: list[Shot]) -> None:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"])
    for one in shots:
        rows.writerows([one.named, one.width, one.height, label, *corners] for label, corners in one.boxes)
    put(root / "labels.csv", text.getvalue())


def write_createml(root: Path, shots: list[Shot]) -> None:
    entries = []
    for one in shots:
        boxes = [
            {
                "label": label,
                "coordinates": {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "width": x2 - x1, "height": y2 - y1},
            }
            for label, (x1, y1, x2, y2) in one.boxes
        ]
        entries.append({"image": one.named, "annotations": boxes})
    put(root / "_annotations.createml.json", entries)


def write_supervisely(root: Path, shots: list[Shot]) -> None:
    """Pictures must lie in DATASET/img."""
    for one in shots:
        objects = [{"id": 1, "classTitle": label, "geometryType": "rectangle", "tags": [],
                    "points": {"exterior": [[x1, y1], [x2, y2]], "interior": []}}
                   for label, (x1, y1, x2, y2) in one.boxes]  # fmt: skip
        content = {
            "description": "",
            "tags": [],
            "size": {"height": one.height, "width": one.width},
            "objects": objects,
        }
        path = PurePosixPath(one.path)
        put(root / path.parent.with_name("ann") / f"{path.name}.json", content)
    put(root / "meta.json", {"classes": [{"title": name, "shape": "rectangle"} for name in classes(shots)], "tags": []})
