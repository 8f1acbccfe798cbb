"""Boxes of detect.py beside those of val.py's path: pictures, a video of them, any batch, and exported files.

python -m benchmarks.same_boxes --weights best.pt yolov5n.pt --pictures path/to/images --out same_boxes.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

import detect
import export
import exporters
import val
from benchmarks import machine
from data.index import build_index
from data.loader import ValLoader
from data.pictures import SUFFIXES, decode
from data.store import ImageStore
from exporters.formats import Export
from models.load import load_detector
from predict import batches
from utils.nms import non_max_suppression

CONF, IOU, MAX_DET = 0.25, 0.45, 300
FORMATS = ("onnx", "torchscript", "openvino")
SIZES, BATCHES = (320, 416), (1, 3, 8)
FIXED = ((1, 320), (3, 416), (8, 320))  # batch and size of files that take no others
PIXELS, SCORE = 0.05, 1e-3  # boxes further apart are not the same
FLAGS = f"--conf-thres {CONF} --iou-thres {IOU} --max-det {MAX_DET} --device cpu --nosave --save-json --exist-ok"
Boxes = dict[str, Tensor]  # by picture: (n, 6) x1, y1, x2, y2, score, class


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--pictures", required=True, help="folder")
    parser.add_argument("--few", type=int, default=64, help="pictures for exported files but once a format")
    parser.add_argument("--data", help="YAML of the first weights' classes, for mAP")
    parser.add_argument("--out", required=True)
    options = parser.parse_args(argv)
    files = sorted(file for file in Path(options.pictures).iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        parser.error(f"{options.pictures}: no pictures in it")
    rows: list[dict[str, Any]] = []
    maps = dict(map_of(options.weights[0], options.data)) if options.data else {}
    with tempfile.TemporaryDirectory() as folder:
        every = linked(Path(folder, "all"), files)
        few = linked(Path(folder, "few"), files[:: max(1, len(files) // options.few)])
        for weights in options.weights:
            for row in itertools.chain(of_checkpoint(weights, every), of_files(weights, every, few)):
                rows.append({"weights": Path(weights).name} | row)
                print(rows[-1], flush=True)
    results = {"conf": CONF, "iou": IOU, "matched_within": [PIXELS, SCORE], "map50_95": maps, "cases": together(rows)}
    machine.write(Path(options.out), results)


def together(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for all batches and sizes of a file: sums, and the largest differences."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        kind = {key: row[key] for key in ("weights", "source", "file", "nms", "free") if key in row}
        none = {"shapes": "", "boxes": 0, "unmatched": 0, "pixels": 0.0, "score": 0.0}
        case = found.setdefault(tuple(kind.items()), kind | none)
        case["shapes"] = f"{case['shapes']} {row['batch']}x{row['size']}".strip()
        for key in ("boxes", "unmatched"):
            case[key] += row[key]
        for key in ("pixels", "score"):
            case[key] = max(case[key], row[key])
    return list(found.values())


def linked(folder: Path, files: Sequence[Path]) -> Path:
    """A folder of links to some pictures."""
    (folder / "images").mkdir(parents=True)
    for file in files:
        (folder / "images" / file.name).symlink_to(file.resolve())
    return folder / "images"


def of_checkpoint(weights: str, pictures: Path) -> Iterator[dict[str, Any]]:
    """detect.py with a checkpoint on pictures and on a lossless video of those of one size."""
    expected = validated(weights, pictures, SIZES[0])
    video, names = filmed(pictures)
    for batch in (1, 5, 8):
        for source in (pictures, video):
            found, wanted = detected(weights, source, f"--imgsz {SIZES[0]} --batch-size {batch}"), expected
            if source is video:
                wanted = {f"video_{number:06d}": expected[name] for number, name in enumerate(names)}
            what = "video" if source is video else "pictures"
            yield {"source": what, "batch": batch, "size": SIZES[0]} | differences(wanted, found)


def of_files(weights: str, every: Path, few: Path) -> Iterator[dict[str, Any]]:
    """detect.py with exported files: free sizes in val.py's rectangles, fixed ones in its squares."""
    expected: dict[tuple[Any, ...], Boxes] = {}
    for nms, shape in itertools.product((False, True), (None, *FIXED)):
        for path in exported(weights, nms, shape):
            for batch, size in itertools.product(BATCHES, SIZES) if shape is None else [shape]:
                pictures = every if (nms, shape, batch, size) == (False, None, max(BATCHES), SIZES[0]) else few
                key = (pictures, size, shape is None)
                if key not in expected:
                    expected[key] = validated(weights, pictures, size, rect=shape is None)
                found = detected(path, pictures, f"--batch-size {batch} --imgsz {size}")
                case = {"source": "pictures", "file": path.name, "nms": nms, "free": shape is None}
                yield case | {"batch": batch, "size": size} | differences(expected[key], found)


