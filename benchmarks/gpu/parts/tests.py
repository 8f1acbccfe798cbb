"""The tests marked gpu, by pytest."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.child import ROOT
from benchmarks.gpu.findings import Findings, LeftOut
from benchmarks.gpu.setting import Setting

NEEDED = ("pytest", "hypothesis")
AT_ONCE = 6  # processes that share the GPU, where pytest-xdist is installed


def run(setting: Setting, findings: Findings) -> None:
    """Every file with such a test; on a CPU they are collected and skipped."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if lacking:
        raise LeftOut(f"they were not run: {', '.join(lacking)} not installed (requirements-dev.txt)")
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if marked(path)]
    out = Path.cwd() / "junit.xml"
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={out}", *files]
    if setting.on_gpu and find_spec("xdist"):
        words += ["-n", str(AT_ONCE)]
    code = subprocess.run(words, cwd=ROOT, check=False).returncode
    if not out.exists():
        raise RuntimeError(f"pytest ended with exit code {code} and no report")
    passed, failed, skipped = outcome(out)
    findings.add("passed", len(passed))
    findings.add("failed", len(failed), bar="tests")
    findings.add("skipped", len(skipped))
    findings.detail("failed", failed)
    findings.detail("passed", passed)


def marked(path: Path) -> bool:
    """Whether a file of tests has some for a GPU."""
    return "mark.gpu" in path.read_text(encoding="utf-8")


def outcome(junit: Path) -> tuple[list[str], list[str], list[str]]:
    """Names of the tests that passed, failed and were skipped."""
    found: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in ElementTree.parse(junit).iter("testcase"):
        kinds = {child.tag for child in case}
        state = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[state].append(f"{case.get('classname')}::{case.get('name')}")
    return found["passed"], found["failed"], found["skipped"]
