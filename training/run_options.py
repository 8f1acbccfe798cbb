"""The options of a run that are no hyper-parameters: what is trained, on what, for how long, and what is kept."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import optimizers
import schedulers
from data.store import MODES
from training.hyp import BY_AUTO
from utils.config import option
from utils.errors import UserError


def _whole_or_auto(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor 'auto'") from None


def _batch_size(text: str) -> int | str:
    return _whole_or_auto("auto" if text == "-1" else text)  # YOLOv5's word for it


def read_scale(pair: str) -> tuple[str, float]:
    """`backbone=0.1` as its two sides. Raises UserError for what is no such pair."""
    word, equals, text = pair.rpartition("=")
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not (word and equals and 0 < factor < math.inf):
        raise UserError(f"--lr-scale {pair}: must be PATTERN=FACTOR with a factor above 0, such as backbone=0.1")
    return word, factor


@dataclass
class RunOptions:
    """The run."""

    weights: str = option("", "checkpoint to start from; empty starts from scratch")
    cfg: str = option("yolov5s", "layout: yolov5n, s, m, l, x or a YAML file")
    data: str = option("mask.yaml", "data set YAML: a path, or a name in data/")
    hyp: str = option(
        "auto",
        "auto: computed from data set and run length; yolov5: YOLOv5's defaults; or a YAML file: a path, or a name in "
        "data/hyps/",
    )
    epochs: int = option(100, "passes over the training pictures")
    batch_size: int | str = option(
        16,
        "pictures per forward pass, or 'auto' (or -1): as many as fit on the GPU",
        aliases=("--batch",),
        type=_batch_size,
    )
    nbs: int = option(64, "nominal batch: smaller batches accumulate to it, decay scales with it", default_help=BY_AUTO)
    imgsz: int = option(640, "training and validation size in pixels", aliases=("--img", "--img-size"))
    lr_policy: str = option(
        "linear",
        "learning-rate policy (lr scheduler); 'help' lists them",
        default_help=BY_AUTO,
        aliases=("--scheduler",),
        choices=schedulers.names,
        listing=schedulers.listing,
    )
    lr_arg: list[str] = option(
        [],
        "option of the policy, KEY=VALUE; 'help' lists them",
        default_help="those of sgdr and clr chosen by --hyp auto; none with --hyp yolov5",
    )
    cos_lr: bool = option(False, "the same as --lr-policy cosine")
    optim: str = option(
        "sgd",
        "optimizer; 'help' lists them",
        default_help=BY_AUTO,
        aliases=("--optimizer",),
        choices=optimizers.names,
        listing=optimizers.listing,
        type=str.lower,
    )
    optim_arg: list[str] = option([], "option of the optimizer, KEY=VALUE; 'help' lists them")
    wd_norm: float | None = option(None, "normalised weight decay (sgdw, adamw) instead of weight_decay")
    ema: float = option(0.9999, "decay of the averaged (EMA) weights; 0 keeps the weights as they are", low=0, below=1)
    ema_tau: float = option(2000.0, "updates after which 63 % of that decay is reached", above=0)
    average: str = option(
        "off", "also average the weights at ends of epochs (swa) or of cycles", choices=("off", "swa", "cycles")
    )
    average_from: float = option(0.75, "with --average swa: share of the run before averaging starts", low=0, below=1)
    clip_grad: float = option(0.0, "clip the norm of the gradient to this; 0: no clipping")
    plugin: list[str] = option([], "module to import first, which registers policies or optimizers")
    device: str = option("auto", "auto, cpu, mps, cuda:N, or several GPUs, 0,1,2,3: a process each")
    processes: int = option(
        1, "number of training processes, on the CPU or one per GPU; a list in --device sets it", low=1
    )
    parts: int = option(
        0,
        "split each batch into N parts whose gradients are summed in a fixed order; the same N gives the same bits on "
        "any number of processes; 0: one per process",
        low=0,
    )
    sync_bn: bool = option(False, "BatchNorm over the whole batch of all processes")
    timeout: float = option(120.0, "seconds to wait for a process that does not answer", low=1)
    dtype: str = option("auto", "number format of forward and backward", choices=("auto", "fp32", "bf16", "fp16"))
    compile: str = option("off", "torch.compile the forward pass; max tunes longer", choices=("off", "default", "max"))
    cuda_graphs: bool = option(False, "record forward and backward as a CUDA graph (not yet measured, so off)")
    deterministic: bool = option(False, "deterministic kernels on a GPU (a CPU always is)")
    workers: int = option(2, "threads that prepare pictures ahead; 0 prepares them in line")
    cache: str = option(
        "auto",
        "where decoded pictures are kept; bare --cache is ram; none is YOLOv5's default",
        choices=MODES,
        const="ram",
    )
    rect: bool = option(False, "rectangular batches without mosaic")
    close_mosaic: int | str = option(
        0, "last epochs without mosaic and mixup; 'auto': a tenth of the run, 1 to 15", type=_whole_or_auto
    )
    multi_scale: bool = option(False, "each batch at a size of 0.5 to 1.5 times --imgsz")
    single_cls: bool = option(False, "treat all classes as one")
    allow_background: bool = option(False, "use a data set in which no picture has a label file")
    freeze: list[str] = option(
        [],
        "N: layers 0 to N-1; several numbers, such as 0 1 2: exactly those layers; or backbone, neck, head, or a name "
        "pattern",
    )
    freeze_epochs: int = option(
        0, "with --freeze: thaw it after N epochs, with a warm-up of its own; 0 never does", low=0
    )
    lr_scale: list[str] = option([], "PATTERN=FACTOR: another rate for a part, named as for --freeze; repeatable")
    layer_decay: float = option(
        1.0,
        "layer-wise lr decay: a layer's rate is this factor times the rate of the next layer towards the head; 1: off",
        above=0,
        high=1,
    )
    noautoanchor: bool = option(False, "keep the anchors of the layout")
    patience: int = option(100, "epochs without a better fitness before stopping; 0 never stops")
    seed: int = option(0, "seed of weights, picture order and augmentation")
    resume: str = option(
        "", "continue a run: path of its last.pt, or nothing for the newest unfinished", const="newest"
    )
    force: bool = option(False, "with --resume: continue although the data changed, or with other rates and decay")
    history: list[str] = option([], "what --force changed of the run, and when", flag=False)
    save_period: int = option(-1, "also keep a checkpoint every N epochs; -1 keeps none")
    save_steps: int = option(0, "also save last.pt every N steps inside an epoch; 0 saves only at its end")
    nosave: bool = option(False, "save last.pt only at the end, and no best.pt")
    noval: bool = option(False, "validate only after the last epoch")
    noplots: bool = option(False, "draw no plots or sample pictures")
    project: str = option("runs/train", "folder of the runs")
    name: str = option("exp", "name of this run; a number is appended if it exists")
    exist_ok: bool = option(
        False, "use the folder of that name again; an earlier run's own files in it are deleted first"
    )
