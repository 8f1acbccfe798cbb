"""What the end of a run says of its curves: each hint where its evidence is, and none of them where it is not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import hints
from utils.tracker import METRICS, VAL_LOSSES


def rows(found: list[float], train: list[float] | None = None, val: list[float] | None = None) -> list[dict]:
    """Rows of results.csv whose mAP50-95 is `found`, mAP50 twice that, and whose total losses are as given."""
    table = []
    for i, score in enumerate(found):
        losses = (train or [0.1] * len(found))[i], (val or [0.1] * len(found))[i]
        row = {
            "epoch": float(i),
            "x/lr1": 0.01,
            METRICS[0]: 0.5,
            METRICS[1]: 0.5,
            METRICS[2]: 2 * score,
            METRICS[3]: score,
        }
        for names, loss in zip((hints.TRAIN_LOSSES, VAL_LOSSES), losses, strict=True):
            row |= dict.fromkeys(names, loss / 3)
        table.append(row)
    return table


def test_a_curve_that_rises_to_the_end_is_told() -> None:
    rising = hints.still_rising(rows([0.01 * i for i in range(40)]))
    assert rising == "mAP50-95 was still rising, by 0.080 over the last 8 epochs: more --epochs may give more"


@pytest.mark.parametrize(
    "curve",
    [
        [0.01 * i for i in range(9)],  # too short a run
        [min(0.01 * i, 0.2) for i in range(40)],  # flat since the middle
        [0.2 + 0.05 * (i % 2) for i in range(40)],  # noise
        [0.3 - 0.001 * i for i in range(40)],
        [math.nan] * 39 + [0.3],  # --noval
        [0.1] * 32 + [0.2] * 4 + [0.15] * 4,  # above, but falling again
    ],
)
def test_and_no_other(curve: list[float]) -> None:
    assert hints.still_rising(rows(curve)) == ""


def test_training_far_below_a_validation_that_has_turned() -> None:
    train = [0.2 - 0.004 * i for i in range(40)]
    val = [0.12 + 0.004 * abs(i - 15) for i in range(40)]
    line = hints.overfitting(rows([0.2] * 40, train, val))
    assert line.startswith(
        "validation's loss turned after epoch 16 and ended at 0.202, training's at 0.058: more pictures"
    )
    assert hints.overfitting(rows([0.2] * 40, train, [0.12] * 40)) == ""  # above, but it never turned
    assert hints.overfitting(rows([0.2] * 40, [2 * loss for loss in val], val)) == ""  # turned, but not above
    assert hints.overfitting(rows([0.2] * 40, train, [math.nan] * 40)) == ""


def test_a_loss_that_jumps_and_loses_what_was_learned() -> None:
    found, losses = [0.1, 0.2, 0.3, 0.05, 0.05], [0.3, 0.2, 0.15, 0.4, 0.35]
    line = hints.diverged(rows(found, losses))
    assert line == "in epoch 4 the loss rose from 0.150 to 0.400 at a rate of 0.01: a lower --lr0"
    assert hints.diverged(rows([0.1, 0.2, 0.3, 0.29, 0.3], losses)) == ""  # nothing was lost
    assert hints.diverged(rows(found)) == ""


def test_a_class_that_is_never_found() -> None:
    names, trained = ("cat", "dog", "emu"), [40, 900, 3]
    line = hints.never_found({0: 0.0, 1: 0.8, 2: 0.001}, {0: 4, 1: 90, 2: 1}, trained, names)
    assert (
        line == "never found: cat (40 boxes to train on), emu (3 boxes to train on): more such boxes, or a higher --cls"
    )
    assert hints.never_found({1: 0.8}, {1: 90}, trained, names) == ""
    assert hints.never_found({0: 0.0, 1: 0.0}, {0: 4, 1: 90}, trained, names) == ""


def test_how_many_boxes_tell_two_hundredths_apart() -> None:
    line = hints.too_few({0: 0.5}, {0: 100})  # twice the standard error of a half of 100 is 0.1
    assert line.startswith("validation has 100 boxes: mAP50 is known to about 0.10 either way")
    assert line.endswith("to tell 0.02 apart takes about 2,500")
    assert hints.too_few({0: 0.5}, {0: 2500}) == ""
    assert hints.too_few({}, {}) == ""


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=60), st.lists(st.floats(0, 10), min_size=60, max_size=60))
def test_any_table_is_read(found: list[float], losses: list[float]) -> None:
    table = rows(found, losses[: len(found)], losses[::-1][: len(found)])
    for line in (hints.still_rising(table), hints.overfitting(table), hints.diverged(table)):
        assert "\n" not in line
        assert "nan" not in line


def test_a_run_says_them_after_its_table(runs) -> None:
    assert runs(epochs=1) == 0
    log = (runs.run() / "train.log").read_text()
    assert "hint: validation has " in log
    assert log.index("mAP50-95") < log.index("hint: ") < log.index("weights, tables and pictures")
