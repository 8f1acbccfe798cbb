"""A run inside a worker is the run that train.py makes by itself, whatever the worker did before."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ablation import records, worker
from ablation.ray_actor import RayActor, shared
from ablation.study import FILE
from ablation.view import FAILED, FINISHED, WAITING
from ablation.worker_pool import LocalWorker, Placement
from data.shared import Shared
from data.store import ImageStore
from tests.trainer import Runs, assert_identical, wait_for
from training import folder
from training.folder import is_locked
from utils import checkpoint
from utils.errors import UserError

OTHER = (".options.run.project", ".options.run.exist_ok", ".options.run.name")


@pytest.fixture
def local_worker(runs: Runs, tmp_path: Path) -> Iterator[LocalWorker]:
    """A worker process in the current folder."""
    made = LocalWorker(Placement("cpu"), tmp_path / "workers.log")
    yield made
    made.close()


def job(runs: Runs, name: str, text: str = "", **changed: Any) -> dict[str, Any]:
    folder = Path("study", "runs", name)
    argv = runs.flags(text, **{"epochs": 2} | changed)
    return {"argv": argv, "folder": str(folder), "console": str(folder / "console.txt"), "needs": 0.0}


def done(local_worker: LocalWorker, task: dict[str, Any]) -> int:
    local_worker.begin(task)
    return local_worker.answer()["code"]


def alone(runs: Runs, name: str, text: str = "", **changed: Any) -> Path:
    """The same run by train.py."""
    assert runs(text, **{"epochs": 2, "project": "alone", "name": name} | changed) == 0
    return Path("alone", name)


@pytest.mark.slow
def test_runs_leave_nothing_to_those_after_them(runs: Runs, local_worker: LocalWorker) -> None:
    lines = {
        "plain": "--lr-policy sgdr --optim adamw",
        "other": "--deterministic --seed 3 --optim-arg nesterov=false --clip-grad 1",
        "bad": "--lr0 1e30",
        "again": "--lr-policy sgdr --optim adamw",
    }
    codes = {name: done(local_worker, job(runs, name, text)) for name, text in lines.items()}
    assert codes == {"plain": 0, "other": 0, "bad": 2, "again": 0}
    said = records.last_lines(Path("study", "runs", "bad", "console.txt")).splitlines()
    assert said[-1].startswith("error: loss is not finite at step")
    for name in ("plain", "other", "again"):
        folder = Path("study", "runs", name)
        assert_identical(folder, alone(runs, name, lines[name]), OTHER)
        log = (folder / "train.log").read_text()
        assert "1e+30" not in log
        assert "epoch 2/2" in log


@pytest.mark.slow
def test_pictures_are_decoded_once(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those of other sizes are let go of before: no more are in memory than of one run by itself."""
    made, there, fill = [], weakref.WeakSet(), ImageStore._fill

    def note(store: ImageStore, *rest: Any) -> None:
        there.add(store)
        made.append((store.size, [other.size for other in there]))
        fill(store, *rest)

    monkeypatch.setattr(ImageStore, "_fill", note)
    shared = Shared()
    for seed, size in ((0, 64), (1, 64), (2, 96), (3, 64), (4, 64)):
        assert worker.do(job(runs, f"s{seed}", seed=seed, imgsz=size, epochs=1), shared)["code"] == 0
    assert [size for size, _ in made] == [64, 64, 96, 96, 64, 64]  # training and validation
    assert all(set(sizes) == {size} and len(sizes) <= 2 for size, sizes in made)


@pytest.mark.slow
def test_a_run_that_was_stopped_and_killed_goes_on_exactly(runs: Runs, local_worker: LocalWorker) -> None:
    task = job(runs, "run", "--optim adamw --save-steps 1", epochs=24)
    folder = Path(task["folder"])

    def rows(number: int) -> Callable[[], bool]:
        return lambda: records.epochs_done(folder) >= number

    local_worker.begin(task)
    wait_for(local_worker._process, rows(1))
    local_worker.interrupt()
    assert local_worker.answer()["code"] == 130
    assert records.read(folder).status == WAITING
    local_worker.close()  # a worker that was told to stop takes nothing more
    local_worker.begin(task)
    wait_for(local_worker._process, rows(4))
    local_worker._process.kill()
    answer = local_worker.answer()
    assert (answer["died"], answer["how"]) == (True, "signal SIGKILL")
    assert done(local_worker, task) == 0  # a new process
    record = records.read(folder)
    assert record.status == FINISHED
    assert len(record.sessions) == 3
    assert record.seconds == pytest.approx(sum(s["seconds"] for s in record.sessions))
    assert all(session["seconds"] > 0 for session in record.sessions)
    assert_identical(folder, alone(runs, "run", "--optim adamw --save-steps 1", epochs=24), OTHER)


