"""The hyper-parameters, under the names that --hyp files have."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from utils.config import option

BY_AUTO = "chosen by --hyp auto; {} with --hyp yolov5"  # what --help says of an option that `training.auto` decides


def rate(text: str) -> float | str:
    """A rate as a number, or `find`. Raises argparse.ArgumentTypeError for other text."""
    if text == "find":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'find'") from None


@dataclass
class Hyp:
    """Hyper-parameters (flags beat --hyp, which beats the optimizer's own defaults)."""

    lr0: float | str | None = option(
        None,
        "base learning rate, or 'find': run an LR range test first and use its result (see lr_find.py)",
        type=rate,
        default_help=BY_AUTO.format("the optimizer's own"),
    )
    lrf: float = option(0.01, "final rate as a fraction of the first, for policies that have one")
    momentum: float | None = option(None, "momentum, or Adam's first beta (default: the optimizer's)")
    weight_decay: float | None = option(None, "weight decay (default: the optimizer's)")
    warmup_epochs: float = option(3.0, "epochs of warm-up", default_help=BY_AUTO)
    warmup_momentum: float = option(0.8, "momentum at the start of the warm-up")
    warmup_bias_lr: float | None = option(None, "rate of the biases at the start of the warm-up")
    box: float = option(0.05, "gain of the box loss")
    cls: float = option(0.5, "gain of the class loss", default_help=BY_AUTO)
    cls_pw: float = option(1.0, "weight of positives in the class loss")
    obj: float = option(1.0, "gain of the objectness loss")
    obj_pw: float = option(1.0, "weight of positives in the objectness loss")
    anchor_t: float = option(4.0, "largest ratio of a box's side to its anchor's")
    fl_gamma: float = option(0.0, "gamma of the focal loss; 0 is plain cross-entropy")
    label_smoothing: float = option(0.0, "label smoothing of the class term")
    hsv_h: float = option(0.015, "hue shift, as a share")
    hsv_s: float = option(0.7, "saturation change, as a share")
    hsv_v: float = option(0.4, "brightness change, as a share")
    degrees: float = option(0.0, "rotation in degrees, either way")
    translate: float = option(0.1, "shift, as a share of the size")
    scale: float = option(0.5, "scale change, as a share")
    shear: float = option(0.0, "shear in degrees, either way")
    perspective: float = option(0.0, "perspective, as a share; 0 to 0.001")
    flipud: float = option(0.0, "probability of a flip upside down")
    fliplr: float = option(0.5, "probability of a flip left to right")
    mosaic: float = option(1.0, "probability of a mosaic of four pictures")
    mosaic9: float = option(0.0, "probability that a mosaic is of nine pictures")
    mixup: float = option(0.0, "probability of blending two pictures")
    copy_paste: float = option(0.0, "must be 0; kept so that YOLOv5's files load")
