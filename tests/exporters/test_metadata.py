"""Files whose metadata is malformed, hostile or not what the file does are refused, and nothing of it is run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import exporters
from exporters.metadata import Metadata, read_metadata
from tests.exporters.conftest import NAMES, Files
from utils.errors import UserError

FREE = (None, 3, None, None)


@given(
    st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=200), min_size=1, max_size=20),
    st.booleans(),
    st.integers(1, 50),
    st.floats(0, 1),
)
def test_what_is_written_is_read(names: list[str], nms: bool, sides: int, conf: float) -> None:
    facts = Metadata(tuple(names), 32, (32 * sides, 64), 2, True, False, nms, conf, 0.5, 100, "today", "best.pt")
    assert read_metadata(facts.to_text(), FREE, "file") == facts
    through_json = json.loads(json.dumps(facts.to_text()))
    assert read_metadata(through_json, FREE, "file") == facts


def test_yolov5s_own_entries_are_enough() -> None:
    facts = read_metadata({"stride": "32", "names": "{0: 'cat', 1: 'dog'}"}, (1, 3, 640, 480), "file")
    assert facts.names == ("cat", "dog")
    assert (facts.size, facts.batch, facts.dynamic, facts.nms) == ((640, 480), 1, False, False)


GOOD = Metadata(NAMES, 32, (64, 96), 1).to_text()
LIES = {
    "no names": ({"names": None}, "no 'names'"),
    "code as names": ({"names": "__import__('os').system('touch ran')"}, "'names' is not understood"),
    "deep": ({"names": "[" * 100_000}, "'names' is not understood"),
    "large": ({"names": "'" + "a" * (1 << 20) + "'"}, "over 1,048,576 characters"),
    "numbers as names": ({"names": "{0: 1}"}, "not 1 to 10,000 texts"),
    "none": ({"names": "[]"}, "not 1 to 10,000 texts"),
    "too many": ({"names": repr(["a"] * 10_001)}, "not 1 to 10,000 texts"),
    "holes": ({"names": "{0: 'a', 2: 'b'}"}, "not numbered from 0"),
    "stride": ({"stride": "31"}, "stride is 31"),
    "huge stride": ({"stride": "9" * 5000}, "'stride' is not understood"),
    "size": ({"imgsz": "[64, 100]"}, "multiples of its stride"),
    "huge size": ({"imgsz": "[64, 3200000]"}, "multiples of its stride"),
    "large in all": ({"imgsz": "[8192, 8192]", "batch": "4"}, "over 134,217,728 pixels"),
    "another size": ({"imgsz": "[64, 64]"}, "but its input is"),
    "another batch": ({"batch": "2"}, "but its input is"),
    "dynamic": ({"dynamic": "True"}, "any number and size is taken"),
    "conf": ({"conf": "2.0"}, "not between 0 and 1"),
    "max_det": ({"max_det": "0"}, "max_det is 0"),
}


@pytest.mark.parametrize("lie", LIES)
def test_malformed_metadata(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changed, message = LIES[lie]
    entries = {key: value for key, value in (GOOD | changed).items() if value is not None}
    with pytest.raises(UserError, match=message):
        read_metadata(entries, (1, 3, 64, 96), "file")
    assert os.listdir(tmp_path) == []


def rewritten(path: Path, folder: Path, **changed: str) -> Path:
    """A copy of an exported file with other entries in its metadata."""
    out = folder / path.name
    if path.suffix == ".onnx":
        model = onnx.load(path)
        for entry in model.metadata_props:
            entry.value = changed.get(entry.key, entry.value)
        onnx.save(model, out)
    elif path.suffix == ".torchscript":
        extra = {"config.txt": ""}
        model = torch.jit.load(path, _extra_files=extra)
        torch.jit.save(
            model, str(out), _extra_files={"config.txt": json.dumps(json.loads(extra["config.txt"]) | changed)}
        )
    else:
        shutil.copytree(path, out)
        file = out / "metadata.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "torchscript", "openvino"])
def test_lies_that_only_running_tells(files: Files, name: str, tmp_path: Path) -> None:
    made = files(name, dynamic=True)
    cases = [
        ({"names": repr([*NAMES, "another"])}, "not that of 4 classes"),
        ({"names": repr(NAMES[:2])}, "not that of 2 classes"),
        ({"stride": "16"}, "does not run|promises|its output"),
        ({"stride": "64", "imgsz": "[64, 128]"}, "promises"),
        ({"nms": "True"}, "not that of 3 classes|promises"),
    ]
    for number, (changed, message) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(UserError, match=message):
            exporters.open_exported(rewritten(made, folder, **changed))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "torchscript", "openvino"])
def test_too_few_names_for_what_its_nms_finds(files: Files, name: str, tmp_path: Path) -> None:
    made = files(name, nms=True, dynamic=True)
    with pytest.raises(UserError, match="a class beyond its 1 names"):
        exporters.open_exported(rewritten(made, tmp_path, names="['one']"))


@pytest.mark.parametrize("suffix", [".onnx", ".torchscript", "_openvino_model"])
def test_what_is_no_such_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"best{suffix}"
    for content in (b"", b"PK\x03\x04", b"\x08\x01" * 1000):
        if suffix.endswith("model"):
            path.mkdir(exist_ok=True)
            (path / "best.xml").write_bytes(content)
            (path / "metadata.json").write_text(json.dumps(GOOD))
        else:
            path.write_bytes(content)
        with pytest.raises(UserError, match="export it again"):
            exporters.open_exported(path)


def test_weights_outside_an_onnx_file_are_not_looked_for(files: Files, tmp_path: Path) -> None:
    model = onnx.load(files("onnx", dynamic=True))
    onnx.save(model, tmp_path / "best.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(UserError, match="not a usable ONNX file"):
        exporters.open_exported(tmp_path / "best.onnx")
