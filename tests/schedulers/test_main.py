"""`python -m schedulers`: the picture, the table, and a run's own schedule."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import schedulers
from schedulers.__main__ import main, stand_in
from schedulers.plot import MOST_POINTS, curve, plot
from utils import checkpoint

RUN = ["--epochs", "30", "--steps-per-epoch", "36"]


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_table_holds_every_step_warm_up_included(tmp_path: Path) -> None:
    out = tmp_path / "lr.png"
    args = ["sgdr", "onecycle", *RUN, "--lr-arg", "t_mult=1", "--out", str(out), "--csv", str(tmp_path / "lr.csv")]
    assert main(args) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    rows = read(tmp_path / "lr.csv")
    assert len(rows) == 2 * 1080
    sgdr = schedulers.build("sgdr", total_steps=1080, steps_per_epoch=36, lr0=0.01, t_mult=1.0)
    schedule = schedulers.Schedule(sgdr, stand_in(0.01, 0.937), 72)  # a fifth of a cycle of 360
    for step in (0, 50, 71, 72, 359, 360, 1079):
        row = rows[step]
        values = schedule.values(step)
        assert [float(row[f"lr/{name}"]) for name in ("norm", "weight", "bias")] == [lr for lr, _ in values]
        assert float(row["momentum"]) == values[0][1]
        assert (row["policy"], row["step"], float(row["epoch"])) == ("sgdr", str(step), step / 36)
    onecycle = schedulers.build("onecycle", total_steps=1080, steps_per_epoch=36, lr0=0.01)
    assert float(rows[1080]["lr/bias"]) == 0.01 * onecycle.at(0).lr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ([], "name a policy"),
        (["sgrd"], "did you mean 'sgdr'"),
        (["sgdr", "--lr-arg", "cycle=2"], "did you mean 'cycles'"),
        (["sgdr", "linear", "--lr-arg", "pct_start=0.3"], "no option 'pct_start' in sgdr, linear"),
        (["linear", "--epochs", "0"], "--epochs 0.0: must be above 0"),
        (["linear", "--epochs", "nan"], "--epochs nan: must be a finite number"),
        (["linear", "--lr0", "0"], "--lr0 0.0: must be above 0"),
        (["linear", "--epoch", "3"], "did you mean '--epochs'"),
        (["linear", "--epochs", "x"], "argument --epochs: invalid float value: 'x'"),
        (["linear", "--out", "lr.xyz"], "--out lr.xyz: only PNG is written"),
        (["linear", "--out", "/dev/null/lr.png"], "/dev/null"),
        (["--from", "last.pt", "--epochs", "3"], "--epochs does nothing with --from last.pt"),
        (["--from", "last.pt", "--lr-arg", "t_mult=1"], "--lr-arg does nothing with --from last.pt"),
        (["linear", "--from", "last.pt", "--lr0", "1"], "--lr0 does nothing with --from last.pt"),
        (["linear", "--plugin", "no.such"], "plug-in 'no.such' failed to import"),
        (["--from", "missing.pt"], "no such checkpoint"),
    ],
)
def test_mistakes_are_one_line(args: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert why in error
    assert error.count("\n") == 1


def test_several_arguments_after_one_flag_and_a_folder_that_is_made(tmp_path: Path) -> None:
    out, table = tmp_path / "new" / "lr.png", tmp_path / "tables" / "lr.csv"
    flags = ["--out", str(out), "--csv", str(table)]
    assert main(["sgdr", *RUN, "--lr-arg", "t_mult=1", "cycles=2", *flags]) == 0
    assert out.is_file()
    sgdr = schedulers.build("sgdr", total_steps=1080, steps_per_epoch=36, lr0=0.01, t_mult=1.0, cycles=2)
    assert float(read(table)[700]["lr/weight"]) == 0.01 * sgdr.at(700).lr


def test_help_for_one_policy_and_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sgdr", "--lr-arg", "help"]) == 0
    assert capsys.readouterr().out == schedulers.describe("sgdr") + "\n"
    assert main(["--lr-arg", "help"]) == 0
    assert capsys.readouterr().out == "\n".join(map(schedulers.describe, schedulers.names())) + "\n"


def test_help_lists_the_policies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == schedulers.names()


def test_a_runs_own_schedule(tmp_path: Path) -> None:
    policy = schedulers.build("sgdr", total_steps=200, steps_per_epoch=20, lr0=0.02, cycles=2)
    decay = schedulers.NormalisedDecay(0.05, batch=64, images=1280)
    schedule = schedulers.Schedule(policy, stand_in(0.02, 0.9), 10, wd_norm=decay)
    last = tmp_path / "exp" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    checkpoint.save(last, {"schedule": schedulers.facts(schedule), "step": 77, "plugins": []})
    out, table = tmp_path / "own.png", tmp_path / "own.csv"
    assert main(["--from", str(last), "linear", "--out", str(out), "--csv", str(table)]) == 0
    rows = read(table)
    assert [row["policy"] for row in rows] == ["last.pt (sgdr)"] * 200 + ["linear"] * 200
    for step in range(200):
        values = schedule.values(step)
        assert [float(rows[step][f"lr/{name}"]) for name in ("norm", "weight", "bias")] == [lr for lr, _ in values]
    assert main(["--from", str(tmp_path / "exp"), "--out", str(out), "--csv", str(table)]) == 0
    assert [row["lr/bias"] for row in read(table)] == [row["lr/bias"] for row in rows[:200]]
    assert read(table)[0]["policy"] == "exp (sgdr)"


def test_a_long_warm_up_is_told() -> None:
    policy = schedulers.build("sgdr", total_steps=1080, steps_per_epoch=36, lr0=0.01)
    for warmup, note in ((0, ""), (50, ""), (108, "warm-up takes 70 % of sgdr's first cycle")):
        assert curve(schedulers.Schedule(policy, stand_in(0.01, 0.9), warmup)).note == note


def test_many_rates_are_drawn_as_a_few_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual groups, and of the others the first and last; the picture is as high as the usual rates."""
    optimizer = stand_in(0.01, 0.9)
    optimizer.param_groups += [
        {"name": f"{role} x{k:g}", "role": role, "lr": 0.01 / k, "weight_decay": 0.0, "momentum": 0.9}
        for k in range(2, 30)
        for role in ("norm", "weight")
    ]
    policy = schedulers.build("linear", total_steps=100, steps_per_epoch=10, lr0=0.01)
    figures = []
    monkeypatch.setattr("schedulers.plot.style.save", lambda figure, _: figures.append(figure))
    plot(tmp_path / "lr.png", [curve(schedulers.Schedule(policy, optimizer))])
    rates = figures[0].axes[0]
    labels = [line.get_label() for line in rates.lines]
    assert len(labels) == 8
    assert labels[:2] == ["linear: norm, weight, bias", "linear: norm, weight x2"]
    assert labels[-1] == "linear: norm, weight x29"
    assert 0.01 <= rates.get_ylim()[1] <= 0.012


