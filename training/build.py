"""The pieces a run is made of, each built from the options by one function."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, fields
from typing import Any

import torch

import models
import optimizers
import schedulers
from data.datasets import DatasetConfig, load_dataset
from data.dealing import deal
from data.index import Index, build_index
from data.loader import TrainLoader, ValLoader
from data.plan import Augment
from data.shared import Shared
from data.store import image_size, open_store
from models.layout import read as read_layout
from models.loss import DetectionLoss, LossGains
from training import layers, network, phases
from training.options import Options
from training.settle import settle
from utils.console.wording import counted
from utils.errors import UserError
from utils.ranks import ALONE, Ranks

LOGGER = logging.getLogger("anneal")


@dataclass
class Data:
    """The data set, its two indices and the loaders over them."""

    dataset: DatasetConfig
    names: tuple[str, ...]
    train_index: Index
    train: TrainLoader
    val: ValLoader

    @property
    def classes(self) -> int:
        """How many classes the network is built for: 1 with --single-cls."""
        return len(self.names)


def check(options: Options) -> None:
    """Raise UserError for what can be known to be wrong before the data set is read."""
    policy_options(options)
    optimizer_options(options)
    augmentation(options)
    if not network.from_weights(options):
        read_layout(options.run.cfg)


def augmentation(options: Options) -> Augment:
    """The augmentation's share of the hyper-parameters."""
    return Augment(**{f.name: getattr(options.hyp, f.name) for f in fields(Augment)})


def load_data(
    options: Options,
    device: torch.device,
    *,
    stride: int = 32,
    render_sample: bool = True,
    shared: Shared | None = None,
    ranks: Ranks = ALONE,
) -> Data:
    """Index both parts of the data set, decode what stays resident, and build the loaders for a device.

    Writes what was resolved (image size, batch) back into the options. `stride`: of which the network needs the sides
    of pictures to be multiples. `shared` holds what earlier runs of this process read. Raises UserError for a data
    set that cannot be trained on.
    """
    run, once = options.run, (shared or Shared()).get
    run.imgsz = image_size(run.imgsz, stride)
    dataset = load_dataset(run.data, render_sample)
    run.data = str(dataset.file)  # a resume may come from another folder
    common = {"root": dataset.root, "single_class": run.single_cls, "allow_background": run.allow_background}
    common["poses"] = dataset.poses
    train_index = once(build_index, dataset.train, dataset.classes, desc="train", **common)
    val_index = once(build_index, dataset.val, dataset.classes, desc="val", **common)
    if run.batch_size > len(train_index):
        pictures = len(train_index)
        there = "the one picture" if pictures == 1 else f"the {pictures} pictures"
        LOGGER.warning(f"--batch-size {run.batch_size} is more than {there}; using {pictures}")
        run.batch_size = pictures
    names = ("object",) if run.single_cls else dataset.names
    settle(options, train_index, len(names))
    settings = {"size": run.imgsz, "cache": run.cache, "device": device, "workers": max(run.workers, 1)}
    settings["processes"] = ranks.local_world
    train = TrainLoader(
        train_index,
        once(open_store, train_index, desc="train", **settings),
        augment=augmentation(options),
        batch_size=run.batch_size,
        size=run.imgsz,
        seed=run.seed,
        closed_from=phases.closing_epoch(run),
        workers=run.workers,
        multi_scale=run.multi_scale,
        rect=run.rect,
        stride=stride,
        dealing=deal(run.parts, ranks.rank, ranks.world),
    )
    val_store = once(open_store, val_index, desc="val", **settings)
    shape = {"batch_size": run.batch_size * 2, "size": run.imgsz, "stride": stride}
    val = ValLoader(val_index, val_store, workers=run.workers, **shape)
    return Data(dataset, names, train_index, train, val)


def check_batches(options: Options, data: Data) -> None:
    """Raise UserError for a batch, or part of one, of one picture of one stride: BatchNorm needs more than a place."""
    run, stride = options.run, data.train.stride
    parts = 1 if run.sync_bn else run.parts
    sizes = run.batch_size, len(data.train_index) % run.batch_size
    if run.imgsz <= stride and any(0 < size < 2 * parts for size in sizes):  # a batch is dealt evenly
        split = f", each in {parts} parts," if parts > 1 else ""
        alone = f"of {counted(len(data.train_index), 'picture')} in batches of {run.batch_size}{split} one is alone"
        remedy = f"give --imgsz {2 * stride} or another --batch-size"
        raise UserError(f"--imgsz {run.imgsz}: {alone}, and too small for BatchNorm to train on; {remedy}")


