"""Checkpoints in other formats, each run once: `python export.py --weights best.pt --include onnx openvino`."""

from __future__ import annotations

import datetime
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.console.signals import begin_imports, end_imports

if __name__ == "__main__":
    begin_imports()

import numpy as np
import torch

import exporters
from data.datasets import load_dataset
from data.index import build_index
from data.loader import ValLoader
from data.store import ImageStore, image_size
from exporters.check import compare
from exporters.formats import Export
from exporters.metadata import MAX_PIXELS
from exporters.pictures import batch_of, most_boxes, some_pictures
from exporters.writing import megabytes, write
from models import Detector
from models.load import load_ensemble
from utils import config
from utils import device as devices
from utils.classes import check_classes
from utils.config import flag, option
from utils.console import log
from utils.errors import UserError
from utils.metrics.speed import Speed
from val import evaluate

LOGGER = logging.getLogger("anneal")
REFUSED = {
    "--keras": "it needs TensorFlow; ONNX is read everywhere",
    "--int8": "quantisation needs calibration, which is not offered; --half halves a file",
    "--optimize": "TorchScript for phones is no longer developed; use onnx or coreml",
    "--inplace": "nothing is computed in place here",
    "--agnostic-nms": "the NMS inside a file keeps classes apart; export without --nms and choose in detect.py",
    "--topk-per-class": "it belongs to TensorFlow; --max-det limits the boxes of a picture",
    "--topk-all": "it belongs to TensorFlow; --max-det limits the boxes of a picture",
    "--workspace": "TensorRT takes up to 4 GiB",
}


