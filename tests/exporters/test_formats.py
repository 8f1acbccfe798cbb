"""Exported files give the checkpoint's boxes, in every format, with and without NMS inside, at any batch and size."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

import exporters
from exporters import rows_of
from exporters.network import Network, Suppression, suppress, suppress_each
from exporters.writing import megabytes
from models import Detector
from tests.exporters.conftest import NAMES, Files
from utils.errors import UserError
from utils.nms import non_max_suppression

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("onnx", "torchscript", "openvino")
PIXELS, SCORE = 1e-2, 1e-4  # the narrow network's large weights round in the fourth digit


def pictures(count: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(count * height)
    small = torch.rand(count, 3, height // 8, width // 8, generator=generator)
    return torch.nn.functional.interpolate(small, size=(height, width), mode="bilinear")


def assert_same_boxes(found: list[Tensor], expected: list[Tensor]) -> None:
    """As many rows, each with its equal, in any order: an untrained network gives equal scores."""
    assert sum(map(len, expected)) > len(expected)
    unit = torch.tensor([PIXELS] * 4 + [SCORE] + [1e-6])
    for rows, others in zip(found, expected, strict=True):
        assert rows.shape == others.shape
        assert (rows[:-1, 4] >= rows[1:, 4]).all()
        apart = torch.cdist(rows.double() / unit, others.double() / unit, p=float("inf"))
        assert apart.amin(0).max() <= 1
        assert apart.amin(1).max() <= 1


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.slow
@pytest.mark.parametrize("options", [{"dynamic": True}, {"batch": 3}], ids=["dynamic", "static"])
def test_output_equals_the_checkpoint(detector: Detector, files: Files, name: str, options: dict) -> None:
    exported = files.open(name, **options)
    for count in (1, 3, 8):
        for size in ((64, 96), (128, 64)) if "dynamic" in options else ((64, 96),):
            images = pictures(count, *size)
            with torch.inference_mode():
                expected = detector(images)[0]
            found = exported(images)
            assert found.shape == expected.shape
            torch.testing.assert_close(found[..., :4], expected[..., :4], atol=PIXELS, rtol=1e-5)
            torch.testing.assert_close(found[..., 4:], expected[..., 4:], atol=SCORE, rtol=0)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.slow
@pytest.mark.parametrize("options", [{"dynamic": True}, {"batch": 3}], ids=["dynamic", "static"])
def test_nms_inside_equals_ours(detector: Detector, files: Files, name: str, options: dict) -> None:
    exported = files.open(name, nms=True, **options)
    for count in (1, 3, 8):
        for size in ((64, 96), (128, 64)) if "dynamic" in options else ((64, 96),):
            images = pictures(count, *size)
            with torch.inference_mode():
                expected = non_max_suppression(detector(images)[0], 0.3, 0.45, max_det=300)
            found = exported(images)
            assert found.shape == (count, 300, 6)
            assert_same_boxes(rows_of(found), expected)


@pytest.mark.parametrize("way", [suppress, suppress_each], ids=["operator", "function"])
@pytest.mark.parametrize("max_det", [1, 5, 300])
def test_max_det_and_no_candidates(detector: Detector, way: object, max_det: int) -> None:
    images = pictures(2, 96, 64)
    for conf in (0.3, 0.99):
        network = Network(detector, suppression=Suppression(conf, 0.6, max_det), suppress=way)
        with torch.inference_mode():
            expected = non_max_suppression(detector(images)[0], conf, 0.6, max_det=max_det)
            found = network(images)
        assert found.shape == (2, max_det, 6)
        for rows, others in zip(rows_of(found), expected, strict=True):
            torch.testing.assert_close(rows, others)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.slow
def test_half_is_half_the_size_and_about_the_same(detector: Detector, files: Files, name: str) -> None:
    whole, half = files.open(name, dynamic=True), files.open(name, half=True)
    assert half.half
    assert megabytes(half.path) < megabytes(whole.path)
    images = pictures(2, 64, 96)
    assert whole(images).dtype == half(images).dtype == torch.float32
    torch.testing.assert_close(half(images), whole(images), atol=2.0, rtol=0.05)


TWO_MODELS_AND_A_SIGNAL = """
import os, signal, sys
import torch
import exporters
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
first, second = exporters.open_exported(sys.argv[1]), exporters.open_exported(sys.argv[1])
first(torch.zeros(1, 3, 64, 96)), second(torch.zeros(1, 3, 64, 96))
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_signals_are_handled_after_two_models(files: Files, name: str) -> None:
    """OpenVINO leaves a thread that compiled two models with a signal stack that is not mapped."""
    command = [sys.executable, "-c", TWO_MODELS_AND_A_SIGNAL, str(files(name, dynamic=True))]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_onnx_file_as_other_programs_see_it(files: Files) -> None:
    path = files("onnx", nms=True, dynamic=True)
    model = onnx.load(path, load_external_data=False)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [18]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    session = onnxruntime.InferenceSession(path)
    assert [(i.name, i.shape, i.type) for i in session.get_inputs()] == [
        ("images", ["batch", 3, "height", "width"], "tensor(float)")
    ]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("output0", ["batch", 300, 6])]
    entries = session.get_modelmeta().custom_metadata_map
    assert ast.literal_eval(entries["names"]) == dict(enumerate(NAMES))
    assert entries["stride"] == "32"
    assert entries["imgsz"] == "[64, 96]"


def test_sizes_that_a_file_does_not_take(files: Files) -> None:
    with pytest.raises(UserError, match="takes 64 x 96 pixels, not 64 x 64"):
        files.open("onnx", batch=3)(pictures(1, 64, 64))
    with pytest.raises(UserError, match="multiples of 32, not 64 x 72"):
        files.open("onnx", dynamic=True)(pictures(1, 64, 72))


def test_no_pictures(files: Files) -> None:
    assert files.open("onnx", dynamic=True)(torch.zeros(0, 3, 64, 96)).shape == (0, 378, 8)


def test_names_tell_the_format(tmp_path: Path) -> None:
    assert exporters.names()[0] == "onnx"
    assert exporters.is_exported("a/best.onnx")
    assert exporters.is_exported("best_openvino_model")
    assert exporters.is_exported("best_openvino_model/")
    assert not exporters.is_exported("best.pt")
    assert not exporters.is_exported(".onnx")
    with pytest.raises(UserError, match="no such file"):
        exporters.open_exported(tmp_path / "best.onnx")
    with pytest.raises(UserError, match=r"those end in \.onnx"):
        exporters.open_exported(tmp_path / "best.pt")
    with pytest.raises(UserError, match="did you mean 'onnx'"):
        exporters.get("onx")
