"""`--lr0 find` in a study: one range test for each optimizer, kept in the study's folder and used by all its runs."""

from __future__ import annotations

import hashlib
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.axes import label
from ablation.grid import Cell
from data.shared import Shared
from schedulers.range_test import plot_range_test, write_csv
from training import options, start
from training.range_test import find_rate, peak_of
from utils.errors import UserError
from utils.files.atomic import write_atomic

# what a range test does not depend on: the schedule, how long the run is, and the seed, or rates would differ by luck
UNUSED = {"lr_policy", "lr_arg", "lr0", "lrf", "seed", "epochs", "patience", "noval", "nosave"}
UNUSED |= {"save_period", "save_steps", "warmup_epochs", "warmup_momentum", "warmup_bias_lr"}


@dataclass(frozen=True)
class Found:
    """What a range test suggested: None where its curve allowed nothing."""

    outcome: str
    max_lr: float | None
    steepest: float | None

    def rate(self, policy: str) -> float | None:
        """The lr0 of a policy."""
        return peak_of(self, policy)


def wanted(cell: Cell) -> bool:
    """Whether a run's rate is to be found."""
    return cell.asked.hyp.lr0 == "find"


def place(study: Path, cell: Cell) -> Path:
    """The file of the range test that a run takes its rate from: the same for all policies, seeds and lengths."""
    used = {name: value for name, value in sorted(cell.identity.items()) if name not in UNUSED}
    digest = hashlib.sha256(repr(used).encode()).hexdigest()[:8]
    return study / "rates" / f"{cell.asked.run.optim}-{digest}.json"


def load(path: Path) -> Found | None:
    """A range test's result; None where it was not made yet. Raises UserError for a file that is not one."""
    try:
        return Found(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not readable ({error}); remove it") from None


def find(path: Path, argv: list[str], shared: Shared) -> Found:
    """Make the range test of a run's options and keep its result, table and picture."""
    asked, _ = options.parse(argv, "train.py", "")
    asked.hyp.lr0 = None  # the test sets the rate
    result = find_rate(start.prepare(asked, shared))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(result, path.with_suffix(".csv"))
    plot_range_test(result, path.with_suffix(".png"))
    rates = [None if rate is None else float(f"{rate:.3g}") for rate in (result.max_lr, result.steepest)]
    found = Found(result.outcome, *rates)
    write_atomic(path, json.dumps(vars(found), indent=1))
    return found


def argv(cell: Cell, found: Found | None) -> list[str]:
    """A run's command line with the rate in place of `find`."""
    words = list(cell.argv)
    if not wanted(cell) or found is None:
        return words
    if "--lr0" in words:
        at = words.index("--lr0")
        del words[at : at + 2]
    return [*words, "--lr0", repr(found.rate(cell.asked.run.lr_policy))]


def best(cells: list[Cell], scores: dict[str, float]) -> list[str]:
    """Where the rate is an axis: a line an optimizer with each policy's best, by the mean of the runs' `scores`."""
    found: dict[tuple[str, str], dict[float, list[float]]] = {}
    for cell in cells:
        if "lr0" in cell.settings and cell.name in scores:
            at = found.setdefault((cell.settings["optim"], cell.settings["lr_policy"]), {})
            at.setdefault(cell.settings["lr0"], []).append(scores[cell.name])
    lines: dict[str, list[str]] = {}
    for (optim, policy), by_rate in found.items():
        rate = max(by_rate, key=lambda rate: statistics.mean(by_rate[rate]))
        lines.setdefault(optim, []).append(f"{policy} {label(rate)} of {', '.join(map(label, by_rate))}")
    return [f"best lr0 of {optim} by mean mAP50-95: {'; '.join(parts)}" for optim, parts in lines.items()]


def notes(study: Path, cells: list[Cell]) -> list[str]:
    """A line for each range test: what it found, and who uses which."""
    paths = {place(study, cell): cell for cell in cells if wanted(cell)}
    lines = []
    for path, cell in paths.items():
        found = load(path)
        if found is not None:
            rates: dict[str, Any] = {"the largest": found.max_lr, "the steepest": found.steepest}
            used = ", ".join(f"{name} {'none' if rate is None else f'{rate:g}'}" for name, rate in rates.items())
            found_by = f"lr0 of {cell.asked.run.optim} was found by a range test ({path.relative_to(study)})"
            lines.append(f"{found_by}: {used}; policies that ramp up use the largest, the others the steepest")
    return lines