def accumulation(options: Options) -> int:
    """Batches a step, so that their pictures are the nominal batch, or near it."""
    return max(1, round(options.run.nbs / options.run.batch_size))


def build_optimizer(options: Options, model: torch.nn.Module, accumulate: int) -> torch.optim.Optimizer:
    """The optimizer over the three groups; writes the rate, momentum and decay it came to into the options."""
    run, hyp = options.run, options.hyp
    facts = optimizers.facts(run.optim)
    for name in ("lr0", "momentum", "weight_decay", "warmup_bias_lr"):
        if getattr(hyp, name) is None:
            setattr(hyp, name, facts["lr" if name == "lr0" else name])
    decay = hyp.weight_decay * run.batch_size * accumulate / run.nbs
    decay = decay if run.wd_norm is None else run.wd_norm
    return optimizers.build(
        run.optim,
        layers.groups(optimizers.parameter_groups(model, decay), model, options),
        lr=hyp.lr0,
        momentum=hyp.momentum,
        weight_decay=decay,
        **optimizer_options(options),
    )


def optimizer_options(options: Options) -> dict[str, Any]:
    """The optimizer's options: --optim-arg, in the paper's convention where --wd-norm is given."""
    run = options.run
    given = optimizers.parse_args(run.optim, run.optim_arg)
    if run.wd_norm is None:
        return given
    if run.optim not in ("sgdw", "adamw") or given.setdefault("convention", "paper") != "paper":
        raise UserError("--wd-norm needs --optim sgdw or adamw in the paper's convention; drop one of them")
    return given


def policy_options(options: Options) -> dict[str, Any]:
    """The policy's options: --lr-arg first, then lrf where the policy has such an option."""
    given = schedulers.parse_args(options.run.lr_policy, options.run.lr_arg)
    if "lrf" in given and "lrf" in options.given:
        raise UserError("--lrf and --lr-arg lrf are the same; give one of them")
    if "lrf" in {name for name, *_ in schedulers.options(options.run.lr_policy)}:
        options.hyp.lrf = given.setdefault("lrf", options.hyp.lrf)
    return given


def build_schedule(
    options: Options, optimizer: torch.optim.Optimizer, data: Data, accumulate: int
) -> schedulers.Schedule:
    """The one writer of rate, momentum and normalised decay, for the whole run."""
    run, hyp = options.run, options.hyp
    steps_per_epoch = math.ceil(len(data.train) / accumulate)
    total = run.epochs * steps_per_epoch
    length = {"total_steps": total, "steps_per_epoch": steps_per_epoch}
    policy = schedulers.build(run.lr_policy, **length, lr0=hyp.lr0, **policy_options(options))
    if policy.cycle_ends and optimizers.facts(run.optim).get("averages"):
        raise UserError(f"--optim {run.optim} averages over the whole run: --lr-policy {run.lr_policy} has cycles")
    decay = None
    if run.wd_norm is not None:
        decay = schedulers.NormalisedDecay(run.wd_norm, run.batch_size * accumulate, len(data.train_index))
        LOGGER.info(f"--wd-norm {run.wd_norm:g} gives a decay of {decay.at(policy.cycle_epochs(0)):.3g}")
    return schedulers.Schedule(
        policy,
        optimizer,
        schedulers.warmup_steps(policy, total, steps_per_epoch, hyp.warmup_epochs),
        warmup_bias_lr=hyp.warmup_bias_lr,
        warmup_momentum=hyp.warmup_momentum,
        wd_norm=decay,
    )


def build_criterion(options: Options, model: models.Detector) -> DetectionLoss:
    """The loss with its gains scaled to heads, classes and image size."""
    gains = LossGains(**{field.name: getattr(options.hyp, field.name) for field in fields(LossGains)})
    return DetectionLoss(model, gains.scaled(heads=len(model.stride), classes=model.classes, size=options.run.imgsz))
