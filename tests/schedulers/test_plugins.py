"""A new policy is one short file: dropped into the folder, named by --plugin, or installed as a package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import schedulers
from utils import checkpoint
from utils.errors import UserError

ROOT = Path(schedulers.__file__).parents[1]

POLICY = '''"""Inverse decay."""

from __future__ import annotations

from dataclasses import dataclass

from schedulers import Point, Policy, option, register


@register("NAME", source="folklore")
@dataclass(frozen=True, kw_only=True)
class Inverse(Policy):
    """Falls as f = 1 / (1 + k t / T)."""

    k: float = option(9.0, "how far it falls", above=0)

    def at(self, step: int) -> Point:
        return Point(1 / (1 + self.k * step / self.total_steps))
'''


def python(code: str, *path: Path, module: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-m", "schedulers", *code.split()] if module else ["-c", code])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(command, env=env, cwd=path[-1], capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the policies need, to drop files into."""
    copy = tmp_path / "tree"
    for package in ("schedulers", "utils"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def install(folder: Path, module: str, source: str, entry: str) -> Path:
    """What an installed package leaves on the path: the module, and the metadata with its entry point."""
    folder.mkdir()
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[anneal.schedulers]\n{entry} = {module}\n")
    return folder


def test_the_example_is_short() -> None:
    assert len(POLICY.splitlines()) < 40


def test_a_file_dropped_into_the_folder(tree: Path) -> None:
    (tree / "schedulers" / "inverse.py").write_text(POLICY.replace("NAME", "inverse"))
    code = "sgdr inverse --epochs 3 --steps-per-epoch 10 --warmup-epochs 0 --lr-arg k=4 --csv out.csv"
    ran = python(code, tree, module=True)
    assert ran.returncode == 0, ran.stderr
    lines = (tree / "out.csv").read_text().splitlines()
    assert lines[31] == "inverse,0,0.0,0.01,0.01,0.01,0.937"
    assert lines[46].startswith("inverse,15,1.5,0.00333333")
    assert (tree / "lr.png").stat().st_size > 1000
    ran = python("inverse --lr-arg help", tree, module=True)
    assert "k=9.0 (float) how far it falls" in ran.stdout
    assert "source: folklore" in ran.stdout


def test_a_module_named_by_plugin(tmp_path: Path) -> None:
    (tmp_path / "my_policies.py").write_text(POLICY.replace("NAME", "mine"))
    code = f"mine --plugin my_policies --epochs 2 --steps-per-epoch 5 --out {tmp_path / 'mine.png'}"
    ran = python(code, tmp_path, ROOT, module=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "mine.png").exists()
    assert python(code.replace("--plugin my_policies", ""), tmp_path, ROOT, module=True).returncode == 2


def test_a_runs_schedule_remembers_its_plugins(tmp_path: Path) -> None:
    (tmp_path / "my_policies.py").write_text(POLICY.replace("NAME", "mine"))
    facts = {"policy": "mine", "options": {"k": 4.0}, "total_steps": 10, "steps_per_epoch": 5, "lr0": 0.01}
    facts |= {"momentum": None, "warmup_steps": 0, "warmup_bias_lr": 0.1, "warmup_momentum": 0.8, "wd_norm": None}
    checkpoint.save(tmp_path / "last.pt", {"schedule": facts, "step": 5, "plugins": ["my_policies"]})
    command = f"--from {tmp_path / 'last.pt'} --out {tmp_path / 'lr.png'} --csv {tmp_path / 'lr.csv'}"
    ran = python(command, tmp_path, ROOT, module=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "lr.csv").read_text().splitlines()[6].startswith("last.pt (mine),5,1.0,0.00333333")


def test_an_installed_package(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "anneal_inverse", POLICY.replace("NAME", "installed"), "inverse")
    code = "import schedulers; print(schedulers.names()); print(schedulers.options('installed')[0][0])"
    ran = python(code, site, ROOT)
    assert ran.returncode == 0, ran.stderr
    assert "'installed'" in ran.stdout
    assert ran.stdout.splitlines()[1] == "k"


def test_a_broken_file_in_the_folder_is_named(tree: Path) -> None:
    (tree / "schedulers" / "broken.py").write_text("import no_such_module\n")
    ran = python("import schedulers", tree)
    assert "UserError: plug-in 'schedulers.broken' failed to import: ModuleNotFoundError" in ran.stderr


def test_a_broken_plugin_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad_plugin.py").write_text("1 / 0\n")
    ran = python("linear --plugin bad_plugin", tmp_path, ROOT, module=True)
    assert ran.returncode == 2
    assert ran.stderr == "error: plug-in 'bad_plugin' failed to import: ZeroDivisionError: division by zero\n"


def test_a_broken_installed_package_is_named_and_the_import_survives(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "anneal_bad", "1 / 0\n", "bad")
    assert python("import schedulers", site, ROOT).returncode == 0
    ran = python("linear", site, ROOT, module=True)
    assert ran.returncode == 2
    assert "plug-in 'bad' (anneal_bad, entry point of anneal.schedulers) failed to import" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_name_taken_and_a_class_that_is_no_policy(tmp_path: Path) -> None:
    (tmp_path / "again.py").write_text(POLICY.replace("NAME", "linear"))
    ran = python("linear --plugin again", tmp_path, ROOT, module=True)
    assert "policy 'linear' is already registered by schedulers.linear" in ran.stderr
    with pytest.raises(UserError, match="policy 'thing' must be a subclass of Policy"):
        schedulers.register("thing")(object)

    class Bare(schedulers.Policy):  # without @dataclass its options would be none
        k: float = 1.0

        def at(self, step: int) -> schedulers.Point:
            return schedulers.Point(self.k)

    with pytest.raises(UserError, match="under @dataclass"):
        schedulers.register("bare")(Bare)
    assert {"thing", "bare"}.isdisjoint(schedulers.names())
