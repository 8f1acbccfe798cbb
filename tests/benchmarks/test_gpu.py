"""The command that proves a GPU: whole and small on a CPU, and what it does with parts that break or hang."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gpu import bars, child, command, packages, report
from benchmarks.gpu.bars import BARS, FAIL, NOT_JUDGED, PASS
from benchmarks.gpu.findings import DONE, FAILED, LATE, LEFT_OUT
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.parts import tests as gpu_tests
from benchmarks.gpu.pictures import training_index
from benchmarks.gpu.setting import Setting
from tests.trainer import ROOT

H100, H200, OTHER = "NVIDIA H100 80GB HBM3", "NVIDIA H200", "NVIDIA GeForce RTX 4090"
PEER = """
import pathlib, sys, time
words = sys.argv
table = pathlib.Path(words[words.index("--project") + 1]) / words[words.index("--name") + 1] / "results.csv"
table.parent.mkdir()
with open(table, "w") as file:
    for row in ["epoch", *map(str, range(int(words[words.index("--epochs") + 1])))]:
        print(row, file=file, flush=True)
        time.sleep(0.1)
"""


def setting(folder: Path, device: str = "cuda:0", quick: bool = False) -> Setting:
    return Setting(device, quick, "", True, "", str(folder), time.time() + 60)


@pytest.mark.slow
def test_every_part_runs_small_on_a_cpu(tmp_path: Path) -> None:
    """As a user runs it, beside a trainer that only pretends to be one."""
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer" / "train.py").write_text(PEER)
    words = ["-m", "benchmarks.gpu", "--out", "out", "--device", "cpu", "--quick", "--minutes", "60", "--peer", "peer"]
    env = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    log = (tmp_path / "out" / "gpu_cpu.log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log[-3000:]
    result = json.loads((tmp_path / "out" / "gpu_cpu.json").read_text())
    assert list(result["parts"]) == [part.name for part in PARTS]
    assert {part["state"] for part in result["parts"].values()} == {DONE}, log[-3000:]
    figures = [figure for part in result["parts"].values() for figure in part["figures"]]
    assert {figure["bar"] for figure in figures} == {"", *BARS}  # none is forgotten
    assert {figure["verdict"] for figure in figures if figure["bar"]} == {NOT_JUDGED}
    found = {figure["name"]: figure["value"] for figure in figures}
    assert found["tables and tensors that differ"] == 0
    assert found["runs that finished"] == 4
    assert all(f["value"] <= 1 for f in figures if f["bar"] == "agreement")
    text = (tmp_path / "out" / "gpu_cpu.md").read_text()
    assert all(name in text and name in done.stdout for name in found)
    assert "python -m benchmarks.gpu --out out" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "peer"]


BROKEN = {
    "raises": ("raise ValueError('of course')", FAILED, "ValueError: of course"),
    "crashes": ("import ctypes; ctypes.string_at(0)", FAILED, "ended by SIGSEGV"),
    "leaves": ("import os; os._exit(3)", FAILED, "exit code 3"),
    "hangs": ("import time; time.sleep(60)", LATE, ""),
    "skips": ("from benchmarks.gpu.findings import LeftOut; raise LeftOut('nothing here')", LEFT_OUT, "nothing here"),
    "works": ("pass", DONE, ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_part_that_breaks_is_named_and_its_figures_kept(tmp_path: Path, monkeypatch, name: str) -> None:
    text, state, why = BROKEN[name]
    lines = ["def run(setting, findings):", "    findings.add('first', 1.5, 's')", f"    {text}"]
    (tmp_path / f"{name}_part.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(Part, "module", f"{name}_part")
    asked = setting(tmp_path, "cpu")
    asked.until = time.time() + (6 if name == "hangs" else 60)
    seen: list[dict] = []
    found = child.run(Part(name, "", 1), asked, tmp_path / "log.txt", seen.append)
    assert (found["state"], found["why"]) == (state, why)
    assert [figure["name"] for figure in found["figures"]] == ["first"]
    assert time.time() < asked.until + 5
    assert name != "hangs" or seen[-1]["figures"] == found["figures"]  # written before it was ended


def test_what_a_part_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import subprocess, sys\ndef run(setting, findings):\n"
    code += "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    (tmp_path / "starts_part.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(Part, "module", "starts_part")
    part = Part("starts", "", 1)
    process, _ = child.start(part, setting(tmp_path, "cpu"), tmp_path / "log.txt")
    process.wait()
    child.end(process)
    until = time.monotonic() + 10
    while alive_in_group(process.pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def alive_in_group(number: int) -> bool:
    """Whether a process of that group still runs; one that nobody has taken note of since its end does not."""
    table = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(row.split()[0] == str(number) and row.split()[1][0] != "Z" for row in table.splitlines())


@pytest.mark.slow
def test_tests_that_fail_crash_or_hang_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    head = "import pytest\n@pytest.mark.gpu\ndef test_"
    mixed = f"{head}good(): pass\n{head}bad(): assert False\ndef test_another(): assert False\n"
    texts = {"mixed": mixed, "crashing": f"{head}it():\n    import ctypes\n    ctypes.string_at(0)\n"}
    texts["hanging"] = f"{head}it():\n    import time\n    time.sleep(60)\n"
    found = {}
    for name, text in texts.items():
        (tmp_path / f"test_{name}.py").write_text(text)
        asked = setting(tmp_path)
        asked.until = time.time() + (5 if name == "hanging" else 60)
        found[name] = gpu_tests.tested([tmp_path / f"test_{name}.py"], asked)
    assert found["crashing"] == ("no report: ended by SIGSEGV", {})
    assert found["hanging"] == ("not done in time", {})
    wrong, ends = found["mixed"]
    assert not wrong
    assert {state: [name.split("::")[1] for name in names] for state, names in ends.items()} == {
        "passed": ["test_good"],
        "failed": ["test_bad"],
        "skipped": [],
    }


@given(st.floats(0.2, 60), st.lists(st.floats(0, 3), min_size=len(PARTS), max_size=len(PARTS)))
def test_every_part_gets_its_share_and_the_whole_keeps_its_time(minutes: float, used: list[float]) -> None:
    """However long each part would take, in shares."""
    run = command.Run.__new__(command.Run)
    run.began, run.ends = 0.0, 60 * minutes
    now, scale = 0.0, run.ends / sum(part.seconds for part in PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command.time, "time", lambda: now)
        for part, times in zip(PARTS, used, strict=True):
            until = run.limit(part)
            assert scale * part.seconds <= until - now + 1e-6 <= 2 * scale * part.seconds + 2e-6
            now = min(until, now + times * scale * part.seconds)
    assert now <= run.ends + 1e-6


@pytest.mark.parametrize(
    ("bar", "value", "chip", "expected"),
    [
        ("yolov5s", 3000, H200, PASS),
        ("yolov5s", 2999, H200, FAIL),
        ("yolov5s", 2400, H100, PASS),
        ("yolov5s", 2399, H100, FAIL),
        ("yolov5s", 9000, OTHER, NOT_JUDGED),
        ("ratio", 0.949, H100, FAIL),  # a share is the same on both
        ("ratio", 0.95, H100, PASS),
        ("optimizers", 1.01, H200, FAIL),
        ("agreement", 1.0, OTHER, PASS),
        ("agreement", float("nan"), OTHER, FAIL),
        ("resume", 1, OTHER, FAIL),
        ("memory", 0, H100, FAIL),
        ("minutes", "not reached", H100, FAIL),
        ("minutes", 4.9, H100, PASS),
    ],
)
def test_verdicts(tmp_path: Path, bar: str, value: float | str, chip: str, expected: str) -> None:
    assert bars.verdict(BARS[bar], value, chip, setting(tmp_path), mask=True) == expected
    for small in (setting(tmp_path, quick=True), setting(tmp_path, device="cpu")):
        assert bars.verdict(BARS[bar], value, chip, small, mask=True) == NOT_JUDGED
    assert BARS[bar].mask == (bars.verdict(BARS[bar], 4.9, H100, setting(tmp_path), mask=False) == NOT_JUDGED)


def test_the_data_set_given_is_found_from_every_folder(tmp_path: Path, faces: Path, monkeypatch) -> None:
    """Its YAML names a folder beside where the command was given; the parts work elsewhere. A sample is no mask set."""
    (tmp_path / "here" / "pictures").mkdir(parents=True)
    for kind in ("images", "labels"):
        (tmp_path / "here" / "pictures" / kind).symlink_to(faces.parent / "faces" / kind)
    names = {"mask.yaml": bars.MASK, "faces.yaml": ("bare", "masked", "wrong")}
    for file, each in names.items():
        text = f"path: pictures\ntrain: images/train\nval: images/val\nnames: {list(each)}\n"
        (tmp_path / "here" / file).write_text(text)
    for file in names:
        monkeypatch.chdir(tmp_path / "here")
        (tmp_path / file[:-5]).mkdir()
        given = command.Command(data=file, device="cpu")
        asked = command.prepare(given, tmp_path / file[:-5])
        monkeypatch.chdir(tmp_path)
        assert len(training_index(asked)) == 11
        assert not asked.drawn
        assert bars.is_mask_set(asked) == (file == "mask.yaml")
    sample = tmp_path / "sample"
    sample.mkdir()
    assert command.prepare(command.Command(data=str(faces), device="cpu"), sample).drawn  # by its marker file


def test_names_of_chips() -> None:
    names = {H100: "h100", H200: "h200", OTHER: "rtx-4090", "NVIDIA A100-SXM4-40GB": "a100", "cpu": "cpu"}
    names |= {"NVIDIA GB200": "gb200", "AMD Instinct MI300X": "amd-instinct-mi300x"}
    assert {name: report.slug(name) for name in names} == names


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    listed = tmp_path / "requirements.txt"
    listed.write_text("torch>=2.11\nno-such-package>=1  # a comment\n\n# more\nnor-this[extra]==2\n")
    monkeypatch.setattr(packages, "REQUIREMENTS", listed)
    packages.report_missing()
    assert capsys.readouterr().out.startswith("not installed: no-such-package, nor-this (")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--parts chip,speed", "--parts speed: unknown; there are chip, tests, "),
        ("--peer nowhere", "--peer nowhere: no train.py there; give the folder of a YOLOv5 checkout"),
        ("--data nowhere.yaml", "nowhere.yaml"),
        ("--device cuda:99", "--device cuda:99: "),
        ("--minutes 0", "--minutes 0"),
        ("--pear x", "did you mean '--peer'?"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, monkeypatch, capsys, words: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    device = [] if "--device" in words else ["--device", "cpu"]
    assert command.main([*words.split(), *device, "--out", "out"]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("error: ")
    assert said in line