def test_a_file_that_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"text", b""):
        (tmp_path / "x.pt").write_bytes(content)
        assert main(["--from", str(tmp_path / "x.pt")]) == 2
        assert "x.pt: not a readable checkpoint" in capsys.readouterr().err
    checkpoint.save(tmp_path / "x.pt", {"model": {}})
    assert main(["--from", str(tmp_path / "x.pt")]) == 2
    assert "holds no schedule; give a run's weights/last.pt" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["clr", "cosine", "linear", "onecycle", "sgdr"])
@pytest.mark.parametrize("total", [1, 2, 60_001])
def test_runs_of_every_length_are_drawn(name: str, total: int, tmp_path: Path) -> None:
    policy = schedulers.build(name, total_steps=total, steps_per_epoch=50, lr0=0.01)
    schedule = schedulers.Schedule(policy, stand_in(0.01, None))
    drawn = curve(schedule)
    assert len(drawn.steps) <= MOST_POINTS + 500
    assert {0, total - 1, *policy.restarts} <= set(drawn.steps)
    assert drawn.lr["weight"] == [schedule.values(step)[1][0] for step in drawn.steps]
    plot(tmp_path / "lr.png", [drawn], now=total // 2)
    assert (tmp_path / "lr.png").stat().st_size > 1000
