"""Study files: what they may hold, and what is said of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablation import options
from ablation.definition import read
from ablation.grid import expand
from ablation.study import opened
from utils.errors import UserError

STUDY = """
data: mask.yaml
seeds: 2
grid:
  lr-policy: [linear, sgdr]
  optim: [sgd, adamw]
  mosaic: [0, 1]
exclude:
  - {lr_policy: sgdr, optim: [sgd, adamw], mosaic: 0}
variants:
  twice: {lr_policy: sgdr, lr_arg: t_mult=2}
common: {epochs: 3, imgsz: 64, noplots: true}
"""
WHOLE = "grid: {lr_policy: [clr], optim: [sgd], seed: [0]}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def test_a_study_file(file: Path) -> None:
    made, _ = read(file)
    made.complete()
    assert made.grid == {
        "lr_policy": ["linear", "sgdr"],
        "optim": ["sgd", "adamw"],
        "seed": [0, 1],
        "mosaic": [0.0, 1.0],
    }
    assert made.common == {"data": "mask.yaml", "epochs": 3, "imgsz": 64, "noplots": True}
    cells = expand(made)
    assert len(cells) == 8 + 4 + 4  # linear; sgdr with mosaic 1; the variant with mosaic 1
    assert all(cell.asked.run.epochs == 3 and cell.asked.run.noplots for cell in cells)


def test_the_command_line_beats_the_file(file: Path) -> None:
    asked = options.parse(
        ["--study", str(file), "--epochs", "5", "--optim", "adam", "--mosaic", "0,0.5", "--seeds", "1"]
    )
    made = asked.definition
    assert made.grid == {"lr_policy": ["linear", "sgdr"], "optim": ["adam"], "seed": [0], "mosaic": [0.0, 0.5]}
    assert made.common["epochs"] == 5
    assert asked.folder == Path("runs/ablate/exp")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--lr-policy", "linear,sgdr"], "uses --optim sgd;"),
        (["--mosaic", "0,1"], "uses --lr-policy linear and --optim sgd;"),
        (["--lr-policy", "sgdr", "--optim", "adam,sgd"], ""),
        (["--lr-policy", "sgdr", "--hyp", "yolov5"], ""),
    ],
)
def test_a_policy_that_is_not_named_is_said(flags: list[str], says: str, caplog: pytest.LogCaptureFixture) -> None:
    options.parse(flags)
    assert says in caplog.text
    assert bool(says) == bool(caplog.text)


@pytest.mark.parametrize("flags", [["--lr-arg", "t_mult=3"], ["--lr-policy", "linear"], ["--lr-policy", "linear,clr"]])
def test_a_flag_that_a_variant_sets_is_refused(file: Path, flags: list[str]) -> None:
    with pytest.raises(UserError, match=f"{flags[0]}: variant twice of .* sets it too"):
        options.parse(["--study", str(file), *flags])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gird: {optim: [sgd, adam]}", "study.yaml:1: unknown key 'gird'; did you mean 'grid'?"),
        ("grid: {optm: [sgd, adam]}", "unknown option 'optm'; did you mean 'optim'?"),
        ("grid: {optim: sgd}", "optim must be a list of values"),
        ("grid: {optim: []}", "optim must be a list of values"),
        ("grid: {data: [a, b]}", "data cannot vary within a study"),
        ("grid: {device: [cpu]}", "device cannot vary"),
        ("grid: {epochs: [1.5]}", "invalid int value"),
        ("grid: {rect: [1]}", "rect is 1; it must be true or false"),
        ("grid: {lr0: [true]}", "lr0 is True; it must be a plain value"),
        ("grid: {seed: [0]}\nseeds: 1", "the same"),
        ("seeds: many", "how many"),
        ("common: {optm: sgd}", "did you mean 'optim'?"),
        ("common: {optim: sgdd}", "did you mean 'sgd'?"),
        ("common: {cos_lr: true}", "give --lr-policy cosine"),
        ("grid: {lr0: [1, 2]}\ncommon: {lr0: 1}", "in grid and in common"),
        ("exclude: {optim: sgd}", "must be a list"),
        ("exclude: [optim]", "give a list of settings"),
        ("exclude: [{optm: sgd}]", "did you mean 'optim'?"),
        ("variants: [a]", "must hold"),
        ("variants: {'-': {mosaic: 0}}", "'-' cannot be a variant's name"),
        ("variants: {'': {mosaic: 0}}", "'' cannot be a variant's name"),
        ("variants: {a: 1}", "variant a: must hold"),
        ("variants: {a: {seed: 1}}", "seed cannot vary"),
        ("runs: {}", "unknown key 'runs'"),
        ("grid: {optim: [[sgd]]}", "must be a plain value"),
        ("grid: {lr-policy: [clr], lr_policy: [sgdr]}", "lr_policy is given twice"),
        ("common: {batch-size: 2, batch_size: 4}", "batch_size is given twice"),
        ("variants: {a: {batch-size: 2, batch_size: 4}}", "variant a: batch_size is given twice"),
        ("exclude: [{lr-policy: clr, lr_policy: sgdr}]", "lr_policy is given twice"),
        ("variants: {1: {mosaic: 0}, '1': {mixup: 1}}", "two have the same name"),
        ("data: a.yaml\ncommon: {data: b.yaml}", "data is given both at the top level and in common"),
        ("common: {name: mine}", "give --name on the command line"),
        ("common: {resume: last.pt}", "give --resume on the command line"),
    ],
)
def test_mistakes_are_one_line_that_names_the_file(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(path)
    assert says in str(caught.value)
    assert "study.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "grid: {optim: [sgd]}", f"{WHOLE}\nruns: [1, 2]", f"{WHOLE}\nseen: 3"])
def test_a_damaged_file_of_a_study_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    for act in (lambda: opened(tmp_path), lambda: options.parse(["--resume", str(tmp_path)])):
        with pytest.raises(UserError, match=r"study\.yaml"):
            act()


def test_excluding_all_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("exclude: [{optim: sgd}]")
    made, _ = read(path)
    made.complete()
    with pytest.raises(UserError, match="no runs"):
        expand(made)
