"""A training run's options read and checked: which of flag, hyper-parameter file and optimizer default wins."""

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
from training.hyp import Hyp, rate
from training.run_options import RunOptions, read_scale
from utils import config
from utils.config import flag
from utils.config.safe_yaml import load_yaml, place
from utils.errors import UserError, nearest
from utils.registry import import_plugin

REFUSED = {
    "--evolve": "ablate.py compares hyper-parameters, with their uncertainty",
    "--bucket": "nothing is fetched from or sent to a bucket; give local paths",
    "--image-weights": "every picture is used once per epoch here",
    "--local-rank": "torchrun tells each process its rank by itself; leave it out",
    "--quad": "that way to collate batches is not implemented; use a larger --imgsz with --multi-scale",
    "--entity": "runs are logged to TensorBoard and plain files",
    "--upload-dataset": "runs are logged to TensorBoard and plain files",
    "--bbox-interval": "runs are logged to TensorBoard and plain files",
    "--artifact-alias": "runs are logged to TensorBoard and plain files",
}
LOWEST = {
    **dict.fromkeys(("epochs", "batch_size", "imgsz", "nbs"), 1),
    **dict.fromkeys(("workers", "clip_grad", "patience", "save_steps", "seed", "close_mosaic"), 0),
}
MOST = (1 << 63) - 1  # of whatever has a lowest value: what torch takes for a seed
LARGEST = 1 << 14  # pixels of a side: OpenCV crashes on a picture of four channels and over 2 GiB
LARGEST_SETTING = 1e30  # of hyper-parameters: several optimizers take a rate as float32
NO_FILE = ("", "auto", "yolov5")  # --hyp that names no file; without any, as older runs were, it is YOLOv5's numbers
UNUSED_HYP = {"iou_t": "the anchors are matched by anchor_t", "anchors": "a layout has three anchors a head"}


@dataclass
class Options:
    """A run's options as they were resolved, and which of them were given.

    `auto`: whether `training.settle` has yet to work out the others; `decided`: what it says of that.
    """

    run: RunOptions
    hyp: Hyp
    given: set[str]
    auto: bool = False
    decided: list[str] = dataclasses.field(default_factory=list)

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
    facts = optimizers.facts(run.optim)
    if "policy" in facts and not run.cos_lr and "lr_policy" not in given:
        run.lr_policy = facts["policy"]
    if "help" in run.lr_arg:
        return _tell(schedulers.describe(run.lr_policy))
    if "help" in run.optim_arg:
        return _tell(optimizers.describe(run.optim))
    if run.hyp not in NO_FILE:
        hyp = _merge(hyp, given, run.hyp)
    options = Options(run, hyp, given, auto=run.hyp == "auto")
    check_bounds(options)
    _check_idle(options)
    run.ema = 0.0 if facts.get("averages") else run.ema
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
    hint = nearest(name, ["auto", "yolov5", *(p.name for p in folder.glob("*.yaml"))])
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
        return rate(str(value))
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{place(path, 'lr0')}: lr0: {error}") from None


def check_bounds(options: Options) -> None:
    """Raise UserError for values that no run can have."""
    run, hyp = options.run, options.hyp
    for name, lowest in LOWEST.items():
        value, word = getattr(run, name), flag(name)
        if value != "auto" and not value >= lowest:
            raise UserError(f"{word} {value}: must be at least {lowest}")
        if value != "auto" and value > MOST:
            raise UserError(f"{word} {str(value)[:20]}...: must be at most {MOST}")
    if run.imgsz > LARGEST:
        raise UserError(f"--imgsz {run.imgsz}: must be at most {LARGEST}")
    if any(word.startswith("-") for word in run.freeze):
        raise UserError(f"--freeze {' '.join(run.freeze)}: layers are numbered from 0")
    for pair in run.lr_scale:
        read_scale(pair)
    for field in dataclasses.fields(Hyp):
        value = getattr(hyp, field.name)
        if not isinstance(value, float):
            continue
        if value != value or value < 0 or value == float("inf"):
            raise UserError(f"{field.name} is {value}; it must be a number of 0 or more")
        if value > LARGEST_SETTING:
            raise UserError(f"{field.name} is {value}; it must be at most {LARGEST_SETTING:g}")
    for name in ("momentum", "warmup_momentum", "label_smoothing"):
        if (getattr(hyp, name) or 0) >= 1:
            raise UserError(f"{name} is {getattr(hyp, name)}; it must be under 1")
    if isinstance(hyp.lr0, float | int) and hyp.lr0 == 0:
        raise UserError("lr0 is 0, which trains nothing; give a positive rate")


def _check_idle(options: Options) -> None:
    """Refuse flags that would do nothing."""
    run, given = options.run, options.given
    averages = bool(optimizers.facts(run.optim).get("averages"))
    itself = f"--optim {run.optim} averages the weights itself"
    idle = {
        "force": (not run.resume, "it goes with --resume alone"),
        **{name: (True, why) for name, why in idle_for(run.lr_policy).items()},
        "weight_decay": (run.wd_norm is not None, "--wd-norm sets the decay"),
        "mosaic": (run.rect and options.hyp.mosaic > 0, "--rect makes no mosaics"),
        "mosaic9": (options.hyp.mosaic9 > 0 and (run.rect or options.hyp.mosaic == 0), "no mosaics are made"),
        "close_mosaic": (_closes_nothing(options), "there is no mosaic or mixup to close"),
        "freeze_epochs": (not run.freeze, "nothing is frozen; it goes with --freeze"),
        "average_from": (run.average != "swa", "it goes with --average swa alone"),
        "ema": (averages and run.ema > 0, itself),
        "average": (averages and run.average != "off", itself),
        "ema_tau": (averages or run.ema == 0, itself if averages else "--ema 0 keeps no average"),
        "patience": (run.noval, "--noval validates only after the last epoch"),
    }
    for name, (does_nothing, why) in idle.items():
        if name in given and does_nothing:
            raise UserError(f"{flag(name)} would do nothing: {why}; leave it out")


def _closes_nothing(options: Options) -> bool:
    run, hyp = options.run, options.hyp
    return run.close_mosaic != 0 and hyp.mixup == 0 and (run.rect or hyp.mosaic == 0)


def idle_for(policy: str) -> dict[str, str]:
    """The options that a learning-rate policy has no use for, and why."""
    known = {name for name, *_ in schedulers.options(policy)}
    ramped = f"policy '{policy}' ramps up by itself"
    idle = dict.fromkeys(("warmup_epochs", "warmup_momentum", "warmup_bias_lr"), ramped)
    idle = idle if schedulers.get(policy).ramps else {}
    return idle if "lrf" in known else idle | {"lrf": f"policy '{policy}' has no such option, see --lr-arg help"}
