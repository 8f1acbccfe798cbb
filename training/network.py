"""The network of a run: which one, what it starts from, its anchors, and the layers that stay as they are."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

import models
from data.index import Index
from models.anchors import fit_anchors
from models.head_rows import transfer_rows
from models.layout import read
from models.load import layout_of
from training.options import Options
from utils import checkpoint
from utils import device as devices
from utils.console.wording import counted
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")


def from_weights(options: Options) -> bool:
    """Whether the network is the one that the weights describe: --weights without --cfg."""
    return bool(options.run.weights) and "cfg" not in options.given


def starting_weights(options: Options) -> dict[str, Any] | None:
    """What `checkpoint.load_weights` reads of --weights; None without. Raises UserError."""
    return checkpoint.load_weights(options.run.weights) if options.run.weights else None


def choose(options: Options, weights: dict[str, Any] | None) -> dict[str, Any]:
    """The description of a new run's network: that of --cfg, or of the weights. Writes its name into the options."""
    run = options.run
    if not from_weights(options):
        return read(run.cfg)
    layout = layout_of(weights, run.weights)
    run.cfg = layout["name"]
    LOGGER.info(f"network: {run.cfg}, from {run.weights}; --cfg chooses another")
    return layout


def build_model(
    options: Options,
    names: tuple[str, ...],
    train_index: Index,
    device: torch.device,
    layout: dict[str, Any],
    weights: dict[str, Any] | None = None,
    resumed: bool = False,
) -> models.Detector:
    """The network on its device: seeded, weights transferred, anchors fitted, layers frozen.

    Of a `resumed` run weights and anchors will be put back.
    """
    run = options.run
    torch.manual_seed(run.seed)
    model = models.build(layout, classes=len(names))
    model.names = names
    if weights is not None:
        start_from(model, weights, run.weights)
    if not resumed:
        _fit_anchors(model, options, train_index, estimated=type(layout["detect"]["anchors"]) is int)
    if run.freeze:
        _freeze(model, options)
    side = -(-run.imgsz // model.max_stride) * model.max_stride
    try:
        LOGGER.info(models.describe(model, side))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--cfg {model.cfg}: its layers do not fit together ({reason}); correct it") from None
    return devices.placed(model, device)


def _freeze(model: models.Detector, options: Options) -> None:
    """Freeze what --freeze names, and say how much; what is thawed later is frozen at the beginning of each epoch."""
    run = options.run
    frozen = models.freeze(model, run.freeze)
    thawed = f", for {counted(run.freeze_epochs, 'epoch')} (--freeze-epochs)" if run.freeze_epochs else ""
    LOGGER.info(f"frozen: {counted(frozen, 'value')} (--freeze){thawed}")
    if not any(p.requires_grad for p in model.parameters()):
        raise UserError(f"--freeze {' '.join(run.freeze)}: nothing is left to train; freeze fewer layers")
    if run.freeze_epochs:
        model.requires_grad_(True)  # the optimizer has all of it from the start


def start_from(model: models.Detector, weights: dict[str, Any], path: str) -> None:
    """Copy what fits of a checkpoint's weights into the model, and say how much did, and why not the rest."""
    moved, total = models.transfer(model, weights["ema"])
    other = _other_network(model, weights, path)
    if moved < total / 10:
        found = f"{moved} of {total} tensors fit {model.cfg}{other}"
        raise UserError(f"--weights {path}: {found}; give the --cfg it was trained with, or leave --cfg out")
    line = f"weights: {moved} of {total} tensors taken from {path}"
    if other:
        LOGGER.warning(f"{line}{other}, so only what fits was copied; without --cfg its own network is trained")
    elif moved < total and weights["classes"] != model.classes:
        LOGGER.info(f"{line}; {_kept_of_head(model, weights)}")
    else:
        LOGGER.info(line)


def _kept_of_head(model: models.Detector, weights: dict[str, Any]) -> str:
    """Take the head's rows that mean the same for other classes; says which."""
    heads = f"for {counted(model.classes, 'class', 'classes')} in place of {weights['classes']}"
    found, same = transfer_rows(model, weights["ema"], weights["names"])
    if not found:
        return f"the head starts from scratch, {heads}"
    classes = f"the classes {', '.join(same[:5])}{', ...' if len(same) > 5 else ''}" if same else "no class"
    return f"the head keeps box, objectness and {classes}, {heads}"


def _other_network(model: models.Detector, weights: dict[str, Any], path: str) -> str:
    """`; it holds yolov5n`, where the weights are of another network than the model; else nothing."""
    try:
        theirs = layout_of(weights, path)
    except UserError:
        return ""
    with torch.device("meta"):
        shapes = {n: p.shape for n, p in models.build(theirs, classes=model.classes).named_parameters()}
    own = {n: p.shape for n, p in model.named_parameters()}
    return f"; it holds {theirs['name']}" if shapes != own else ""


def _fit_anchors(model: models.Detector, options: Options, index: Index, estimated: bool) -> None:
    """--noautoanchor leaves them; a layout that gives their number alone needs them estimated."""
    run = options.run
    if run.noautoanchor:
        if estimated and not run.weights:
            raise UserError(f"--noautoanchor: {model.cfg} gives a number of anchors, not their sizes; leave it out")
        return
    anew = estimated and not run.weights
    sizes = training_sizes(index, run.imgsz)
    LOGGER.info(fit_anchors(model, sizes, anchor_t=options.hyp.anchor_t, seed=run.seed, anew=anew))


def training_sizes(index: Index, size: int) -> np.ndarray:
    """(N, 2) widths and heights of all boxes in pixels at the training size."""
    scaled = index.shapes[:, ::-1] * (size / index.shapes.max(1, keepdims=True))
    sizes = [index.labels[i][:, 3:5] * scaled[i] for i in range(len(index))]
    return np.concatenate(sizes) if sizes else np.zeros((0, 2))
