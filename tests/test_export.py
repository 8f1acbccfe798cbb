"""export.py as a user runs it: what it writes, what it says, how it ends."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import export
import exporters
import val
from exporters import formats, torchscript_file
from models.load import load_detector
from tests.trainer import Runs


@pytest.fixture(scope="module")
def best(module_runs: Runs) -> Path:
    """A checkpoint trained for two epochs."""
    assert module_runs(epochs=2, name="trained") == 0
    return module_runs.run("trained") / "weights" / "best.pt"


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@pytest.fixture(autouse=True)
def _heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.log, "setup", lambda: None)  # it would take the log away from `caplog`


@pytest.mark.slow
def test_formats_beside_the_checkpoint(best: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those whose package is missing fail by name, and the others are made: exit code 1."""
    wanted = ["onnx", "torchscript", "openvino", "engine", "coreml"]
    missing = [name for name, package in (("engine", "tensorrt"), ("coreml", "coremltools")) if not _there(package)]
    assert export.main(["--weights", str(best), "--include", *wanted]) == (1 if missing else 0)
    for name in missing:
        assert any(re.match(rf"{name}: .*needs \w+; pip install", line) for line in lines(caplog, logging.ERROR))
    detector, images = load_detector(best), torch.rand(2, 3, 64, 64)
    for name, file in (("onnx", "best.onnx"), ("torchscript", "best.torchscript"), ("openvino", "best_openvino_model")):
        exported = exporters.open_exported(best.with_name(file))
        assert exported.names == detector.names
        assert exported.source == "best.pt (narrow)"
        assert (exported.size, exported.stride, exported.dynamic) == ((64, 64), 32, False)
        with torch.inference_mode():
            torch.testing.assert_close(exported(images), detector(images)[0], atol=1e-3, rtol=1e-5)
        assert any(line.startswith(f"{name}: ") and file in line for line in lines(caplog))
    said = [line for line in lines(caplog) if "largest differences" in line]
    assert len(said) == 3
    assert all(re.search(r"1 x 64 x 64: largest differences of 252 boxes: \S+ px, score \S+$", line) for line in said)
    assert not [name for name in os.listdir(best.parent) if name.startswith(".")]


def _there(package: str) -> bool:
    return formats.importlib.util.find_spec(package) is not None