def exported(weights: str, nms: bool, shape: tuple[int, int] | None) -> Iterator[Path]:
    """A file of each format, for a batch and size, or for any."""
    detector = load_detector(weights)
    batch, size = shape or (1, SIZES[0])
    facts = exporters.Metadata(detector.names, 32, (size, size), batch, dynamic=shape is None, nms=nms)
    made: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            form = exporters.get(name)
            made[name] = Path(folder) / f"best{form.suffix}"
            form.write(Export(detector, facts, torch.device("cpu"), made=dict(made)), made[name])
            yield made[name]


def validated(weights: str, pictures: Path, size: int, rect: bool = True) -> Boxes:
    """What val.py's path finds; of each box its best class alone, as detect.py has it."""
    model = load_detector(weights)
    index = build_index([pictures], model.classes, root=pictures, cache=False)
    loader = ValLoader(index, ImageStore(index, size, cache="none"), batch_size=16, size=size, rect=rect)
    batches.non_max_suppression = lambda decoded, **given: non_max_suppression(
        decoded, **given | {"multi_label": False}
    )
    found: Boxes = {}
    for result in batches.predictions(model, loader, conf=CONF, iou=IOU, max_det=MAX_DET):
        for place, boxes in zip(result.batch.indices.tolist(), result.boxes, strict=True):
            found[Path(index.files[place]).stem] = boxes
    return found


def detected(weights: object, source: Path, flags: str) -> Boxes:
    """What detect.py writes into predictions.json."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        words = ["--weights", str(weights), "--source", str(source), "--project", folder, "--name", "out"]
        assert detect.main([*words, *FLAGS.split(), *flags.split()]) == 0
        rows = json.loads(Path(folder, "out", "predictions.json").read_text())
    found: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        x, y, width, height = row["bbox"]
        found[row["image_id"]].append([x, y, x + width, y + height, row["score"], row["category_id"]])
    return {name: torch.tensor(boxes) for name, boxes in found.items()}


def map_of(weights: str, data: str) -> Iterator[tuple[str, float]]:
    """val.py's mAP50-95 of a checkpoint and of the files that a plain export makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        assert export.main(["--weights", weights, "--include", *FORMATS, "--out", folder, "--data", data]) == 0
        made = [Path(folder, Path(weights).stem + exporters.get(name).suffix) for name in FORMATS]
        for path in (Path(weights), *made):
            words = f"--weights {path} --data {data} --device cpu --noplots --project {folder}/val --exist-ok"
            assert val.main(words.split()) == 0
            table = Path(folder, "val", "exp", "metrics.csv").read_text().splitlines()
            yield path.name, float(table[1].split(",")[-1])


def filmed(pictures: Path) -> tuple[Path, list[str]]:
    """A lossless video of the pictures of the commonest size, and their names."""
    decoded = {file.stem: decode(file) for file in sorted(pictures.iterdir())}
    common = Counter(picture.shape for picture in decoded.values()).most_common(1)[0][0]
    frames = {name: picture for name, picture in decoded.items() if picture.shape == common}
    path = pictures.parent / "video.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *common[:2], "bgr0"
        for picture in frames.values():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return path, list(frames)


def differences(expected: Boxes, found: Boxes) -> dict[str, Any]:
    """The largest differences of boxes that are the same, and how many have no such counterpart."""
    pixels = score = 0.0
    count = alone = 0
    for name, rows in expected.items():
        others = found.get(name, torch.zeros(0, 6))
        apart = (rows[:, None] - others).abs()
        corners, scores = apart[..., :4].amax(2), apart[..., 4]
        same = (corners <= PIXELS) & (scores <= SCORE) & (apart[..., 5] == 0)
        count += len(rows)
        alone += int((~same.any(1)).sum() + (~same.any(0)).sum())
        if same.any():
            pixels, score = max(pixels, corners[same].max().item()), max(score, scores[same].max().item())
    return {"pictures": len(expected), "boxes": count, "unmatched": alone, "pixels": pixels, "score": score}


if __name__ == "__main__":
    main()
