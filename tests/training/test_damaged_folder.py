"""A run's folder whose files were cut, replaced by links or lost: the resume says so, and stays in that folder."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import train
from tests.trainer import Runs, assert_identical, at_step, send
from training import folder
from utils import checkpoint
from utils.errors import UserError


@pytest.fixture(scope="module")
def whole(module_runs: Runs) -> Path:
    """A run of two epochs, 4 steps, that nothing interrupted."""
    assert module_runs(epochs=2) == 0
    return module_runs.run()


@pytest.fixture
def stopped(whole: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run, stopped after its third step."""
    with monkeypatch.context() as patch:
        at_step(patch, 3, send(signal.SIGTERM))
        assert runs(epochs=2) == 143
    return runs.run()


@pytest.mark.parametrize("target", ["a file", "nothing", "itself"])
def test_a_link_in_place_of_last_pt(whole: Path, stopped: Path, runs: Runs, target: str) -> None:
    """The run is where the link is, not where it leads."""
    last, other = stopped / "weights" / "last.pt", runs.folder / "elsewhere" / "deep" / "last.pt"
    if target == "a file":
        other.parent.mkdir(parents=True)
        shutil.move(last, other)
    last.unlink(missing_ok=True)
    last.symlink_to("last.pt" if target == "itself" else other)
    assert runs.resume(stopped) == 0
    assert_identical(whole, stopped)
    assert not (runs.folder / "elsewhere" / "results.csv").exists()


def test_a_link_from_elsewhere_to_last_pt(whole: Path, stopped: Path, runs: Runs) -> None:
    link = runs.folder / "here.pt"
    link.symlink_to(stopped / "weights" / "last.pt")
    assert train.main(["--resume", str(link)]) == 0
    assert_identical(whole, stopped)


def test_a_checkpoint_outside_a_run_is_refused(stopped: Path, runs: Runs, capsys) -> None:
    """It would go on in the folder above."""
    copy = shutil.copy(stopped / "weights" / "last.pt", runs.folder / "last.pt")
    before = sorted(runs.folder.parent.iterdir())
    assert train.main(["--resume", str(copy)]) == 2
    assert capsys.readouterr().out.splitlines()[-1].endswith("move it to FOLDER/weights/last.pt to resume there")
    assert sorted(runs.folder.parent.iterdir()) == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def of_another_epoch(path: Path) -> None:
    checkpoint.save(path, checkpoint.load(path) | {"epoch": 7})


def of_another_network(path: Path) -> None:
    checkpoint.save(path, checkpoint.load(path) | {"ema": {}})


def not_to_be_beaten(run: Path) -> None:
    """The epoch that is best so far stays it: a small network's fitness is 0, where every later one would be."""
    last = run / "weights" / "last.pt"
    checkpoint.save(last, checkpoint.load(last) | {"best_fitness": 0.5})


def test_a_best_pt_of_another_epoch_is_said(stopped: Path, runs: Runs, capsys) -> None:
    not_to_be_beaten(stopped)
    of_another_epoch(stopped / "weights" / "best.pt")
    assert runs.resume(stopped) == 0
    assert "best epoch 1 of 2, whose weights were not kept: the figures are of epoch 7's" in capsys.readouterr().out


@pytest.mark.parametrize("spoil", [Path.unlink, cut, of_another_network])
def test_a_best_pt_that_cannot_be_used_is_said(stopped: Path, runs: Runs, spoil: Callable, capsys) -> None:
    """And the run comes to its end, with the last weights validated."""
    not_to_be_beaten(stopped)
    best = stopped / "weights" / "best.pt"
    spoil(best)
    assert runs.resume(stopped) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "in place of the best" in line]
    assert len(said) == 1
    assert str(best) in said[0]
    assert checkpoint.facts(stopped / "weights" / "last.pt")["finished"]


def test_a_run_that_cannot_be_read_is_not_called_finished(stopped: Path, caplog) -> None:
    for path in (stopped / "weights").glob("last*.pt"):
        cut(path)
    with pytest.raises(UserError, match="finished or damaged"):
        folder.newest_unfinished(stopped.parent)


JUNK = b"\xff\xfe\n"


@pytest.mark.parametrize(
    ("table", "spoil"),
    [
        ("results.csv", lambda data: data + JUNK),
        ("results.csv", lambda data: data + b"1" * 200_000),
        ("results.csv", lambda data: data[:-20]),
        ("results.csv", lambda data: data.replace(b"\n0,", b"\nnan,")),
        ("results.csv", lambda data: bytes(len(data))),
        ("cycles.csv", lambda _: JUNK),
    ],
)
def test_a_damaged_table_is_named(stopped: Path, runs: Runs, table: str, spoil: Callable, capsys) -> None:
    path = stopped / table
    path.write_bytes(spoil(path.read_bytes() if path.exists() else b""))
    assert runs.resume(stopped) == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"error: {path}:")


@pytest.mark.parametrize("table", ["results.csv", "lr.csv"])
def test_a_lost_table_is_said(stopped: Path, runs: Runs, table: str, capsys) -> None:
    (stopped / table).unlink()
    assert runs.resume(stopped) == 0
    wanted = 1 if table == "results.csv" else 3
    assert f"{stopped / table}: has 0 of the {wanted} rows from before the resume" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "left"),
    [
        (lambda data: data[:-5] + b"\0" * 9, 2),
        (lambda data: data + JUNK, 3),
        (lambda data: data + data.splitlines()[-1][:9] + data.splitlines()[-1], 3),  # a row that a part is before
    ],
)
def test_the_sound_rows_of_the_rates_stay(
    whole: Path, stopped: Path, runs: Runs, spoil: Callable, left: int, capsys
) -> None:
    path = stopped / "lr.csv"
    path.write_bytes(spoil(path.read_bytes()))
    assert runs.resume(stopped) == 0
    rows = (whole / "lr.csv").read_text().splitlines()
    assert path.read_text().splitlines() == rows[: 1 + left] + rows[4:]
    assert ("has 2 of the 3 rows" in capsys.readouterr().out) == (left == 2)


def test_empty_lines_of_a_table_are_nothing(whole: Path, stopped: Path, runs: Runs) -> None:
    path = stopped / "results.csv"
    path.write_bytes(path.read_bytes() + b",,,\n\n")
    assert runs.resume(stopped) == 0
    assert_identical(whole, stopped)


@pytest.mark.parametrize(
    ("names", "flags", "code"),
    [("[wrong, bare, masked]", "", 2), ("[wrong, bare, masked]", "--force", 0), ("[a, b, c, d]", "--force", 2)],
)
def test_other_names_for_the_classes_are_refused(
    stopped: Path, runs: Runs, names: str, flags: str, code: int, capsys
) -> None:
    other = runs.folder / "other.yaml"
    other.write_text(runs.faces.read_text().replace("[bare, masked, wrong]", names))
    assert runs.resume(stopped, f"--data {other} {flags}") == code
    said = f"'names' of {other} differ from the run's; give the run's"
    assert (said in capsys.readouterr().out) == (code == 2)
