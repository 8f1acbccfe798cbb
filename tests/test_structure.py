"""The shape of the tree: which package may import which, how long files and functions may be, what no code does."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEAVES = {"utils"}
MIDDLE = {"schedulers", "optimizers", "models", "data"}
BELOW_VAL = MIDDLE | {"exporters", "predict"}
COMMANDS = {path.stem for path in ROOT.glob("*.py")}
# what each part of the tree may import of the rest; itself and utils go without saying
ALLOWED = {
    "utils": set(),
    **{name: set() for name in MIDDLE},
    "exporters": MIDDLE,
    "predict": MIDDLE | {"exporters"},
    "val": BELOW_VAL,
    "hubconf": BELOW_VAL,
    "detect": BELOW_VAL | {"val"},
    "export": BELOW_VAL | {"val"},
    "training": BELOW_VAL | {"val"},
    "train": BELOW_VAL | {"val", "training"},
    "lr_find": BELOW_VAL | {"val", "training", "train"},
    "ablation": BELOW_VAL | {"val", "training", "train", "lr_find"},
    "ablate": BELOW_VAL | {"val", "training", "train", "lr_find", "ablation"},
    "benchmarks": BELOW_VAL | COMMANDS | {"training", "ablation"},
    "tests": BELOW_VAL | COMMANDS | {"training", "ablation", "benchmarks"},
}
# the sub-packages of utils: which others each may import, and which must start without torch
SUBJECTS = {
    "checkpoint": {"files"},
    "config": set(),
    "console": set(),
    "files": set(),
    "metrics": {"files"},
    "plots": {"files"},
}
WITHOUT_TORCH = ("config", "console", "files")
MOST_LINES, MOST_IN_FUNCTION = 300, 60


def sources(*skipped: str) -> list[Path]:
    """The tree's Python files, without environments, runs and the top folders in `skipped`."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if not any(part.startswith(".") for part in parts) and parts[0] in {*ALLOWED, *(f"{n}.py" for n in ALLOWED)}:
            found += [] if parts[0] in skipped else [path]
    return found


def owner(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import statement below `tree` and the top-level package it names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node, node.module.split(".")[0]


def test_every_part_of_the_tree_is_known() -> None:
    """A new folder or command must find its place among the arrows."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages | COMMANDS <= set(ALLOWED)
    assert len(sources()) > 100


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_and_sizes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    who = owner(path)
    for node, package in imports(tree):
        if package in ALLOWED and package not in ("utils", who):
            assert package in ALLOWED[who], f"{path}:{node.lineno}: {who} must not import {package}"
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MOST_IN_FUNCTION, f"{path}:{node.lineno}: {node.name} is too long"


@pytest.mark.parametrize("path", sources("tests", "benchmarks"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_hidden_imports_and_no_path_edits(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]
    for function in functions:
        for node, package in imports(function):
            # the leaves import nothing, so that a late import of them breaks no circle: it saves the start of torch
            late = package in ALLOWED and (package not in LEAVES or owner(path) in LEAVES)
            assert not late, f"{path}:{node.lineno}: imports {package} inside a function"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("sys", "path"), f"{path}:{node.lineno}: edits sys.path"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{path}:{node.lineno}: runs text"


def test_utils_is_sorted_by_subject() -> None:
    """Every sub-package of utils says what lives in it, and imports no more of the others than is stated here."""
    utils = ROOT / "utils"
    assert {path.parent.name for path in utils.glob("*/__init__.py")} == set(SUBJECTS)
    for subject, allowed in SUBJECTS.items():
        description = ast.get_docstring(ast.parse((utils / subject / "__init__.py").read_text(encoding="utf-8")))
        assert description, f"utils/{subject} has no docstring"
        for path in (utils / subject).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.ImportFrom) or not node.module.startswith("utils"):
                    continue
                named = [f"{node.module}.{alias.name}".split(".")[1] for alias in node.names]
                other = {name for name in named if name in SUBJECTS} - {subject}
                assert other <= allowed, f"{path}:{node.lineno}: utils.{subject} must not import {other}"


def test_what_commands_import_first_starts_without_torch() -> None:
    names = [
        f"{p.relative_to(ROOT)}"[:-3].replace("/", ".")
        for s in WITHOUT_TORCH
        for p in (ROOT / "utils" / s).glob("*.py")
    ]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_loop_reads_top_to_bottom() -> None:
    tree = ast.parse((ROOT / "train.py").read_text(encoding="utf-8"))
    assert [n.name for n in tree.body if isinstance(n, ast.FunctionDef)] == ["main", "fit", "train_one_epoch"]
