"""Studies killed at any moment and taken up end as those that were never stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ablation.view import FINISHED
from tests.ablation.studies import STUDY, assert_same_study, child, kill, statuses, study, words
from tests.trainer import Runs, wait_for

TABLE_5_BY_4 = "--lr-policy linear,cosine,onecycle,sgdr,clr --optim sgd,sgdw,adam,adamw --seeds 2"


def finished(number: int) -> Callable[[], bool]:
    """Whether so many runs are, and another has begun: they go one after the other."""
    return lambda: len(list((STUDY / "runs").glob("*"))) > number


@pytest.mark.slow
def test_a_small_study_killed_once(runs: Runs) -> None:
    flags = "--optim sgd,adamw --save-steps 1"
    process = child(words(runs, flags, epochs=12))
    wait_for(process, finished(1))
    kill(process)
    assert set(statuses().values()) != {FINISHED}
    assert study(runs, flags, epochs=12) == 0
    assert study(runs, f"{flags} --name whole", epochs=12) == 0
    assert_same_study(STUDY, STUDY.with_name("whole"))


@pytest.mark.slow
def test_five_policies_by_four_optimizers_by_two_seeds_killed_three_times(runs: Runs) -> None:
    """It starts in other processes each time; a worker whose parent was killed ends by itself."""
    argv = words(runs, TABLE_5_BY_4)
    for number in (3, 17, 33):
        process = child(argv)
        wait_for(process, finished(number), seconds=240)
        kill(process)
    assert len(statuses()) < 40
    assert study(runs, TABLE_5_BY_4) == 0
    assert len(statuses()) == 40
    assert set(statuses().values()) == {FINISHED}
    assert study(runs, f"{TABLE_5_BY_4} --name whole") == 0
    assert_same_study(STUDY, Path("runs", "ablate", "whole"))
