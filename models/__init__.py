"""Detectors and what they minimise: `build` makes one, `loss.DetectionLoss` trains it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models import layout
from models.detector import Detect, Detector
from models.parts import frozen_names
from utils.errors import UserError

__all__ = ["Detect", "Detector", "build", "describe", "freeze", "transfer"]


def build(
    cfg: str | Path | dict[str, Any],
    classes: int,
    *,
    anchors: Sequence[Sequence[float]] | None = None,
    channels: int = 3,
) -> Detector:
    """A detector with fresh weights for `classes` classes.

    `cfg` is a name such as "yolov5n", a path to a YAML, or a description as `Detector.layout` holds it. `anchors`:
    one list a map of widths and heights in pixels, or None for the layout's own. Raises UserError for an unknown name
    or a YAML that does not fit the schema.
    """
    if classes < 1:
        raise UserError(f"a detector needs at least one class, got {classes}; check names in the data YAML")
    spec = cfg if isinstance(cfg, dict) else layout.read(cfg)
    plan = layout.load(spec, channels)
    if anchors is not None:
        plan = replace(plan, anchors=layout.check_anchors("anchors", anchors, len(plan.outputs)))
    return Detector(plan, classes, spec)


def transfer(model: Detector, state: dict[str, Tensor]) -> tuple[int, int]:
    """Copy the entries of `state` whose name and shape the model has.

    Returns how many parameters fit, and how many there are. Where under a tenth fit, nothing is copied: it is another
    network's state, whose counters and anchors alone would fit.
    """
    own = model.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    learned = [name for name, _ in model.named_parameters()]
    fit = sum(name in fitting for name in learned)
    if fit >= len(learned) / 10:
        model.load_state_dict(fitting, strict=False)
    return fit, len(learned)


def freeze(model: Detector, layers: Iterable[int | str]) -> int:
    """Stop training parts of a network, whose BatchNorm then keeps its statistics as well.

    `layers`: numbers, names or patterns (`models.parts`); one number N means the first N layers. Returns how many
    parameters are frozen. What the layout does not have is a UserError.
    """
    frozen = set(frozen_names(model, map(str, layers)))
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)


def describe(model: Detector, size: int) -> str:
    """One line: layers, parameters, and the floating-point operations of one picture of `size` by `size` pixels."""
    shadow = copy.deepcopy(model).to("meta").eval()
    weight = next(shadow.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(torch.empty(1, 3, size, size, device="meta", dtype=weight.dtype))
    flops = counter.get_total_flops() / 1e9
    return f"{model.cfg}: {model.layers} layers, {model.parameter_count:,} parameters, {flops:.1f} GFLOPs at {size} px"
