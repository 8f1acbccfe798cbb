"""When a phase of a run begins, as a function of its options alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer import Runs
from training import phases
from training.run_options import RunOptions


@pytest.mark.parametrize(
    ("epochs", "last", "closing"),
    [
        *((100, 0, None), (100, 10, 90), (8, 8, 0), (8, 9, 0), (8, 1, 7)),
        *((1, "auto", 0), (9, "auto", 8), (20, "auto", 18), (29, "auto", 27), (150, "auto", 135), (400, "auto", 385)),
    ],
)
def test_the_closing_epoch(epochs: int, last: int | str, closing: int | None) -> None:
    run = RunOptions(epochs=epochs, close_mosaic=last)
    assert phases.closing_epoch(run) == closing
    assert phases.marks(run) == ([] if closing is None else [(closing, "mosaic off")])


@given(st.integers(1, 1000))
def test_auto_closes_one_to_fifteen_epochs_and_never_more_than_a_tenth_of_ten_or_more(epochs: int) -> None:
    closed = epochs - phases.closing_epoch(RunOptions(epochs=epochs, close_mosaic="auto"))
    assert 1 <= closed <= 15
    assert closed <= epochs / 10 or closed == 1


@pytest.mark.parametrize("flags", ["--rect", "--mosaic 0", "--mosaic 0 --mosaic9 0 --close-mosaic 0 --close-mosaic 3"])
def test_what_closes_nothing_is_refused(flags: str, runs: Runs, capsys) -> None:
    assert runs(f"--close-mosaic auto {flags}") == 2
    assert "--close-mosaic would do nothing: there is no mosaic or mixup to close" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["-1", "some", "1.5"])
def test_what_is_no_number_of_epochs_is_refused(value: str, runs: Runs, capsys) -> None:
    assert runs(f"--close-mosaic={value}") == 2
    out = capsys.readouterr().out
    assert "close-mosaic" in out
    assert out.count("\n") == 1
