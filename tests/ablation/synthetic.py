"""Made-up studies with run folders such as train.py leaves, for tests of what is made from them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import schedulers
from ablation.view import FINISHED, RunView, StudyView
from utils.tracker import ResultsCsv

STEPS = 20  # optimizer steps an epoch
POLICIES, OPTIMIZERS = ("linear", "cosine", "onecycle", "sgdr", "clr"), ("sgd", "sgdw", "adam", "adamw")


def run(folder: Path, score: float | None, status: str = FINISHED, **settings: Any) -> RunView:
    """A run with a final mAP50-95 of `score`, without files."""
    name = "-".join(str(value) for value in settings.values()).replace("/", "_")
    metrics = {} if score is None else {"precision": 0.6, "recall": 0.5, "mAP50": score * 1.6, "mAP50-95": score}
    metrics |= {"best_epoch": 7, "epochs": 9} if metrics else {}
    words = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in settings.items())
    times = {} if score is None else {"seconds": 60 + 10 * score, "memory_gb": 1.25, "lr0": 0.01}
    return RunView(name, settings, status, f"python train.py {words}", folder / "runs" / name, metrics, **times)


def study(folder: Path, runs: Sequence[RunView], **changed: Any) -> StudyView:
    """A study of these runs."""
    values = {
        "name": "mask",
        "folder": folder,
        "command": "python ablate.py --data mask.yaml --lr-policy linear,cosine --optim sgd,adam --seeds 3",
        "data": "mask.yaml",
        "common": {"epochs": 9, "imgsz": 320},
        "fingerprint": {"train": "sha256 3f2a, 546 pictures", "val": "sha256 90bd, 137 pictures"},
        "machine": {"device": "CPU", "torch": "2.14.0", "python": "3.11.4"},
        "notes": ("Base rates: a range test once for each optimizer.",),
    }
    return StudyView(**values | changed, runs=tuple(runs))


def grid(
    folder: Path,
    seeds: int = 3,
    spread: float = 0.012,
    policies: Sequence[str] = POLICIES,
    optimizers: Sequence[str] = OPTIMIZERS,
    axes: Mapping[str, Sequence[Any]] | None = None,
) -> list[RunView]:
    """Finished runs of policies x optimizers x axes x seeds, some better than others, with noise of sd `spread`."""
    random = np.random.default_rng(7)
    more = axes or {}
    runs = []
    for policy, optim, *rest in itertools.product(policies, optimizers, *more.values()):
        level = 0.36 + 0.015 * POLICIES.index(policy) * (policy != "clr") + 0.02 * OPTIMIZERS.index(optim)
        for seed in range(seeds):
            settings = {"lr_policy": policy, "optim": optim, "seed": seed, **dict(zip(more, rest, strict=True))}
            runs.append(run(folder, level + random.normal(0, spread), **settings))
    return runs


def with_curves(runs: Sequence[RunView], epochs: int = 60) -> list[RunView]:
    """The same runs, with results.csv and lr.csv in their folders."""
    for i, made in enumerate(runs):
        write_curves(made, epochs, random=np.random.default_rng(i))
    return list(runs)


def write_curves(made: RunView, epochs: int, random: np.random.Generator) -> None:
    """Files of a run of `epochs` epochs, rising to its score, its rates those of its policy."""
    made.folder.mkdir(parents=True, exist_ok=True)
    total = epochs * STEPS
    policy = schedulers.build(made.settings["lr_policy"], total_steps=total, steps_per_epoch=STEPS, lr0=0.01)
    rates = [0.01 * policy.at(step).lr for step in range(total)]
    lines = [f"{step},{rate!r},{rate!r},{rate!r},0.9,0.9,0.9" for step, rate in enumerate(rates)]
    head = "step,x/lr0,x/lr1,x/lr2,x/momentum0,x/momentum1,x/momentum2"
    (made.folder / "lr.csv").write_text("\n".join([head, *lines]) + "\n")
    lines = [",".join(ResultsCsv.columns)]
    score = made.metrics.get("mAP50-95", 0.3)
    for epoch in range(epochs):
        rise = (1 - math.exp(-6 * (epoch + 1) / epochs)) * score + random.normal(0, 0.006)
        loss = 0.05 + 0.1 * math.exp(-3 * epoch / epochs)
        values = [loss, loss / 2, loss / 3, 0.6, 0.5, 1.6 * rise, rise, loss, loss / 2, loss / 3]
        rate = rates[epoch * STEPS + STEPS - 1]
        lines.append(",".join([str(epoch), *(f"{value:.6g}" for value in [*values, rate, rate, rate])]))
    (made.folder / "results.csv").write_text("\n".join(lines) + "\n")


def changed(runs: Sequence[RunView], which: Callable[[RunView], bool], **values: Any) -> list[RunView]:
    """The runs, with the fields of some replaced."""
    return [dataclasses.replace(made, **values) if which(made) else made for made in runs]
