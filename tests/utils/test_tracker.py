"""results.csv, cycles.csv and TensorBoard events."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils.errors import UserError
from utils.tracker import CyclesCsv, ResultsCsv, TensorBoard, read_csv

HEADER = (
    "epoch,train/box_loss,train/obj_loss,train/cls_loss,metrics/precision,metrics/recall,metrics/mAP_0.5,"
    "metrics/mAP_0.5:0.95,val/box_loss,val/obj_loss,val/cls_loss,x/lr0,x/lr1,x/lr2"
)


def row(epoch: int, value: float = 0.5) -> dict[str, float]:
    return dict.fromkeys(HEADER.split(","), value) | {"epoch": epoch}


def test_writes_the_columns_in_order_without_padding(tmp_path: Path) -> None:
    table = ResultsCsv(tmp_path / "results.csv")
    values = np.arange(13) / 7
    entry = dict(zip(HEADER.split(","), [0, *values], strict=True))
    table.append(dict(reversed(entry.items())))
    expected = "0,0,0.142857,0.285714,0.428571,0.571429,0.714286,0.857143,1,1.14286,1.28571,1.42857,1.57143,1.71429"
    assert (tmp_path / "results.csv").read_text() == f"{HEADER}\n{expected}\n"


def test_nothing_is_written_before_the_first_row(tmp_path: Path) -> None:
    assert ResultsCsv(tmp_path / "results.csv").rows() == []
    assert list(tmp_path.iterdir()) == []


@given(value=st.floats(1e-12, 1e6) | st.sampled_from([0.0, float("inf")]))
def test_values_survive_to_six_digits(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    path = tmp_path_factory.mktemp("csv") / "results.csv"
    ResultsCsv(path).append(row(0, value))
    assert ResultsCsv(path).rows()[0]["x/lr0"] == pytest.approx(value, rel=5.1e-6)


def test_nan_is_kept_as_nan(tmp_path: Path) -> None:
    ResultsCsv(tmp_path / "r.csv").append(row(0, float("nan")))
    assert np.isnan(read_csv(tmp_path / "r.csv")[0]["val/box_loss"])


def test_one_row_an_epoch(tmp_path: Path) -> None:
    table = ResultsCsv(tmp_path / "results.csv")
    table.append(row(3))
    for epoch in (3, 2):
        with pytest.raises(ValueError, match=f"epoch {epoch} is written already"):
            table.append(row(epoch))


@pytest.mark.parametrize("change", [{"x/lr9": 1.0}, {"x/lr0": None}])
def test_other_columns_are_refused(tmp_path: Path, change: dict[str, float | None]) -> None:
    entry = {name: value for name, value in (row(0) | change).items() if value is not None}
    with pytest.raises(ValueError, match="x/lr"):
        ResultsCsv(tmp_path / "results.csv").append(entry)


def test_a_resumed_run_writes_the_same_bytes(tmp_path: Path) -> None:
    whole, parts = ResultsCsv(tmp_path / "whole.csv"), tmp_path / "parts.csv"
    for epoch in range(6):
        whole.append(row(epoch, epoch / 7))
    for start, stop in ((0, 4), (2, 3), (3, 6)):  # interrupted beyond the checkpoint, at it, then finished
        table = ResultsCsv(parts)
        table.keep_until(start)
        for epoch in range(start, stop):
            table.append(row(epoch, epoch / 7))
    assert parts.read_bytes() == whole.path.read_bytes()
    assert [entry["epoch"] for entry in ResultsCsv(parts).rows()] == list(range(6))


def test_a_crash_while_writing_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = ResultsCsv(tmp_path / "results.csv")
    table.append(row(0))
    before = table.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            table.append(row(1))
    assert table.path.read_bytes() == before
    table.append(row(2))  # the refused row is written with the next one
    assert [entry["epoch"] for entry in ResultsCsv(table.path).rows()] == [0, 1, 2]


def test_a_padded_file_is_read_and_continued_without_padding(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("  " + ",   ".join(HEADER.split(",")) + "\n" + ",".join(["      0"] + ["  0.25"] * 13) + "\n\n")
    ResultsCsv(path).append(row(1, 0.25))
    assert path.read_text() == f"{HEADER}\n0{',0.25' * 13}\n1{',0.25' * 13}\n"


@pytest.mark.parametrize("line", ["0,1,2", ",".join(["0", "x", *["1"] * 12])])
def test_a_broken_row_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.csv"
    path.write_text(f"{HEADER}\n{line}\n")
    with pytest.raises(UserError, match=r"results\.csv:2: "):
        ResultsCsv(path)


def test_foreign_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(UserError, match=r"results\.csv:1: "):
        ResultsCsv(tmp_path / "results.csv")


def test_cycles_are_dropped_by_number(tmp_path: Path) -> None:
    table = CyclesCsv(tmp_path / "cycles.csv")
    for step, cycle, epoch in ((10, 1, 2.5), (30, 2, 7.5)):
        table.append(dict.fromkeys(table.columns, 0.5) | {"step": step, "cycle": cycle, "epoch": epoch})
    table.keep_until(2)
    assert [(entry["cycle"], entry["epoch"]) for entry in CyclesCsv(table.path).rows()] == [(1, 2.5)]


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def test_tensorboard_events(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    with TensorBoard(tmp_path) as board:
        board.add_scalars({"x/lr0": 0.1, "x/momentum0": np.float32(0.9)}, 3)
        board.picture("train_batch0", image, 1)
        board.text("options", "epochs: 3")
    board.add_scalars({"late": 1.0}, 4)
    read = events(tmp_path)
    assert {tag: (e.step, round(e.value, 6)) for tag in read.Tags()["scalars"] for e in read.Scalars(tag)} == {
        "x/lr0": (3, 0.1),
        "x/momentum0": (3, 0.9),
    }
    shown = read.Images("train_batch0")[0]
    assert (shown.width, shown.height, shown.step) == (30, 20, 1)
    assert read.Tags()["tensors"] == ["options/text_summary"]


def test_tensorboard_hides_what_a_resume_does_again(tmp_path: Path) -> None:
    with TensorBoard(tmp_path) as board:
        for step in range(5):
            board.add_scalars({"loss": step}, step)
    with TensorBoard(tmp_path, purge_step=3) as board:
        board.add_scalars({"loss": 30}, 3)
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("loss")] == [(0, 0), (1, 1), (2, 2), (3, 30)]


def test_without_tensorboard_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr(logging.getLogger("anneal"), "propagate", True)
    with TensorBoard(tmp_path / "events") as board:
        board.add_scalars({"loss": 1.0}, 0)
        board.picture("x", np.zeros((4, 4, 3), np.uint8))
        board.text("x", "y")
    assert len(caplog.records) == 1
    assert "pip install tensorboard" in caplog.text
    assert not (tmp_path / "events").exists()
