"""The registry: names, defaults, typed options, and the three ways a new rule arrives."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import optimizers
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
RULE = """
from typing import Annotated
import torch
import optimizers

@optimizers.register("signed", lr=0.0001, weight_decay=0.01, momentum=0.9, paper="none")
def signed(groups, lr: float, momentum: float, slack: Annotated[float, "how much"] = 0.5, twice: bool = False):
    return torch.optim.SGD(groups, lr * (1 + twice), momentum)
"""
USE = """
import sys, torch, optimizers
from utils.registry import import_plugin
for plugin in sys.argv[1:]:
    import_plugin(plugin)
model = torch.nn.Linear(2, 2)
options = optimizers.parse_args("signed", ["twice=true"])
built = optimizers.build("signed", optimizers.parameter_groups(model), **options)
print(optimizers.names(), built.param_groups[1]["weight_decay"], optimizers.options("signed")[0].help)
"""


def groups():
    return optimizers.parameter_groups(nn.Sequential(nn.Linear(2, 2)))


FACTS = {  # lr, momentum, weight_decay, warmup_bias_lr: what a run does that gives none, so a change must show here
    "sgd": (0.01, 0.937, 0.0005, 0.1),
    "sgdw": (0.01, 0.937, 0.0005, 0.1),
    "adam": (0.001, 0.937, 0.0005, 0.0),
    "adamw": (0.001, 0.937, 0.01, 0.0),
    "nadamw": (0.001, 0.937, 0.01, 0.0),
    "lion": (0.0001, 0.9, 0.1, 0.0),
    "lamb": (0.002, 0.9, 0.01, 0.0),
    "muon": (0.001, 0.95, 0.01, 0.0),
    "schedulefree": (0.0025, 0.9, 0.01, 0.0),
}


def test_the_rules_and_what_they_say_of_themselves():
    keys = ("lr", "momentum", "weight_decay", "warmup_bias_lr")
    assert {n: tuple(optimizers.facts(n)[key] for key in keys) for n in optimizers.names()} == FACTS
    assert all(optimizers.facts(name)["paper"] for name in FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_build_uses_what_is_given_and_else_the_defaults(name):
    own = optimizers.build(name, groups()).param_groups[1]
    assert own["lr"] == optimizers.facts(name)["lr"]
    assert (own["betas"][0] if "betas" in own else own["momentum"]) == optimizers.facts(name)["momentum"]
    assert own.get("nesterov", True)
    given = optimizers.build(name, groups(), 0.2, 0.8).param_groups[1]
    assert given["lr"] == 0.2
    assert (given["betas"][0] if "betas" in given else given["momentum"]) == 0.8


@pytest.mark.parametrize(("name", "kernel"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_sgd_and_adam_are_torchs_on_their_fused_path(name, kernel):
    built = optimizers.build(name, groups())
    assert type(built) is kernel
    assert built.param_groups[0]["fused"]
    with torch.device("meta"):
        unfused = optimizers.build(name, groups())
    assert unfused.param_groups[0]["foreach"]
    assert not unfused.param_groups[0]["fused"]


def test_options_are_typed():
    parsed = optimizers.parse_args("sgdw", ["nesterov=false", "dampening=0.1", "convention=paper"])
    assert parsed == {"nesterov": False, "dampening": 0.1, "convention": "paper"}
    built = optimizers.build("sgdw", groups(), **parsed).param_groups[0]
    assert {key: built[key] for key in parsed} == parsed
    assert optimizers.parse_args("adamw", ["beta2=0.99", "eps=1e-6"]) == {"beta2": 0.99, "eps": 1e-6}
    for name in optimizers.names():
        assert all(option.help for option in optimizers.options(name))
        assert not {"groups", "lr", "momentum"} & {option.name for option in optimizers.options(name)}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("nesterov", "key=value"),
        ("nesterof=true", "did you mean 'nesterov'"),
        ("nesterov=1", "true or false"),
        ("dampening=much", "must be a number"),
        ("dampening=inf", "must be a finite number"),
        ("convention=papers", "must be torch or paper"),
    ],
)
def test_wrong_options_are_named(pair, message):
    with pytest.raises(UserError, match=message) as error:
        optimizers.parse_args("sgdw", [pair])
    assert pair in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_given_twice_is_refused():
    with pytest.raises(UserError, match="--optim-arg dampening=2: dampening is given twice"):
        optimizers.parse_args("sgdw", ["dampening=1", "dampening=2"])


def test_wrong_builds_are_named():
    with pytest.raises(UserError, match="did you mean 'adamw'"):
        optimizers.build("adanw", groups())
    with pytest.raises(UserError, match="has no option 'beta2'"):
        optimizers.build("sgdw", groups(), beta2=0.9)
    with pytest.raises(UserError, match="decay nothing"):
        optimizers.build("sgdw", [{"params": [nn.Parameter(torch.zeros(2))]}], weight_decay=0.1)
    with pytest.raises(UserError, match="already registered"):
        optimizers.register("sgdw", lr=1.0, weight_decay=0.0)(lambda groups, lr, momentum: None)


def test_the_guide_states_the_defaults():
    text = (ROOT / "docs" / "optimizers.md").read_text()
    for name in optimizers.names():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        lr, momentum, decay, bias = (cell.split()[0] for cell in row.split("|")[3:7])
        keys = ("lr", "momentum", "weight_decay", "warmup_bias_lr")
        assert [float(v) for v in (lr, momentum, decay, bias)] == [optimizers.facts(name)[key] for key in keys]


def use(folder: Path, *plugins: str) -> str:
    command = [sys.executable, "-c", USE, *plugins]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


EXPECTED = f"{sorted([*FACTS, 'signed'])} 0.01 how much"


@pytest.fixture
def copied(tmp_path):
    for package in ("optimizers", "utils"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
def test_a_file_dropped_into_the_folder_registers_itself(copied):
    (copied / "optimizers" / "signed.py").write_text(RULE)
    assert use(copied) == EXPECTED


@pytest.mark.slow
def test_a_plugin_registers_from_outside(copied):
    (copied / "outside").mkdir()
    (copied / "outside" / "rules.py").write_text(RULE)
    assert use(copied, "outside.rules") == EXPECTED


@pytest.mark.slow
def test_an_installed_package_registers_by_its_entry_point(copied):
    (copied / "their_rules.py").write_text(RULE)
    info = copied / "their_rules-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[anneal.optimizers]\nsigned = their_rules\n")
    assert use(copied) == EXPECTED
