"""Step time of our optimizers against torch's, over the parameters of whole models.

    python -m benchmarks.optimizers [--device cpu] [--models yolov5s yolov5x] [--rounds 60] [--rules sgdw adamw others]

`others` are the rules without a kernel of torch's: their steps are measured against torch's AdamW too. A step of muon
has matrix products in it; on a CPU, for yolov5x, it takes long.

In each round every optimizer takes one step over the same parameters and gradients, in an order that turns from
round to round. torch's fused optimizers run twice, as two contestants: the difference between the two is what the
machine's noise does to a ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import models
import optimizers
from benchmarks import machine

RULES = ("sgdw", "adamw", "others")
OTHERS = ("nadamw", "lion", "lamb", "muon", "schedulefree")
RESULTS = Path(__file__).parent / "results"
LR, DECAY = 1e-6, 5e-4  # small, so that shared parameters hardly move


def contestants(rule: str) -> dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]]:
    """Builders from parameter groups, torch's own first. Every one decays the weights; momentum is 0.937, but each
    rule's own of `others`."""
    if rule == "sgdw":

        def theirs(groups: list[dict[str, Any]], **path: bool) -> torch.optim.Optimizer:
            return torch.optim.SGD(groups, LR, 0.937, nesterov=True, **path)

    else:

        def theirs(groups: list[dict[str, Any]], **path: bool) -> torch.optim.Optimizer:
            return torch.optim.AdamW(groups, LR, (0.937, 0.999), **path)

    of_torch = {
        "torch fused": lambda groups: theirs(groups, fused=True),
        "torch foreach": lambda groups: theirs(groups, foreach=True),
        "torch fused again": lambda groups: theirs(groups, fused=True),
    }
    if rule == "others":
        return of_torch | {name: partial(optimizers.build, name, lr=LR) for name in OTHERS}
    return of_torch | {
        f"{rule} torch": lambda groups: optimizers.build(rule, groups, LR),
        f"{rule} paper": lambda groups: optimizers.build(rule, groups, LR, convention="paper"),
    }


def one_step(optimizer: torch.optim.Optimizer, device: torch.device) -> tuple[float, int]:
    """Seconds one step takes, and the bytes it holds at its peak beyond those before it (CUDA; 0 elsewhere)."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    optimizer.step()
    if cuda:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    return seconds, torch.cuda.max_memory_allocated(device) - held if cuda else 0


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all tensors in the optimizer's state."""
    tensors = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors)


def compare(name: str, rule: str, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """One row a contestant: median, quartiles, and the ratio to the faster of torch's two."""
    torch.manual_seed(0)
    model = models.build(name, classes=80).to(device)
    for p in model.parameters():
        p.grad = torch.randn_like(p) * 0.01
    entries = {
        label: builder(optimizers.parameter_groups(model, DECAY)) for label, builder in contestants(rule).items()
    }
    labels = list(entries)
    times: dict[str, list[float]] = {label: [] for label in labels}
    peaks = dict.fromkeys(labels, 0)
    for turn in range(rounds + 3):
        for k in range(len(labels)):
            label = labels[(turn + k) % len(labels)]
            seconds, peak = one_step(entries[label], device)
            if turn >= 3:
                times[label].append(seconds)
                peaks[label] = max(peaks[label], peak)
    best = min(statistics.median(times["torch fused"]), statistics.median(times["torch foreach"]))
    rows = []
    for label in labels:
        low, median, high = (1000 * q for q in statistics.quantiles(times[label], n=4))
        row = {"model": name, "rule": rule, "optimizer": label, "ms": median, "quartiles_ms": [low, high]}
        row |= {"ratio": median / 1000 / best, "state_mb": state_bytes(entries[label]) / 1e6}
        rows.append(row | {"temporary_mb": peaks[label] / 1e6 if device.type == "cuda" else None})
    return rows


def table(facts: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["# Optimizer steps", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    lines += ["Ratios are to the faster of torch's two; state is what an optimizer keeps.", ""]
    lines += ["| model | optimizer | ms (median) | quartiles | ratio | state MB | temporary MB |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for row in rows:
        low, high = row["quartiles_ms"]
        temporary = "-" if row["temporary_mb"] is None else f"{row['temporary_mb']:.1f}"
        against = "SGD" if row["rule"] == "sgdw" else "AdamW"
        label = row["optimizer"].replace("torch f", f"torch {against} f")
        lines.append(
            f"| {row['model']} | {label} | {row['ms']:.2f} | {low:.2f} to {high:.2f} | {row['ratio']:.3f} "
            f"| {row['state_mb']:.1f} | {temporary} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=["yolov5s", "yolov5x"])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    args = parser.parse_args()
    device = torch.device(args.device)
    rows = [row for name in args.models for rule in args.rules for row in compare(name, rule, device, args.rounds)]
    facts = machine.describe(device)
    text = table(facts, rows)
    print(text)
    target = RESULTS / f"optimizers_{device.type}"
    machine.write(target.with_suffix(".json"), rows, device)
    target.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
