"""Who gets which run, and what an answer means: on workers that answer what they are told to, for GPUs we lack."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from ablation import rates, runner
from ablation.definition import Definition
from ablation.progress import Screen
from ablation.slots import Demand
from ablation.study import Study, plan
from ablation.view import FAILED, FINISHED, WAITING
from ablation.worker_pool import Placement, placements
from tests.trainer import Runs
from utils.console.signals import StopRequest
from utils.errors import UserError
from utils.files.atomic import write_atomic

DONE = {"code": 0, "peak": 3.0}


@dataclass(eq=False)
class Worker:
    """Notes its jobs; a run is done by copying one that train.py made."""

    place: Placement
    finished: Path
    script: dict[str, list[dict[str, Any]]]
    said: list[tuple[str, float]] = field(default_factory=list)
    patience: list[float | None] = field(default_factory=list)
    stopped: bool = False

    def begin(self, job: dict[str, Any]) -> None:
        name = Path(job.get("folder", job.get("find"))).name
        self.said.append((name, job["needs"]))
        self.patience.append(job.get("patience"))
        answers = self.script.get(name, [])
        self.next = answers.pop(0) if answers else DONE
        if self.next is DONE and "folder" in job:
            shutil.copytree(self.finished, job["folder"], dirs_exist_ok=True)
        if self.next is DONE and "find" in job:
            Path(job["find"]).parent.mkdir(exist_ok=True)
            write_atomic(Path(job["find"]), '{"outcome": "it fell", "max_lr": 0.5, "steepest": 0.1}')

    def interrupt(self) -> None:
        self.stopped = True


@dataclass
class WorkerPool:
    """Answers one job at a time, the oldest worker's first."""

    workers: list[Worker]

    def wait(self, busy: list[Worker], seconds: float) -> list[tuple[Worker, dict[str, Any]]]:
        return [(busy[0], {"code": 130} if busy[0].stopped else busy[0].next)]


@pytest.fixture(scope="module")
def finished(module_runs: Runs) -> Path:
    assert module_runs(epochs=1) == 0
    return module_runs.run()


def small(tmp_path: Path, **lists: list[Any]) -> Study:
    made = Definition()
    made.override(lists, {"epochs": 1})
    made.complete()
    return plan(made, tmp_path / "study", "")


def execute(
    study: Study, finished: Path, gpus: str, script: dict[str, list[dict[str, Any]]], stop_request=None
) -> WorkerPool:
    pool = WorkerPool([Worker(Placement("auto", gpu), finished, script) for gpu in gpus])
    todo = runner.runs_left(study, retry_failed=False)
    study.folder.mkdir(exist_ok=True)
    runner.StudyRunner(study, pool, Screen(study), stop_request or StopRequest(), todo).run()
    return pool


def states(study: Study) -> list[str]:
    return [study.record(cell).status for cell in study.cells]


def test_every_run_is_done_once_seed_by_seed(tmp_path: Path, finished: Path) -> None:
    study = small(tmp_path, lr_policy=["linear", "clr"], seed=[0, 1])
    pool = execute(study, finished, "01", {})
    names = [name for worker in pool.workers for name, _ in worker.said]
    assert sorted(names) == sorted(cell.name for cell in study.cells)
    assert {worker.said[0][0] for worker in pool.workers} == {"linear-sgd-s0", "clr-sgd-s0"}
    assert states(study) == [FINISHED] * 4
    assert runner.runs_left(study, retry_failed=True) == []


def test_a_shared_gpu_is_asked_for_what_the_last_run_took(tmp_path: Path, finished: Path) -> None:
    pool = execute(small(tmp_path, seed=[0, 1, 2, 3]), finished, "001", {})
    needs = [[need for _, need in worker.said] for worker in pool.workers]
    assert needs[0][0] == needs[1][0] == needs[2][0] == 0
    assert 3.0 in needs[0] + needs[1]
    assert not any(needs[2])


@pytest.mark.parametrize("answer", [{"full": True}, {"code": 1, "broken": True, "memory": True}])
def test_a_run_without_memory_waits_for_its_neighbour(tmp_path: Path, finished: Path, answer) -> None:
    study = small(tmp_path, seed=[0, 1, 2])
    pool = execute(study, finished, "00", {"linear-sgd-s0": [answer]})
    assert states(study) == [FINISHED] * 3
    assert sum(name == "linear-sgd-s0" for worker in pool.workers for name, _ in worker.said) == 2


def test_a_run_that_has_the_gpu_to_itself_and_finds_no_memory_fails(tmp_path: Path, finished: Path) -> None:
    study = small(tmp_path, seed=[0, 1])
    execute(study, finished, "0", {"linear-sgd-s0": [{"code": 1, "broken": True, "memory": True}]})
    assert states(study) == [FAILED, FINISHED]


def test_a_worker_that_dies_fails_its_run_only(tmp_path: Path, finished: Path) -> None:
    study = small(tmp_path, seed=[0, 1, 2])
    execute(study, finished, "0", {"linear-sgd-s1": [{"died": True, "how": "signal SIGKILL"}]})
    assert states(study) == [FINISHED, FAILED, FINISHED]
    assert study.record(study.cells[1]).error == "the worker died (signal SIGKILL)"
    assert [cell.name for cell in runner.runs_left(study, retry_failed=False)] == []
    assert [cell.name for cell in runner.runs_left(study, retry_failed=True)] == ["linear-sgd-s1"]
    assert study.record(study.cells[1]).status == WAITING