@pytest.mark.slow
def test_compare_prints_a_table(best: Path, faces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = f"--weights {best} --include onnx torchscript --out {tmp_path} --dynamic --batch 2 --compare --data {faces}"
    assert export.main(words.split()) == 0
    head, *rows = lines(caplog)[-1].splitlines()
    assert head.split() == ["format", "MB", "mAP50-95", "ms", "per", "picture"]
    assert [row.split()[0] for row in rows] == ["checkpoint", "onnx", "torchscript"]
    maps = [float(row.split()[2]) for row in rows]
    assert max(maps) - min(maps) <= 1e-4
    assert sum("largest differences" in line for line in lines(caplog)) == 6  # each at three shapes


@pytest.mark.parametrize(("batch", "batches"), [(1, [1, 3, 1]), (2, [2, 3, 1]), (3, [3, 1])])
def test_no_shape_is_tried_twice(batch: int, batches: list[int]) -> None:
    tried = export._tried(exporters.Metadata(("a",), 32, (64, 64), batch, dynamic=True))
    assert [pictures for pictures, _ in tried] == batches


@pytest.mark.slow
def test_val_takes_what_was_exported(best: Path, faces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A plain export: the checkpoint's mAP to rounding. A fixed size: squares of it, which is said, or nothing."""
    for words in ("--include onnx", "--include torchscript --imgsz 64"):
        assert export.main(f"--weights {best} --out {tmp_path} {words}".split()) == 0
    common = f"--data {faces} --device cpu --noplots --workers 0 --project {tmp_path} --weights"
    metrics = []
    for weights in (best, tmp_path / "best.onnx", tmp_path / "best.torchscript"):
        assert val.main([*common.split(), str(weights), "--name", weights.suffix[1:]]) == 0
        metrics.append(
            float((tmp_path / weights.suffix[1:] / "metrics.csv").read_text().splitlines()[1].split(",")[-1])
        )
    assert metrics[1] == pytest.approx(metrics[0], abs=1e-4)
    said = [line for line in lines(caplog, logging.WARNING) if "more grey" in line]
    assert [line.partition(": ")[0] for line in said] == [str(tmp_path / "best.torchscript")]
    assert metrics[2] >= 0
    fixed = [*common.split(), str(tmp_path / "best.torchscript")]
    assert val.main([*fixed, "--imgsz", "96"]) == 2
    assert "takes 64 x 64 pixels, not 96 x 96" in lines(caplog, logging.ERROR)[-1]
    assert val.main([*fixed, str(best)]) == 2
    assert "an ensemble is of checkpoints alone" in lines(caplog, logging.ERROR)[-1]


@pytest.fixture
def wrong() -> Iterator[None]:
    """A format whose writer spoils a weight, one whose writer fails."""

    def spoil(made: formats.Export, out: Path) -> None:
        weight = made.detector.model[0].conv.weight
        with torch.no_grad():
            weight[0] += 1
            torchscript_file.write(made, out)
            weight[0] -= 1

    def fail(made: formats.Export, out: Path) -> None:
        out.write_text("half a file")
        raise RuntimeError("of its\nown making")

    for name, write in (("spoilt", spoil), ("failing", fail)):
        formats.register(formats.Format(name, f".{name}", (), (), write, torchscript_file.read))
    yield
    for name in ("spoilt", "failing"):
        del formats._FORMATS[name]


def test_a_file_that_differs_and_a_format_that_fails(
    best: Path, wrong: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["--weights", str(best), "--include", "failing", "spoilt", "torchscript", "--out", str(tmp_path)]
    assert export.main(words) == 1
    failed, differs = lines(caplog, logging.ERROR)
    assert failed == "failing: failed, RuntimeError: of its own making"
    assert differs.endswith("best.spoilt: differs from the checkpoint by more than rounding; do not use it")
    assert sorted(os.listdir(tmp_path)) == ["best.spoilt", "best.torchscript"]


def test_two_sides_nms_and_again(best: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second export takes the place of the first. --imgsz is rounded up to the stride."""
    words = (
        f"--weights {best} --include torchscript --imgsz 60 90 --nms --conf-thres 0.001 --max-det 7 --out {tmp_path}"
    )
    assert export.main(words.split()) == 0
    assert export.main([*words.split(), "--batch-size", "3"]) == 0
    exported = exporters.open_exported(tmp_path / "best.torchscript")
    assert (exported.size, exported.batch, exported.nms, exported.conf) == ((64, 96), 3, True, 0.001)
    assert exported(torch.rand(2, 3, 64, 96)).shape == (2, 7, 6)


MISTAKES = {
    "": "--weights is missing",
    "--weights none.pt": "none.pt",
    "--weights best.onnx": "is an exported file already",
    "--weights BEST --include onx": "did you mean 'onnx'",
    "--weights BEST --conf-thres 0.5": "--conf-thres has an effect only with --nms",
    "--weights BEST --include torchscript --simplify": "--simplify applies only to onnx",
    "--weights BEST --imgsz 1 2 3": "--imgsz takes one side or height and width",
    "--weights BEST --imgsz 0": "--imgsz takes one side or height and width",
    "--weights BEST --int8": "--int8 is not offered",
    "--weights BEST --data none.yaml": "none.yaml",
    "--weights BEST --imgsz 64 96 --compare": "--compare needs files of square",
    "--weights BEST --out BEST": "cannot be written",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes(words: str, best: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = export.main(words.replace("BEST", str(best)).split())
    assert code == (1 if "--out" in words else 2)
    (line,) = lines(caplog, logging.ERROR)
    assert MISTAKES[words] in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("flags", "dynamic"),
    [("", True), ("--imgsz 64", False), ("--batch-size 1", False), ("--imgsz 64 --dynamic", True), ("--nms", True)],
)
def test_any_size_unless_one_is_given(best: Path, tmp_path: Path, flags: str, dynamic: bool) -> None:
    words = f"--weights {best} --include torchscript --out {tmp_path} {flags}"
    assert export.main(words.split()) == 0
    exported = exporters.open_exported(tmp_path / "best.torchscript")
    assert (exported.dynamic, exported.size, exported.batch) == (dynamic, (64, 64), 1)


def test_out_is_made(best: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    assert export.main(["--weights", str(best), "--include", "torchscript", "--out", str(out)]) == 0
    assert os.listdir(out) == ["best.torchscript"]


def test_a_folder_of_something_else_stays(best: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = tmp_path / "best.torchscript"
    mine.mkdir()
    (mine / "mine.txt").write_text("mine")
    assert export.main(["--weights", str(best), "--include", "torchscript", "--out", str(tmp_path)]) == 1
    assert "is a folder with other contents" in lines(caplog, logging.ERROR)[0]
    assert (mine / "mine.txt").read_text() == "mine"
