"""ablate.py as a whole: what it leaves, how it goes on, what it refuses."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

import pytest

import ablate
from ablation import records
from ablation.study import hold
from tests.ablation.studies import STUDY, child, statuses, study, table, words
from tests.trainer import Runs, interrupt, wait_for
from training.folder import is_locked

GRID = "--lr-policy linear,sgdr"
FAULTY = """
import optimizers

@optimizers.register("faulty", lr=0.01, weight_decay=0.0)
def faulty(groups, lr: float, momentum: float):
    raise RuntimeError("out of order")
"""


@pytest.mark.slow
def test_a_study_its_tables_and_its_growth(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    assert study(runs, GRID) == 0
    rows = table()
    assert list(rows[0])[:6] == ["lr_policy", "optim", "seed", "lr0", "epochs", "imgsz"]
    assert [(row["lr_policy"], row["seed"], row["status"]) for row in rows] == [
        ("linear", "0", "finished"),
        ("sgdr", "0", "finished"),
    ]
    assert float(table(name="timings.csv")[0]["seconds"]) > 0
    assert (STUDY / "report.md").is_file()
    assert len(list((STUDY / "hparams").glob("*/events.*"))) == 2
    before = {path: path.stat().st_mtime_ns for path in STUDY.glob("runs/*/weights/*.pt")}
    tables = (STUDY / "results.csv").read_bytes()
    capsys.readouterr()

    assert study(runs, GRID) == 0  # nothing is left to do
    assert (STUDY / "results.csv").read_bytes() == tables
    assert study(runs, f"{GRID} --seeds 2 --dry-run") == 0
    assert "4 runs, 2 to do" in capsys.readouterr().out
    assert study(runs, f"{GRID} --seeds 2") == 0
    assert set(statuses().values()) == {"finished"}
    assert len(statuses()) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ablate.main(["report", str(STUDY)]) == 0

    capsys.readouterr()
    assert study(runs, f"{GRID} --seeds 2 --warmup-momentum 0.8 --dry-run") == 0  # its default, spelled out
    assert "4 runs, 0 to do" in capsys.readouterr().out
    for wrong, says in {
        f"{GRID} --seeds 1": "leaves out 2 of its runs, such as linear-sgd-s1",
        f"{GRID} --seeds 2 --epochs 2": "--epochs was 1 in this study and is 2 now",
        f"{GRID} --seeds 2 --lrf 0.1": "--lrf was its default in this study and is 0.1 now",
    }.items():
        assert study(runs, wrong) == 2
        assert says in capsys.readouterr().out
    assert ablate.main(["--resume", str(STUDY), "--epochs", "3"]) == 2
    assert "give --epochs with its --name instead" in capsys.readouterr().out


@pytest.mark.slow
def test_a_failing_run_is_recorded_and_the_rest_goes_on(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    grid = "--lr0 1e30,0.01"
    assert study(runs, grid, epochs=2) == 1
    assert statuses() == {"linear-sgd-s0-lr0=0.01": "finished", "linear-sgd-s0-lr0=1e+30": "failed"}
    failed = STUDY / "runs" / "linear-sgd-s0-lr0=1e+30"
    assert "loss is not finite" in records.read(failed).error.splitlines()[-1]
    assert [row["status"] for row in table()] == ["failed", "finished"]
    capsys.readouterr()
    assert study(runs, grid, epochs=2) == 1
    assert ", 0 to do" in capsys.readouterr().out
    assert study(runs, f"{grid} --dry-run", epochs=2) == 0
    assert ", 0 to do" in capsys.readouterr().out
    assert study(runs, f"{grid} --dry-run --retry-failed", epochs=2) == 0
    assert ", 1 to do" in capsys.readouterr().out
    assert statuses()["linear-sgd-s0-lr0=1e+30"] == "failed"
    assert ablate.main(["--resume", str(STUDY), "--retry-failed"]) == 1
    assert ", 1 to do" in capsys.readouterr().out
    assert len(records.read(failed).sessions) == 2


@pytest.mark.slow
def test_a_fault_in_one_run_leaves_the_next_alone(runs: Runs) -> None:
    """The worker ends after a fault; the run after it goes to a new one, at once."""
    Path("faulty.py").write_text(FAULTY)
    process = child(words(runs, f"{GRID} --plugin faulty --optim faulty,sgd"), env={"PYTHONPATH": "."})
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 1, said
    assert statuses() == {
        "linear-faulty-s0": "failed",
        "linear-sgd-s0": "finished",
        "sgdr-faulty-s0": "failed",
        "sgdr-sgd-s0": "finished",
    }
    error = records.read(STUDY / "runs" / "sgdr-faulty-s0").error
    assert error.endswith("RuntimeError: out of order")


def test_mistakes_are_one_line_and_leave_nothing(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    for text, says in {
        f"{GRID} --epochs 0": "--epochs 0: must be at least 1",
        "--lr-policy linear,sgrd": "did you mean 'sgdr'",
        "--optm sgd,adam": "did you mean '--optim'",
        "--optim sgd,adamw --optim sgd": "given as a list and again as one value",
        "--seed 0,1": "give --seeds",
        "--seed 1": "give --seeds",
        "--exist-ok": "the same command continues",
        "--per-gpu 0": "must be at least 1",
        "--lr-arg cycles=3": "would do nothing",
        "--study none.yaml": "no such file",
        "--resume none": "continues a study as it was defined; give --batch-size",
        "--ray local --device 0,2": "leave --device out",
        "--data none.yaml": "no data set file 'none.yaml'",
        "--optim ,": "--optim ,: names no value",
        "--patience 1,x": "invalid int value",
    }.items():
        assert study(runs, text) == 2, text
        said = capsys.readouterr().out.splitlines()
        assert says in said[-1], text
        assert said[-1].startswith("error: ")
    assert ablate.main(["--resume", "none"]) == 2
    assert "no study there" in capsys.readouterr().out
    assert ablate.main(["report", "none"]) == 2
    assert ablate.main(["report"]) == 2
    assert not Path("runs").exists()


def test_what_the_disk_refuses_is_one_line(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    Path("afile").touch()
    assert study(runs, f"{GRID} --project afile") == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("error: afile/exp: Not a directory; ")


def test_a_dry_run_creates_nothing(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    assert study(runs, f"{GRID} --seeds 2 --dry-run") == 0
    said = capsys.readouterr().out
    assert [f"{p}-sgd-s{s}  waiting" in said for p in ("linear", "sgdr") for s in (0, 1)] == [True] * 4
    assert "by 4 steps of linear-sgd-s0" in said
    assert list(Path().iterdir()) == []
    assert study(runs, f"{GRID} --dry-run --per-gpu 2", device="cpu,cpu") == 0
    said = capsys.readouterr().out
    assert "2 at once" in said
    assert "by 4 steps of linear-sgd-s0" in said


def test_a_folder_of_something_else_is_refused(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    STUDY.mkdir(parents=True)
    (STUDY / "mine.txt").touch()
    assert study(runs, GRID) == 2
    assert "holds something other than a study" in capsys.readouterr().out
    assert [path.name for path in STUDY.iterdir()] == ["mine.txt"]


def test_a_second_process_is_refused(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    with hold(STUDY):
        assert study(runs, GRID) == 2
    assert "another process is running this study" in capsys.readouterr().out
    assert not (STUDY / "runs").exists()


def test_a_file_system_without_locks_holds_no_study_up(tmp_path: Path, monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr("utils.files.locks.time.sleep", lambda _: pytest.fail("waited for nobody"))
    hold(tmp_path).close()
    assert f"{tmp_path}: cannot be locked here (No locks available)" in caplog.text


@pytest.mark.slow
def test_a_signal_saves_and_stops_and_names_the_line_that_goes_on(runs: Runs) -> None:
    process = child(words(runs, GRID, epochs=3000, patience=0))
    first = STUDY / "runs" / "linear-sgd-s0"
    wait_for(process, lambda: records.epochs_done(first) >= 2)
    second = child(words(runs, GRID, epochs=3000, patience=0))
    said = second.communicate(timeout=120)[0]
    assert second.returncode == 2
    assert "another process is running this study" in said
    code, said = interrupt(process, signal.SIGTERM)
    assert code == 143
    assert said.splitlines()[-1] == f"warning: stopped; continue with: python ablate.py --resume {STUDY}"
    assert not is_locked(first)
    assert statuses() == {"linear-sgd-s0": "waiting"}
    assert [row["status"] for row in table()] == ["waiting", "waiting"]
    assert records.read(first).facts["epoch"] >= 2


@pytest.mark.slow
def test_a_worker_that_somebody_else_stops_goes_on_with_its_run(runs: Runs) -> None:
    process = child(words(runs, GRID, epochs=40, patience=0))
    first = STUDY / "runs" / "linear-sgd-s0"
    wait_for(process, lambda: records.epochs_done(first) >= 2)
    worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    os.kill(worker, signal.SIGTERM)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert set(statuses().values()) == {"finished"}
    assert len(records.read(first).sessions) == 2


@pytest.mark.slow
def test_ray_local_or_what_to_install_for_it(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    try:
        import ray
    except ImportError:
        assert study(runs, f"{GRID} --ray local") == 2
        assert "pip install -r requirements-ray.txt" in capsys.readouterr().out
        assert not STUDY.exists()
    else:
        assert ray.__version__
        assert study(runs, f"{GRID} --ray local") == 0
        assert set(statuses().values()) == {"finished"}
        assert os.path.exists(STUDY / "report.md")