@pytest.mark.slow
def test_a_stop_is_not_lost_while_a_worker_starts(runs: Runs, local_worker: LocalWorker) -> None:
    local_worker.begin(job(runs, "run", epochs=500, patience=0))
    local_worker.interrupt()
    assert local_worker.answer()["code"] == 130
    assert records.read(Path("study", "runs", "run")).status == WAITING


@pytest.mark.slow
def test_a_stop_that_comes_before_its_job_is_kept_for_it(runs: Runs, tmp_path: Path) -> None:
    """What Ray's actor does, which hears of both on threads of their own."""
    (tmp_path / FILE).touch()
    actor = RayActor("cpu", tmp_path / "workers.log", shared(tmp_path, str(runs.faces)), cpus=1.0)
    assert actor.start()["wrong"] == ""
    try:
        actor.interrupt()
        assert actor.do(job(runs, "run", epochs=500, patience=0))["code"] == 130
    finally:
        actor.close()


def test_a_finished_checkpoint_beats_a_recorded_failure(runs: Runs) -> None:
    task = job(runs, "run", epochs=1)
    folder = Path(task["folder"])
    records.fail(folder, "it was tired")
    assert records.read(folder).status == FAILED
    assert worker.do(task, Shared())["code"] == 0
    record = records.read(folder)
    assert (record.status, record.error) == (FINISHED, "")
    assert record.metrics["epochs"] == 1
    assert record.lr0 == 0.01


@pytest.mark.parametrize("left", [None, 1, 2])
def test_a_finished_run_without_its_table_has_failed(runs: Runs, left: int | None) -> None:
    assert runs(epochs=2) == 0
    table = runs.run() / "results.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.unlink()
    if left is not None:
        table.write_text("".join(lines[:left]))
    (runs.run() / "weights" / "best.pt").unlink()  # the last epoch is the one that counts
    record = records.read(runs.run())
    assert record.status == FAILED
    assert record.error.startswith(str(table))
    assert record.error.endswith(records.REMEDY)
    assert "\n" not in record.error


def test_a_damaged_checkpoint_is_one_line_and_no_fault(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    task = job(runs, "run")
    last = Path(task["folder"], "weights", "last.pt")
    last.parent.mkdir(parents=True)
    last.write_bytes(b"PK torn")
    assert worker.do(task, Shared()) == {"code": 2}
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"error: {last}")
    assert said[0].endswith(records.REMEDY)
    assert records.read(Path(task["folder"])).error == said[0].removeprefix("error: ")


@pytest.mark.parametrize(("kept", "epoch"), [(2, 2), (1, 1), ("torn", 3), (None, 3)])
def test_the_metrics_are_those_of_the_best_weights(tmp_path: Path, kept: int | str | None, epoch: int) -> None:
    """Of those that are there. With --nosave there are none: the last ones were validated."""
    columns = "epoch,metrics/precision,metrics/recall,metrics/mAP_0.5,metrics/mAP_0.5:0.95"
    rows = [f"{e},0.{e}1,0.{e}2,0.{e}3,0.{e}4" for e in range(3)]
    (tmp_path / "results.csv").write_text("\n".join([columns, *rows]) + "\n")
    (tmp_path / "weights").mkdir()
    if kept == "torn":
        (tmp_path / "weights" / "best.pt").touch()
    elif kept:
        checkpoint.save(tmp_path / "weights" / "best.pt", {"epoch": kept})
    found = records.final_metrics(tmp_path, {"best_epoch": 2, "epoch": 3})
    e = epoch - 1
    scores = {"precision": f"0.{e}1", "recall": f"0.{e}2", "mAP50": f"0.{e}3", "mAP50-95": f"0.{e}4"}
    assert found == {name: float(text) for name, text in scores.items()} | {"best_epoch": epoch, "epochs": 3}


def test_looking_at_a_folder_does_not_keep_a_run_out(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    enough = threading.Event()

    def look() -> None:
        while not enough.is_set():
            is_locked(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            folder.lock(tmp_path).close()
    finally:
        enough.set()
        for looker in lookers:
            looker.join()
    with folder.lock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(UserError, match="another process is training here"):
            folder.lock(tmp_path)
    assert not is_locked(tmp_path)


def test_a_session_that_was_killed_before_its_first_checkpoint_counts_nothing(tmp_path: Path) -> None:
    records.begin(tmp_path, device="x", host="y")
    records.begin(tmp_path, device="x", host="y")
    records.end(tmp_path, seconds=2.0, memory_gb=1.0)
    assert [session["seconds"] for session in records.read(tmp_path).sessions] == [0.0, 2.0]
    assert records.read(tmp_path).seconds == 2.0