def lose(epochs: list[int], folder: Path) -> list[dict[str, Any]]:
    """Answers of nodes that are lost, each after so many epochs of the run."""

    class Lost(dict):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "lost":
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "results.csv").write_text("\n" * (epochs.pop(0) + 1))
            return super().get(key, default)

    return [Lost(lost=True, how="its node has died") for _ in epochs]


@pytest.mark.parametrize(("epochs", "state"), [([0, 0], FINISHED), ([0, 0, 0], FAILED), ([0, 1, 1, 2, 2], FINISHED)])
def test_a_run_whose_node_is_lost_goes_on_elsewhere(tmp_path, finished, caplog, epochs, state) -> None:
    """As often as it comes further; a run that takes its nodes with it fails at the third."""
    study = small(tmp_path, seed=[0, 1])
    times = len(epochs)
    script = {"linear-sgd-s0": lose(epochs, study.folder / "runs" / "linear-sgd-s0")}
    pool = execute(study, finished, "0", script)
    assert states(study) == [state, FINISHED]
    assert len(pool.workers[0].said) == times + (state == FINISHED) + 1
    taken_up = times - (state == FAILED)
    assert pool.workers[0].patience == [None, *[runner.OUT_OF_REACH] * taken_up, None]
    assert caplog.text.count("linear-sgd-s0: its worker was lost (its node has died)") == taken_up
    if state == FAILED:
        assert "3 times without an epoch in between" in study.record(study.cells[0]).error


@pytest.mark.parametrize("what", ["a run", "a range test"])
@pytest.mark.parametrize(("signals", "state"), [(2, FINISHED), (3, FAILED)])
def test_a_worker_stopped_by_somebody_else_tries_again_a_few_times(tmp_path, finished, what, signals, state) -> None:
    study = small(tmp_path, seed=[0, 1], lr0=[0.01 if what == "a run" else "find"])
    name = study.cells[0].name if what == "a run" else rates.place(study.folder, study.cells[0]).name
    pool = execute(study, finished, "0", {name: [{"code": 143}] * signals})
    assert states(study) == [state, FINISHED if what == "a run" else state]
    assert sum(said == name for said, _ in pool.workers[0].said) == 3
    if state == FAILED:
        assert study.record(study.cells[0]).error.endswith("exit code 143")


def test_a_stop_leaves_the_rest_waiting(tmp_path: Path, finished: Path) -> None:
    study = small(tmp_path, seed=[0, 1])
    stop_request = StopRequest()
    script = {"linear-sgd-s0": [{"full": True}] * 3}

    def draw(running: set[str]) -> None:
        stop_request.stop = 15

    pool = WorkerPool([Worker(Placement("auto", "0"), finished, script)])
    study.folder.mkdir()
    screen = Screen(study)
    screen.draw = draw
    runner.StudyRunner(study, pool, screen, stop_request, runner.runs_left(study, False)).run()
    assert states(study) == [WAITING, WAITING]


def test_a_range_test_for_each_optimizer_before_its_runs(tmp_path: Path, finished: Path) -> None:
    study = small(tmp_path, lr_policy=["linear", "clr"], optim=["sgd", "adamw"], lr0=["find"], seed=[0, 1])
    pool = execute(study, finished, "01", {})
    said = [name for worker in pool.workers for name, _ in worker.said]
    assert sum(name.endswith(".json") for name in said) == 2
    assert states(study) == [FINISHED] * 8
    given = {cell.asked.run.lr_policy: study.argv(cell)[-2:] for cell in study.cells}
    assert given == {"linear": ["--lr0", "0.1"], "clr": ["--lr0", "0.5"]}
    assert len(rates.notes(study.folder, study.cells)) == 2


def test_runs_without_a_rate_fail_alone(tmp_path: Path, finished: Path) -> None:
    study = small(tmp_path, optim=["sgd", "adamw"], lr0=["find"])
    place = rates.place(study.folder, study.cells[0])
    execute(study, finished, "0", {place.name: [{"code": 1, "broken": True}]})
    assert states(study) == [FAILED, FINISHED]
    assert study.record(study.cells[0]).error.startswith("the range test failed: exit code 1")


def test_places() -> None:
    assert placements(Demand("cpu")) == [Placement("cpu", "")]
    threads = max(1, torch.get_num_threads() // 2)
    assert placements(Demand("cpu", per_gpu=2)) == [Placement("cpu", "", threads)] * 2
    with pytest.raises(UserError, match="--device cuda:7"):
        placements(Demand("cuda:7"))
    with pytest.raises(UserError, match="--gpus-per-run 2: runs go to the CPU; leave it out"):
        placements(Demand("cpu", gpus=2))


def test_places_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    assert placements(Demand()) == [Placement("auto", gpu) for gpu in "567"]
    assert placements(Demand("0,2", per_gpu=2)) == [Placement("cuda:0", gpu) for gpu in ("5", "7", "5", "7")]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert placements(Demand("cuda:1")) == [Placement("cuda:0", "1")]


def test_gpus_in_groups(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 5)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4,5,6,7")
    assert placements(Demand(gpus=2)) == [Placement("0,1", "3,4"), Placement("0,1", "5,6")]
    assert "1 of 5 GPUs stay unused" in caplog.text
    assert placements(Demand("1,4", gpus=2)) == [Placement("0,1", "4,7")]
    with pytest.raises(UserError, match="--gpus-per-run 8: 5 GPUs can be used here; give 5 or fewer"):
        placements(Demand(gpus=8))
    with pytest.raises(UserError, match="leave out one of the two"):
        Demand(gpus=2, per_gpu=2)
