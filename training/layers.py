"""Layers that stay as they are, for a while or for good, or train at a rate of their own."""

from __future__ import annotations

from typing import Any

import models
from models.parts import frozen_names, matching
from training.options import Options
from training.run_options import RunOptions, read_scale
from utils.errors import UserError


def is_frozen(run: RunOptions, epoch: int) -> bool:
    """Whether what --freeze names stays as it is in an epoch, counted from 0."""
    return bool(run.freeze) and (run.freeze_epochs == 0 or epoch < run.freeze_epochs)


def enter(model: models.Detector, run: RunOptions, epoch: int) -> None:
    """Put the model into training as it is in an epoch: frozen parts take no gradient and keep their statistics."""
    if run.freeze:
        frozen = set(frozen_names(model, run.freeze)) if is_frozen(run, epoch) else set()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in frozen)
    model.train()


def frozen_norms(model: models.Detector, run: RunOptions, epoch: int) -> list[str]:
    """The names of the layers with parameters all of which are frozen in an epoch, BatchNorm's among them."""
    frozen = set(frozen_names(model, run.freeze)) if is_frozen(run, epoch) else set()
    own = {name: [f"{name}.{key}" for key, _ in part.named_parameters()] for name, part in model.named_modules()}
    return [name for name, keys in own.items() if name and keys and frozen.issuperset(keys)]


def groups(base: list[dict[str, Any]], model: models.Detector, options: Options) -> list[dict[str, Any]]:
    """`base`, the three groups, without the parameters that have a rate of their own, which have groups behind them.

    Those are of one role each, with `lr_scale`, their share of the rate, and `begins` and `rises`, the epoch at which
    they are thawed and the epochs of their warm-up, where that applies.
    """
    run = options.run
    if not run.lr_scale and run.layer_decay == 1 and not (run.freeze and run.freeze_epochs):
        return base
    own = traits(model, options)
    names = {parameter: name for name, parameter in model.named_parameters()}
    kept = [{**group, "params": [p for p in group["params"] if names[p] not in own]} for group in base]
    kinds = list(dict.fromkeys(tuple(own[name].items()) for name in names.values() if name in own))
    for kind in kinds:
        for group in base:
            members = [p for p in group["params"] if tuple(own.get(names[p], {}).items()) == kind]
            if members:
                title = _title(group["name"], dict(kind))
                kept.append({**group, "params": members, "name": title, "role": group["name"], **dict(kind)})
    return kept


def _title(role: str, kind: dict[str, float]) -> str:
    scale = f" x{kind['lr_scale']:.4g}" if "lr_scale" in kind else ""
    return role + scale + (f" from epoch {kind['begins'] + 1:g}" if "begins" in kind else "")


def traits(model: models.Detector, options: Options) -> dict[str, dict[str, float]]:
    """What each parameter has of its own: its share of the rate, and when it is thawed; nothing for most.

    Shares multiply: --layer-decay's, d^k at k layers before the head, and that of the last --lr-scale that names it.
    Layer-wise decay: ELECTRA, arXiv 2003.10555, section 3.1 and table 6.
    """
    run = options.run
    layer_of = {name: int(name.split(".")[1]) for name, _ in model.named_parameters()}
    scales = {name: run.layer_decay ** (model.layers - 1 - layer) for name, layer in layer_of.items()}
    own = dict.fromkeys(scales, 1.0)
    for pair in run.lr_scale:
        word, factor = read_scale(pair)
        names = matching(model, word, "--lr-scale")
        if not any(model.get_parameter(name).requires_grad for name in names):
            raise UserError(f"--lr-scale {pair}: would do nothing, since all of that is frozen; leave it out")
        own |= dict.fromkeys(names, factor)
    found: dict[str, dict[str, float]] = {name: {} for name in scales}
    for name in scales:
        if scales[name] * own[name] != 1:
            found[name]["lr_scale"] = scales[name] * own[name]
    if run.freeze and run.freeze_epochs:
        for name in frozen_names(model, run.freeze):
            found[name] |= {"begins": run.freeze_epochs, "rises": options.hyp.warmup_epochs}
    return {name: kind for name, kind in found.items() if kind}