@dataclass
class Options:
    """Export a checkpoint."""

    weights: str = option("", "checkpoint")
    include: list[str] = option(["onnx"], "formats", choices=exporters.names)
    imgsz: list[int] = option(
        [], "pixels: one side, or height and width (default: as it was trained)", aliases=("--img", "--img-size")
    )
    batch_size: int = option(
        1, "pictures per run, for a file with a fixed batch size", aliases=("--batch",), low=1, high=4096
    )
    dynamic: bool = option(
        False,
        "any number of pictures of any size in multiples of the stride; so are onnx, torchscript and openvino by "
        "themselves where neither --imgsz nor --batch-size is given",
    )
    half: bool = option(False, "layers in float16: half the size")
    nms: bool = option(False, "NMS inside the file, whose output is then (B, max_det, 6)")
    conf_thres: float = option(0.25, "with --nms: minimum score", low=0, high=1)
    iou_thres: float = option(0.45, "with --nms: IoU threshold", low=0, high=1)
    max_det: int = option(300, "with --nms: rows of the output", low=1, high=100_000)
    opset: int = option(18, "ONNX operator set", low=17, high=23)
    simplify: bool = option(False, "have ONNX Runtime rewrite the ONNX file")
    device: str = option("cpu", "cpu, cuda:N: where it is traced and run")
    out: str = option("", "folder for the files (default: that of the checkpoint)")
    compare: bool = option(False, "a table of size, mAP50-95 and time of the checkpoint and every file")
    data: str = option("", "data set YAML whose validation pictures are used (default: the checkpoint's own)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 where a format failed, 2 for a mistake."""
    log.setup()
    try:
        about = {"prog": "export.py", "description": "Export a checkpoint; see docs/export.md.", "refused": REFUSED}
        (options,), given = config.parse([Options], argv, **about)
        _check_idle(options, given)
        sizes = given & {"imgsz", "batch_size"}
        options.dynamic |= not sizes and all(exporters.get(name).free for name in options.include)
        return run(options)
    except UserError as error:
        LOGGER.error(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


def _check_idle(options: Options, given: set[str]) -> None:
    """Refuse flags that would do nothing."""
    for name in ("conf_thres", "iou_thres", "max_det"):
        if name in given and not options.nms:
            raise UserError(f"{flag(name)} has an effect only with --nms; add that, or leave it out")
    for name in ("opset", "simplify"):
        if name in given and not set(options.include) & {"onnx", "openvino", "engine"}:
            raise UserError(f"--{name} applies only to onnx, openvino and engine; leave it out")


def run(options: Options) -> int:
    """Export as the options say. Returns 0, or 1 where a format failed or differs. Raises UserError."""
    if not options.weights:
        raise UserError("--weights is missing; give a checkpoint, such as runs/train/exp/weights/best.pt")
    if exporters.is_exported(options.weights):
        raise UserError(f"{options.weights}: is an exported file already; give the checkpoint it came from")
    device = devices.select_device(options.device)
    detector, state = load_ensemble([options.weights], device)
    export = Export(detector, _metadata(options, detector, state, device), device, options.opset, options.simplify)
    loader = _validation(options, export.metadata, state) if options.compare else None
    pictures = most_boxes(detector, some_pictures(options.data, state), export.metadata.size, device)
    wanted = [name for name in exporters.names() if name in options.include]
    passed = [name for name in wanted if _export(name, export, options, pictures)]
    if loader is not None:
        LOGGER.info(comparison(export, Path(options.weights), loader))
    return 0 if len(passed) == len(wanted) else 1


def _metadata(options: Options, detector: Detector, state: dict, device: torch.device) -> exporters.Metadata:
    stride = detector.max_stride
    sides = options.imgsz or [state.get("imgsz") or 640]
    if len(sides) > 2 or not all(0 < side <= 16_384 for side in sides):
        raise UserError("--imgsz takes one side or height and width, 1 to 16384 pixels each; correct it")
    sides = [image_size(side, stride) for side in sides]
    if not options.dynamic and options.batch_size * sides[0] * sides[-1] > MAX_PIXELS:
        raise UserError(f"--batch-size and --imgsz amount to over {MAX_PIXELS:,} pixels; lower one, or give --dynamic")
    return exporters.Metadata(
        names=tuple(detector.names),
        stride=stride,
        size=(sides[0], sides[-1]),
        batch=options.batch_size,
        dynamic=options.dynamic,
        half=options.half,
        nms=options.nms,
        conf=options.conf_thres,
        iou=options.iou_thres,
        max_det=options.max_det,
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        source=f"{Path(options.weights).name} ({detector.cfg})",
        device=device.type,
        maps=tuple((int(step), detector.head.anchors.shape[1]) for step in detector.stride),
    )


def _export(name: str, export: Export, options: Options, pictures: Sequence[np.ndarray]) -> bool:
    """Write one format, open what was written, and run it beside the checkpoint. Says how it went."""
    form, weights, clock = exporters.get(name), Path(options.weights), time.perf_counter()
    out = (Path(options.out) if options.out else weights.parent) / (weights.stem + form.suffix)
    try:
        write(form, export, out)
        seconds = time.perf_counter() - clock
        exported = exporters.open_exported(out, export.device)
        LOGGER.info(f"{name}: {out}, {megabytes(out):.1f} MB, written in {seconds:.1f} s")
        same = [_same(export, exported, pictures, batch, size) for batch, size in _tried(export.metadata)]
    except UserError as error:
        LOGGER.error(f"{name}: {error}")
        return False
    except Exception as error:  # the exporters of other projects raise anything
        LOGGER.error(f"{name}: failed, {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return False
    export.made[name] = out
    return all(same)


def _validation(options: Options, facts: exporters.Metadata, state: dict[str, Any]) -> ValLoader:
    """The validation pictures as every format takes them: rectangles where sizes are free, else squares."""
    dataset = load_dataset(options.data or state.get("data") or "mask.yaml")
    check_classes(facts.names, dataset.names, dataset.file)
    if not facts.dynamic and facts.size[0] != facts.size[1]:
        raise UserError("--compare needs files of square or --dynamic size; give --imgsz one number")
    index = build_index(dataset.val, dataset.classes, root=dataset.root, poses=dataset.poses, desc="val")
    store, size = ImageStore(index, max(facts.size), "auto", desc="val"), max(facts.size)
    return ValLoader(index, store, batch_size=facts.batch, size=size, stride=facts.stride, rect=facts.dynamic)


def comparison(export: Export, weights: Path, loader: ValLoader) -> str:
    """A table of the checkpoint and each file made: size, mAP50-95, time of the network alone."""
    lines = [f"{'format':<14}{'MB':>8}{'mAP50-95':>10}{'ms per picture':>16}"]
    for name, path in {"checkpoint": weights, **export.made}.items():
        model = export.detector
        if name != "checkpoint":
            model = exporters.ExportedDetector(exporters.open_exported(path, export.device))
        speed = Speed()
        metrics = evaluate(model, loader, speed=speed)
        milliseconds = 1000 * speed.seconds["inference"] / max(speed.pictures, 1)
        lines.append(f"{name:<14}{megabytes(path):>8.1f}{metrics.map:>10.5f}{milliseconds:>16.2f}")
    return "\n".join(lines)


def _tried(facts: exporters.Metadata) -> list[tuple[int, tuple[int, int]]]:
    """The numbers of pictures and sizes with which a file is run: its own and, where those are free, others."""
    tried = [(facts.batch, facts.size)]
    if facts.dynamic:
        tried += [(3, facts.size), (1, (facts.size[0] + facts.stride, facts.size[1] + 3 * facts.stride))]
    return list(dict.fromkeys(tried))


def _same(
    export: Export, exported: exporters.Exported, pictures: Sequence[np.ndarray], batch: int, size: tuple[int, int]
) -> bool:
    difference = compare(export.detector, exported, batch_of(pictures, batch, size).to(export.device))
    LOGGER.info(f"  {batch} x {size[0]} x {size[1]}: {difference}")
    if not difference.boxes:
        LOGGER.warning("  no boxes to compare; name pictures with objects by --data, or lower --conf-thres")
    if not difference.rounding:
        LOGGER.error(f"{exported.path}: differs from the checkpoint by more than rounding; do not use it")
    return difference.rounding


if __name__ == "__main__":
    end_imports()
    sys.exit(main())
