"""Cells and their verdicts: what chance alone makes of equal cells, and what is a cell and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablation.ranking import CLEAR, NO_EVIDENCE, axes, cells, rank
from ablation.view import FAILED
from tests.ablation.synthetic import changed, grid, run


def test_cells_gather_seeds_and_nothing_else() -> None:
    runs = grid(Path(), 3, policies=["clr", "sgdr"], optimizers=["sgd"], axes={"momentum": [0.9, 0.95]})
    assert axes(runs) == ["lr_policy", "momentum"]
    found = cells(runs)
    assert [len(cell.runs) for cell in found] == [3] * 4
    assert found[1].label == "clr · sgd · momentum=0.95"


def test_settings_that_some_runs_lack_and_their_order() -> None:
    """A named variant may set what others leave alone; the order of settings makes no cell."""
    plain, other = (run(Path(), 0.4, lr_policy="clr", optim="sgd", seed=seed) for seed in (0, 1))
    more = replace(plain, settings=plain.settings | {"lr_arg": ["cycles=2"]})
    turned = replace(other, settings=dict(reversed(other.settings.items())))
    found = cells([plain, more, turned])
    assert [len(cell.runs) for cell in found] == [2, 1]
    assert [cell.label for cell in found] == ["clr · sgd", "clr · sgd · lr_arg=cycles=2"]


def test_failed_and_broken_values_do_not_count() -> None:
    runs = [run(Path(), 0.4, lr_policy="clr", optim="sgd", seed=seed) for seed in range(3)]
    runs = changed(runs, lambda r: r.settings["seed"] == 0, status=FAILED)
    runs = changed(runs, lambda r: r.settings["seed"] == 1, metrics={"mAP50-95": float("nan")})
    assert cells(runs)[0].values() == {"2": 0.4}


@pytest.mark.parametrize("shift", [0.1, 0.25])
def test_a_shift_of_all_values_changes_no_verdict(shift: float) -> None:
    runs = grid(Path(), 3)
    moved = [replace(r, metrics=r.metrics | {"mAP50-95": r.metrics["mAP50-95"] + shift}) for r in runs]
    first, second = rank(cells(runs)), rank(cells(moved))
    assert [(e.cell.label, e.verdict) for e in first.entries] == [(e.cell.label, e.verdict) for e in second.entries]


def test_equal_cells_are_no_evidence() -> None:
    runs = [run(Path(), 0.1 + seed / 10, lr_policy="clr", optim=o, seed=seed) for o in "ab" for seed in range(3)]
    best, other = rank(cells(runs)).entries
    assert best.cell.label == "clr · a"  # the order of the grid
    assert (other.verdict, other.difference.mean) == (NO_EVIDENCE, 0)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seeds", "called"), [(5, 3, 0.33), (20, 3, 0.48), (20, 5, 0.40)])
def test_what_chance_makes_of_equal_cells(count: int, seeds: int, called: float) -> None:
    """The table of docs/ablation.md: the part of cells with a verdict, and that a clear one is rare. 100 studies."""
    random = np.random.default_rng(5)
    evidence, clear = [], 0
    for _ in range(100):
        table = random.normal(0.4, 0.01, (count, seeds))
        runs = [run(Path(), v, lr_policy=str(i), optim="sgd", seed=s) for (i, s), v in np.ndenumerate(table)]
        verdicts = [entry.verdict for entry in rank(cells(runs)).entries if entry.difference]
        evidence.append(np.mean([verdict != NO_EVIDENCE for verdict in verdicts]))
        clear += CLEAR[-1] in verdicts
    assert np.mean(evidence) == pytest.approx(called, abs=3 * np.std(evidence) / 10)
    assert clear <= 10  # 5 % or less are meant: 10 of 100 is 2.3 standard errors above
