"""Every option of a training run, and which of flag, hyper-parameter file and optimizer default wins."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import optimizers
import schedulers
from data.store import MODES
from utils import config
from utils.config import option
from utils.config.safe_yaml import load_yaml, place
from utils.errors import UserError, nearest
from utils.registry import import_plugin

REFUSED = {
    "--evolve": "hyper-parameters are compared by study, with their uncertainty, not evolved",
    "--bucket": "nothing is fetched from or sent to a bucket; give local paths",
    "--image-weights": "it changes what an epoch is; every picture is drawn once an epoch here",
    "--sync-bn": "one process trains on one device",
    "--local-rank": "one process trains on one device",
    "--quad": "the collating trick of that name is not used; use a larger --imgsz with --multi-scale",
    "--entity": "runs are logged to TensorBoard and plain files",
    "--upload-dataset": "runs are logged to TensorBoard and plain files",
    "--bbox-interval": "runs are logged to TensorBoard and plain files",
    "--artifact-alias": "runs are logged to TensorBoard and plain files",
}
LOWEST = {
    **dict.fromkeys(("epochs", "batch_size", "imgsz", "nbs"), 1),
    **dict.fromkeys(("workers", "clip_grad", "patience", "save_steps", "seed"), 0),
}
MOST = (1 << 63) - 1  # of whatever has a lowest value: what torch takes for a seed
LARGEST = 1 << 14  # pixels of a side: OpenCV crashes on a picture of four channels and over 2 GiB
UNUSED_HYP = {
    "iou_t": "the anchors are matched by anchor_t",
    "anchors": "a layout has three anchors a head",
}


def _rate(text: str) -> float | str:
    if text == "find":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'find'") from None


def _batch(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor 'auto'") from None


@dataclass
class RunOptions:
    """The run."""

    weights: str = option("", "checkpoint to start from; empty starts from scratch")
    cfg: str = option("yolov5s", "layout: yolov5n, s, m, l, x or a YAML file")
    data: str = option("mask.yaml", "data set YAML: a path, or a name in data/")
    hyp: str = option("", "hyper-parameter YAML: a path, or a name in data/hyps/")
    epochs: int = option(100, "passes over the training pictures")
    batch_size: int | str = option(
        16, "pictures a forward pass, or 'auto': as many as the GPU holds", aliases=("--batch",), type=_batch
    )
    nbs: int = option(64, "nominal batch: smaller batches accumulate to it and decay scales with it")
    imgsz: int = option(640, "training and validation size in pixels", aliases=("--img", "--img-size"))
    lr_policy: str = option("linear", "learning-rate policy", aliases=("--scheduler",), choices=schedulers.names)
    lr_arg: list[str] = option([], "option of the policy, KEY=VALUE; 'help' lists them")
    cos_lr: bool = option(False, "the same as --lr-policy cosine")
    optim: str = option("sgd", "optimizer", aliases=("--optimizer",), choices=optimizers.names, type=str.lower)
    optim_arg: list[str] = option([], "option of the optimizer, KEY=VALUE; 'help' lists them")
    wd_norm: float | None = option(None, "normalised weight decay (sgdw, adamw) instead of weight_decay")
    clip_grad: float = option(0.0, "largest norm of the gradient; 0 leaves it alone")
    plugin: list[str] = option([], "module to import first, which registers policies or optimizers")
    device: str = option("auto", "auto, cpu, mps, cuda:N")
    dtype: str = option("auto", "number format of forward and backward", choices=("auto", "fp32", "bf16", "fp16"))
    compile: str = option("off", "torch.compile the forward; max tries more", choices=("off", "default", "max"))
    cuda_graphs: bool = option(False, "record forward and backward as a CUDA graph (not yet measured, so off)")
    deterministic: bool = option(False, "deterministic kernels on a GPU (a CPU always is)")
    workers: int = option(2, "threads that prepare pictures ahead; 0 prepares them in line")
    cache: str = option("auto", "where decoded pictures stay", choices=MODES, const="ram")
    rect: bool = option(False, "rectangular batches without mosaic")
    multi_scale: bool = option(False, "each batch at a size of 0.5 to 1.5 times --imgsz")
    single_cls: bool = option(False, "all classes as one")
    allow_background: bool = option(False, "use a data set in which no picture has a label file")
    freeze: list[int] = option([], "layers to freeze: N freezes the first N, several name them")
    noautoanchor: bool = option(False, "leave the anchors as the layout has them")
    patience: int = option(100, "epochs without a better fitness before stopping; 0 never stops")
    seed: int = option(0, "seed of weights, picture order and augmentation")
    resume: str = option(
        "", "continue a run: path of its last.pt, or nothing for the newest unfinished", const="newest"
    )
    force: bool = option(False, "with --resume: continue although the data changed")
    save_period: int = option(-1, "also keep a checkpoint every N epochs; -1 keeps none")
    save_steps: int = option(0, "also save last.pt every N steps inside an epoch; 0 saves at its end alone")
    nosave: bool = option(False, "save last.pt at the end alone, and no best.pt")
    noval: bool = option(False, "validate after the last epoch alone")
    noplots: bool = option(False, "make no pictures")
    project: str = option("runs/train", "folder of the runs")
    name: str = option("exp", "name of this run; a number is added when it is taken")
    exist_ok: bool = option(False, "use the folder of that name again; its earlier results are replaced")


@dataclass
class Hyp:
    """Hyper-parameters (flags beat --hyp, which beats the optimizer's own defaults)."""

    lr0: float | str | None = option(None, "base learning rate, or 'find' (default: the optimizer's)", type=_rate)
    lrf: float = option(0.01, "last rate over the first, for policies that have one")
    momentum: float | None = option(None, "momentum, or Adam's first beta (default: the optimizer's)")
    weight_decay: float | None = option(None, "weight decay (default: the optimizer's)")
    warmup_epochs: float = option(3.0, "epochs of warm-up")
    warmup_momentum: float = option(0.8, "momentum at the start of the warm-up")
    warmup_bias_lr: float | None = option(None, "rate of the biases at the start of the warm-up")
    box: float = option(0.05, "gain of the box loss")
    cls: float = option(0.5, "gain of the class loss")
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
    copy_paste: float = option(0.0, "probability of copy-paste (needs outlines, which box labels lack)")


@dataclass
class Options:
    """A run's options as they were resolved, and which of them were given."""

    run: RunOptions
    hyp: Hyp
    given: set[str]

    def to_dict(self) -> dict[str, Any]:
        """Both groups as plain values, for a checkpoint and for opt.yaml and hyp.yaml."""
        return {"run": dataclasses.asdict(self.run), "hyp": dataclasses.asdict(self.hyp)}

    @classmethod
    def from_dict(cls, saved: dict[str, Any], where: str) -> Options:
        """The options as `to_dict` gave them. Raises UserError, naming `where`, for a key or value that is not ours."""
        run = config.from_mapping(RunOptions, saved["run"], where)
        hyp = dict(saved["hyp"])
        lr0 = hyp.pop("lr0", None)
        made = config.from_mapping(Hyp, hyp, where)
        made.lr0 = lr0
        return cls(run, made, set())


def parse(argv: Sequence[str] | None, prog: str, description: str, extra: Sequence[type] = ()) -> tuple[Options, list]:
    """Read a command line. Plug-ins named on it are imported first, so that their names are known.

    Returns the options and an instance of each dataclass of `extra`. Raises UserError.
    """
    import_plugins(plugins_of(argv))
    kinds = [RunOptions, Hyp, *extra]
    (run, hyp, *rest), given = config.parse(kinds, argv, prog=prog, description=description, refused=REFUSED)
    if run.cos_lr:
        if "lr_policy" in given and run.lr_policy != "cosine":
            raise UserError(f"--cos-lr and --lr-policy {run.lr_policy} contradict each other; give one of them")
        run.lr_policy = "cosine"
    if "help" in run.lr_arg:
        return _tell(schedulers.describe(run.lr_policy))
    if "help" in run.optim_arg:
        return _tell(optimizers.describe(run.optim))
    if run.hyp:
        hyp = _merge(hyp, given, run.hyp)
    options = Options(run, hyp, given)
    check_bounds(options)
    _check_idle(options)
    return options, rest


def _tell(text: str) -> NoReturn:
    print(text)
    raise SystemExit(0)


def import_plugins(modules: Sequence[str]) -> None:
    """Import the modules that `--plugin` names. Raises UserError naming the plug-in that fails."""
    for module in modules:
        import_plugin(module)


def plugins_of(argv: Sequence[str] | None) -> list[str]:
    """The modules after --plugin, read before the rest of the line so that their names are known in it."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--plugin", nargs="*", action="extend", default=[])
    return early.parse_known_args(argv)[0].plugin


def find_hyp(name: str) -> Path:
    """A hyper-parameter file by its path, or by its name in data/hyps/."""
    folder = Path(__file__).resolve().parent.parent / "data" / "hyps"
    for path in (Path(name), folder / name, folder / f"{name}.yaml"):
        if path.is_file():
            return path
    hint = nearest(name, [p.name for p in folder.glob("*.yaml")])
    raise UserError(f"--hyp {name}: no such file, here or in {folder}; {hint}")


def _merge(hyp: Hyp, given: set[str], name: str) -> Hyp:
    path = find_hyp(name)
    values = load_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: must hold KEY: VALUE lines")
    lr0 = values.pop("lr0", None)
    merged = config.from_mapping(Hyp, values, str(path), ignored=UNUSED_HYP, place=partial(place, path))
    merged.lr0 = None if lr0 is None else _file_rate(lr0, path)
    flags = {f.name: getattr(hyp, f.name) for f in dataclasses.fields(Hyp) if f.name in given}
    return dataclasses.replace(merged, **flags)


def _file_rate(value: Any, path: Path) -> float | str:
    try:
        return _rate(str(value))
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{place(path, 'lr0')}: lr0: {error}") from None


def check_bounds(options: Options) -> None:
    """Raise UserError for values that no run can have."""
    run, hyp = options.run, options.hyp
    for name, lowest in LOWEST.items():
        value, flag = getattr(run, name), name.replace("_", "-")
        if value != "auto" and not value >= lowest:
            raise UserError(f"--{flag} {value}: must be at least {lowest}")
        if value != "auto" and value > MOST:
            raise UserError(f"--{flag} {str(value)[:20]}...: must be at most {MOST}")
    if run.imgsz > LARGEST:
        raise UserError(f"--imgsz {run.imgsz}: must be at most {LARGEST}")
    if any(layer < 0 for layer in run.freeze):
        raise UserError(f"--freeze {' '.join(map(str, run.freeze))}: layers are numbered from 0")
    for field in dataclasses.fields(Hyp):
        value = getattr(hyp, field.name)
        if isinstance(value, float) and (value != value or value < 0 or value == float("inf")):
            raise UserError(f"{field.name} is {value}; it must be a number of 0 or more")
    for name in ("momentum", "warmup_momentum", "label_smoothing"):
        if (getattr(hyp, name) or 0) >= 1:
            raise UserError(f"{name} is {getattr(hyp, name)}; it must be under 1")
    if isinstance(hyp.lr0, float | int) and hyp.lr0 == 0:
        raise UserError("lr0 is 0, which trains nothing; give a positive rate")


def _check_idle(options: Options) -> None:
    """Refuse flags that would do nothing."""
    run, given = options.run, options.given
    idle = {
        "force": (not run.resume, "it goes with --resume alone"),
        **{name: (True, why) for name, why in idle_for(run.lr_policy).items()},
        "weight_decay": (run.wd_norm is not None, "--wd-norm sets the decay"),
        "mosaic": (run.rect and options.hyp.mosaic > 0, "--rect makes no mosaics"),
        "mosaic9": (options.hyp.mosaic9 > 0 and (run.rect or options.hyp.mosaic == 0), "no mosaics are made"),
        "patience": (run.noval, "--noval validates after the last epoch alone"),
    }
    for name, (does_nothing, why) in idle.items():
        if name in given and does_nothing:
            raise UserError(f"--{name.replace('_', '-')} would do nothing: {why}; leave it out")


def idle_for(policy: str) -> dict[str, str]:
    """The options that a learning-rate policy has no use for, and why."""
    known = {name for name, *_ in schedulers.options(policy)}
    ramped = f"policy '{policy}' ramps up by itself"
    idle = dict.fromkeys(("warmup_epochs", "warmup_momentum", "warmup_bias_lr"), ramped)
    idle = idle if schedulers.get(policy).ramps else {}
    return idle if "lrf" in known else idle | {"lrf": f"policy '{policy}' has no such option, see --lr-arg help"}
