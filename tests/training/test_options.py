"""Which of flag, hyper-parameter file and optimizer default wins; aliases; what a checkpoint gives back."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

import ablate
import lr_find
import optimizers
import schedulers
import train
from training import build, options
from training.hyp import Hyp
from training.options import Options
from training.run_options import RunOptions
from utils.errors import UserError

PACKAGE = Path(options.__file__).resolve().parents[1]


def parse(text: str = "") -> Options:
    return options.parse(text.split(), "train.py", "")[0]


def resolved(text: str) -> Hyp:
    """The hyper-parameters after the optimizer's defaults filled in what nobody gave."""
    asked = parse(text)
    build.build_optimizer(asked, torch.nn.Conv2d(1, 1, 1), accumulate=1)
    return asked.hyp


def test_the_defaults() -> None:
    asked = parse()
    assert (asked.run, asked.hyp, asked.given) == (RunOptions(), Hyp(), set())
    run = asked.run
    assert (run.cfg, run.weights, run.epochs, run.imgsz, run.batch_size, run.nbs) == ("yolov5s", "", 100, 640, 16, 64)


@pytest.mark.parametrize("name", optimizers.names())
def test_the_optimizers_own_rate_decay_and_momentum(name: str) -> None:
    facts, hyp = optimizers.facts(name), resolved(f"--optim {name}")
    assert (hyp.lr0, hyp.weight_decay, hyp.momentum) == (facts["lr"], facts["weight_decay"], facts["momentum"])
    assert hyp.warmup_bias_lr == facts["warmup_bias_lr"]


def test_a_flag_beats_the_file_beats_the_optimizer(tmp_path: Path) -> None:
    file = tmp_path / "hyp.yaml"
    file.write_text("lr0: 0.5\nmomentum: 0.5\nmosaic: 0.5\n")
    hyp = resolved(f"--optim adamw --hyp {file} --momentum 0.6")
    assert (hyp.lr0, hyp.momentum, hyp.weight_decay, hyp.mosaic) == (0.5, 0.6, 0.01, 0.5)
    hyp = resolved(f"--hyp {file} --mosaic 1.0")  # a flag at its default is a flag all the same
    assert hyp.mosaic == 1.0


def test_a_file_may_say_find(tmp_path: Path) -> None:
    file = tmp_path / "hyp.yaml"
    file.write_text("lr0: find\n")
    assert parse(f"--hyp {file}").hyp.lr0 == "find"
    assert parse(f"--hyp {file} --lr0 1e-2").hyp.lr0 == 0.01


@pytest.mark.parametrize("path", sorted((PACKAGE / "data" / "hyps").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_leave_rate_and_decay_to_the_optimizer(path: Path) -> None:
    for name in (path.name, path.stem, str(path)):
        hyp = parse(f"--hyp {name}").hyp
        assert (hyp.lr0, hyp.weight_decay) == (None, None)


def test_old_keys_without_effect_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "hyp.yaml"
    file.write_text("anchor_t: 3.5\niou_t: 0.2\nanchors: 3\n")
    assert parse(f"--hyp {file}").hyp.anchor_t == 3.5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--optimizer AdamW", "--optim adamw"),
        ("--cos-lr", "--lr-policy cosine"),
        ("--scheduler sgdr", "--lr-policy sgdr"),
        ("--img 320 --batch 8", "--imgsz 320 --batch-size 8"),
        ("--img-size 320", "--imgsz 320"),
        ("--cache", "--cache ram"),
        ("--resume", "--resume newest"),
    ],
)
def test_aliases(old: str, new: str) -> None:
    asked = parse(old).run
    asked.cos_lr = False
    assert asked == parse(new).run


def test_batch_scaling_of_the_decay() -> None:
    """Decay is stated for the nominal batch: half the effective batch decays half as much."""
    for flags, accumulate, share in (("--batch-size 16", 4, 1.0), ("--batch-size 16", 2, 0.5), ("--nbs 16", 1, 1.0)):
        made = build.build_optimizer(parse(f"{flags} --weight-decay 0.01"), torch.nn.Conv2d(1, 1, 1), accumulate)
        assert [g["weight_decay"] for g in made.param_groups] == [0, pytest.approx(0.01 * share), 0]


def test_lrf_goes_to_the_policies_that_have_it() -> None:
    assert build.policy_options(parse("--lr-policy cosine --lrf 0.2")) == {"lrf": 0.2}
    asked = parse("--lr-policy cosine --lr-arg lrf=0.3")
    assert build.policy_options(asked) == {"lrf": 0.3}
    assert asked.hyp.lrf == 0.3  # what hyp.yaml will say
    with pytest.raises(UserError, match="are the same"):
        build.policy_options(parse("--lr-policy cosine --lrf 0.2 --lr-arg lrf=0.3"))
    assert build.policy_options(parse("--lr-policy clr")) == {}


def test_plugins_are_imported_before_names_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_policy.py").write_text(
        "from dataclasses import dataclass\nimport schedulers\n"
        "@schedulers.register('late')\n@dataclass(frozen=True, kw_only=True)\n"
        "class Late(schedulers.Policy):\n    'Flat.'\n    def at(self, step):\n        return schedulers.Point(1.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    asked = parse("--lr-policy late --plugin late_policy")
    assert (asked.run.lr_policy, asked.run.plugin) == ("late", ["late_policy"])
    assert "late" in schedulers.names()


@pytest.mark.parametrize(("flag", "name"), [("--lr-arg", "linear"), ("--optim-arg", "sgd")])
def test_help_for_options(flag: str, name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(f"{flag} help")
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{name}: ")
    known = schedulers.options(name) if flag == "--lr-arg" else optimizers.options(name)
    assert all(any(line.startswith(f"  {option[0]}=") for line in lines) for option in known)


@pytest.mark.parametrize("command", [train.main, lr_find.main, ablate.main], ids=["train", "lr_find", "ablate"])
@pytest.mark.parametrize(("flag", "registry"), [("--lr-policy", schedulers), ("--optim", optimizers)])
def test_help_in_place_of_a_name_lists_them_all(command, flag, registry, capsys: pytest.CaptureFixture) -> None:
    """A line each, with what it is and where it comes from, and exit code 0."""
    with pytest.raises(SystemExit) as stopped:
        command([flag, "help"])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == registry.names()
    known = [line for line in lines if (PACKAGE / registry.__name__ / f"{line.split()[0]}.py").exists()]
    assert all(re.fullmatch(r"\w+ +[A-Za-z]\S+ .*[^.] \(.+\)", line) for line in known)


def test_options_come_back_from_a_checkpoint() -> None:
    asked = parse("--lr-policy sgdr --lr-arg cycles=2 t_mult=1 --freeze 3 --lr0 0.1 --wd-norm 0.1 --optim sgdw")
    again = Options.from_dict(asked.to_dict(), "last.pt")
    assert (again.run, again.hyp, again.given) == (asked.run, asked.hyp, set())
    saved = asked.to_dict()
    saved["run"]["speed"] = 1
    with pytest.raises(UserError, match=r"^last\.pt: unknown key 'speed'"):
        Options.from_dict(saved, "last.pt")


def test_every_option_says_what_it_does() -> None:
    for kind in (RunOptions, Hyp):
        for field in dataclasses.fields(kind):
            assert field.metadata["help"], field.name
