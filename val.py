"""Evaluate checkpoints: `python val.py --weights best.pt --data mask.yaml`, or `evaluate(model, loader)` from code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from utils.console.signals import begin_imports, end_imports

if __name__ == "__main__":
    begin_imports()

import torch
from torch import Tensor, nn

from data.datasets import DatasetConfig, load_dataset
from data.index import build_index
from data.loader import ValLoader
from data.store import image_size, open_store
from exporters import ExportedDetector
from models.load import load_detector
from predict.batches import Predictions, evaluation_mode, ground_truth, predictions
from predict.gathered import gathered_predictions
from predict.model import load_network
from utils import config, plots
from utils import device as devices
from utils.classes import check_classes
from utils.config import flag, option
from utils.console import log
from utils.errors import UserError
from utils.files.folders import numbered
from utils.metrics import Metrics, evaluate_boxes
from utils.metrics.coco_json import CocoJson
from utils.metrics.confusion import ConfusionMatrix
from utils.metrics.speed import Speed
from utils.metrics.table import table, write_csv
from utils.observers import Pictures, TextLabels
from utils.ranks import ALONE, Ranks

__all__ = ["Observer", "Predictions", "evaluate", "evaluation_mode", "ground_truth", "load_detector", "predictions"]
LOGGER = logging.getLogger("anneal")
REFUSED = {
    "--augment": "test-time augmentation is not implemented; an ensemble is: --weights a.pt b.pt",
    "--save-hybrid": "labels mixed with predictions would measure the labels; use --save-txt",
    "--dnn": "ONNX files are run by ONNX Runtime",
}


Observer = Callable[[Predictions], None]


def evaluate(
    model: nn.Module,
    loader: ValLoader,
    *,
    conf: float = 0.001,
    iou: float = 0.6,
    max_det: int = 300,
    criterion: Callable | None = None,
    dtype: torch.dtype | None = None,
    single_class: bool = False,
    observers: Sequence[Observer] = (),
    speed: Speed | None = None,
    ranks: Ranks = ALONE,
) -> Metrics:
    """Metrics of `model` on the pictures of `loader`, in original pixels.

    model: a Detector, on its device; its mode comes back as it was. criterion: a loss; `Metrics.losses` then holds its
    three terms, the mean over pictures. dtype: autocast to it. single_class: every box counts as class 0. observers:
    called with each `Predictions`. speed: filled with times. ranks: the processes that share the work; each gets all
    of the results.
    """
    options = {"conf": conf, "iou": iou, "max_det": max_det, "single_class": single_class}
    found: dict[int, tuple[Tensor, Tensor]] = {}  # boxes and targets by the picture's number
    losses: Any = 0
    pictured = max((getattr(observer, "pictured", 0) for observer in observers), default=0)
    more = {"with_images": pictured, "criterion": criterion, "dtype": dtype, "speed": speed}
    for result in gathered_predictions(model, loader, ranks, **more, **options):
        pairs = zip(result.boxes, result.targets, strict=True)
        found.update(zip(result.batch.indices.tolist(), pairs, strict=True))
        if result.losses is not None:
            losses = losses + result.losses * len(result.boxes)
        for observer in observers:
            observer(result)
    pairs = [found[i] for i in sorted(found)]  # the order of batches must not decide between equal scores
    classes = 1 if single_class else model.classes
    metrics = evaluate_boxes([boxes for boxes, _ in pairs], [targets for _, targets in pairs], classes, max_det)
    if criterion is not None and pairs:
        metrics.losses = (losses / len(pairs)).cpu()
    return metrics


@dataclass
class Options:
    """Evaluate checkpoints."""

    weights: list[str] = option([], "checkpoint, or exported file; several checkpoints are evaluated as an ensemble")
    data: str = option("", "data set YAML (default: the one the checkpoint was trained on)")
    imgsz: int | None = option(None, "pixels (default: as it was trained)", aliases=("--img", "--img-size"), low=1)
    batch_size: int = option(32, "pictures per forward pass", aliases=("--batch",), low=1)
    conf_thres: float = option(0.001, "minimum score", low=0, high=1)
    iou_thres: float = option(0.6, "IoU threshold of NMS", low=0, high=1)
    max_det: int = option(300, "maximum number of detections per picture", low=1)
    task: str = option("val", "part of the data; speed: only times", choices=("val", "test", "train", "speed"))
    device: str = option("auto", "auto, cpu, mps, cuda:N")
    workers: int = option(2, "threads that prepare pictures ahead; 0 prepares them in line", low=0)
    single_cls: bool = option(False, "treat all classes as one")
    allow_background: bool = option(False, "use a data set in which no picture has a label file")
    verbose: bool = option(False, "a row for every class")
    save_txt: bool = option(False, "write detections as label files")
    save_conf: bool = option(False, "with --save-txt: their scores too")
    save_json: bool = option(False, "write detections as COCO JSON and run pycocotools on them")
    half: bool = option(False, "half precision: float16 on a GPU, bfloat16 on a CPU that has it")
    noplots: bool = option(False, "draw no plots or sample pictures")
    project: str = option("runs/val", "folder of the evaluations")
    name: str = option("exp", "name of the results folder; a number is appended if it exists")
    exist_ok: bool = option(False, "use the folder of that name again")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, or 2 for a mistake."""
    log.setup()
    try:
        about = {"prog": "val.py", "description": "Evaluate a checkpoint or exported file.", "refused": REFUSED}
        (options,), given = config.parse([Options], argv, **about)
        _check_idle(options, given)
        run(options)
        return 0
    except UserError as error:
        LOGGER.error(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


def _check_idle(options: Options, given: set[str]) -> None:  # flags that would do nothing
    if options.save_conf and not options.save_txt:
        raise UserError("--save-conf goes with --save-txt alone; add that, or leave it out")
    for name in ("conf_thres", "iou_thres", "noplots", "verbose"):
        if options.task == "speed" and name in given:
            raise UserError(f"{flag(name)} does nothing with --task speed; leave it out")


def run(options: Options) -> Metrics:
    """Evaluate as the options say and leave the results in a new folder. Raises UserError."""
    if not options.weights:
        raise UserError("--weights is missing; give a checkpoint, such as runs/train/exp/weights/best.pt")
    model, state = load_network(options.weights, devices.select_device(options.device))
    dataset, loader = _load_data(options, state, model)
    names = ("object",) if options.single_cls else dataset.names
    if not options.single_cls:
        check_classes(model.names, dataset.names, dataset.file)
    if isinstance(model, ExportedDetector) and options.task != "speed":
        model.warn(options.conf_thres, options.iou_thres)
        model.tell_size()
    folder = numbered(options.project, options.name, options.exist_ok)
    timing = options.task == "speed"
    matrix, coco, speed = ConfusionMatrix(len(names)), CocoJson(loader.index.files, loader.index.shapes, names), Speed()
    observers: list[Observer] = [coco] if options.save_json else []
    if options.save_txt:
        observers.append(TextLabels(folder / "labels", loader.index.files, loader.index.shapes, options.save_conf))
    if not (options.noplots or timing):
        observers += [matrix, Pictures(folder, names)]
    metrics = evaluate(
        model,
        loader,
        conf=0.25 if timing else options.conf_thres,
        iou=0.45 if timing else options.iou_thres,
        max_det=options.max_det,
        dtype=devices.half_precision(options.half, next(model.parameters()).device),
        single_class=options.single_cls,
        observers=observers,
        speed=speed,
    )
    if timing:
        speed.write_csv(folder / "speed.csv")
    else:
        LOGGER.info(table(metrics, names, options.verbose))
        write_csv(metrics, names, folder / "metrics.csv")
    if options.save_json:
        coco.finish(folder, options.max_det)
    if not (options.noplots or timing):
        plots.curves(metrics, names, folder)
        plots.confusion(matrix.matrix, names, folder / "confusion_matrix.png")
    LOGGER.info(f"{speed}\nresults are in {folder}")
    return metrics


def _load_data(options: Options, state: dict, model: nn.Module) -> tuple[DatasetConfig, ValLoader]:
    dataset = load_dataset(options.data or state.get("data") or "")
    part = "val" if options.task == "speed" else options.task
    if not (sources := getattr(dataset, part)):
        raise UserError(f"{dataset.file}: has no '{part}:'; add it, or choose another --task")
    size = image_size(options.imgsz or state.get("imgsz") or 640, model.max_stride)
    given = {"single_class": options.single_cls, "allow_background": options.allow_background or part != options.task}
    common = {"root": dataset.root, "poses": dataset.poses, "desc": part}
    index = build_index(sources, dataset.classes, **common, **given)
    store = open_store(index, size, "none", next(model.parameters()).device, desc=part)
    shape = {"batch_size": options.batch_size, "size": size, "stride": model.max_stride}
    return dataset, ValLoader(index, store, workers=options.workers, rect=state.get("rect", True), **shape)


if __name__ == "__main__":
    end_imports()
    sys.exit(main())
