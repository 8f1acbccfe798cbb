"""The tests marked gpu, by pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.child import ROOT, how
from benchmarks.gpu.findings import Findings, LeftOut
from benchmarks.gpu.setting import Setting

NEEDED = ("pytest", "hypothesis")
AT_ONCE = 6  # processes that share the GPU
SPARE = 3.0  # seconds to tell which were not done in time


def run(setting: Setting, findings: Findings) -> None:
    """Every file with such a test, in a process of its own: one that hangs or crashes is named, and the others count.
    On a CPU, where they are collected and skipped, one process does for all."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if lacking:
        raise LeftOut(f"they were not run: {', '.join(lacking)} not installed (requirements-dev.txt)")
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if marked(path)]
    groups = [[path] for path in files] if setting.on_gpu else [files]
    names = {"all files": groups[0]} if not setting.on_gpu else {str(g[0].relative_to(ROOT)): g for g in groups}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {pool.submit(tested, group, setting): name for name, group in names.items()}
        for job in as_completed(jobs):
            show(findings, jobs[job], *job.result())


def tested(files: Sequence[Path], setting: Setting) -> tuple[str, dict[str, list[str]]]:
    """Run the files' tests; what went wrong but single tests, and the tests by how they ended."""
    out = Path(f"{files[0].stem}-{len(files)}.xml").resolve()
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={out}"]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        limit = max(setting.seconds_left - SPARE, 1)
        code = subprocess.run([*words, *map(str, files)], cwd=ROOT, env=env, check=False, timeout=limit).returncode
    except subprocess.TimeoutExpired:
        return "not done in time", {}
    return ("", outcome(out)) if out.exists() else (f"no report: {how(code)}", {})


def show(findings: Findings, name: str, wrong: str, found: dict[str, list[str]]) -> None:
    """A file's row. Words in place of a number fail the bar."""
    counts = ", ".join(f"{len(tests)} {state}" for state, tests in found.items() if tests)
    findings.add(f"{name}: failed", wrong or len(found["failed"]), f"({counts})" * bool(counts), bar="tests")
    findings.detail(name, found)


def marked(path: Path) -> bool:
    """Whether a file of tests has some for a GPU."""
    return "mark.gpu" in path.read_text(encoding="utf-8")


def outcome(junit: Path) -> dict[str, list[str]]:
    """Names of the tests that passed, failed and were skipped."""
    found: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in ElementTree.parse(junit).iter("testcase"):
        kinds = {child.tag for child in case}
        state = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[state].append(f"{case.get('classname')}::{case.get('name')}")
    return found
