"""What scripts written for YOLOv5 call on a model, its results and the hub."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from predict.model import Model, load
from tests.network import lively
from tests.predict.conftest import NAMES
from tests.trainer import Runs
from utils import device as devices
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(narrow: Path) -> Model:
    return Model(lively(narrow, NAMES), NAMES, 64)


@pytest.mark.parametrize("has_bf16", [True, False])
def test_half_on_a_cpu(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_bf16: bool
) -> None:
    """bfloat16 where the processor has it, and the boxes are nearly the same; else float32, which is said."""
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: has_bf16)
    picture = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    model.conf, model.max_det = 0.01, 50
    exact, rough = model(picture).xyxy[0], model.half()(picture).xyxy[0]
    assert model.dtype == (torch.bfloat16 if has_bf16 else torch.float32)
    assert rough.dtype == torch.float32
    assert torch.equal(exact, rough) != has_bf16
    assert rough[0, 4].item() == pytest.approx(exact[0, 4].item(), rel=0.1)
    assert ("--half needs" in caplog.text) != has_bf16
    assert torch.equal(model.float()(picture).xyxy[0], exact)


def test_what_scripts_for_yolov5_call(model: Model, capsys: pytest.CaptureFixture) -> None:
    """Names by number, ims that render draws on, n, s, t, tolist; eval, to, float return the model."""
    assert model.eval() is model.cpu() is model.half() is model.to("cpu") is model.float() is model
    assert model.dtype == torch.float32
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 255, (40, 60, 3), np.uint8), rng.integers(0, 255, (60, 30, 3), np.uint8)]
    results = model(pixels)
    assert model.names == results.names == {0: "cat", 1: "dog/..", 2: "bird"}
    assert results.n == len(results) == 2
    assert results.s == (2, 3, 96, 96)
    assert len(results.t) == 3
    assert all(each > 0 for each in results.t)
    assert all((a == b).all() for a, b in zip(results.ims, pixels, strict=True))
    first, second = results.tolist()
    assert torch.equal(first.xyxy[0], results.xyxy[0])
    assert (second.n, second.s) == (1, (1, 3, 96, 96))
    drawn = results.render()
    assert results.ims is drawn
    assert all((a == b).all() for a, b in zip(results.pictures, pixels, strict=True))
    assert (results[1].ims[0] == drawn[1]).all()
    assert (drawn[0] != pixels[0]).any()


def test_results_are_ordinary_objects(model: Model) -> None:
    """Boxes are changed in place, results sliced, compared, put into sets, copied."""
    results = model([np.random.default_rng(i).integers(0, 255, (40, 60, 3), np.uint8) for i in range(3)])
    results.xyxy[0][:, :4] *= 2
    part = results[1:]
    assert (part.n, part.files) == (2, results.files[1:])
    assert part.xyxy[0] is results.xyxy[1]
    assert results[-1].files == results.files[2:]
    results.render()
    assert results[:1].ims[0] is results.ims[0]
    with pytest.raises(IndexError):
        results[3]
    again = copy.deepcopy(results)
    assert torch.equal(again.xyxy[2], results.xyxy[2])
    assert len({results, again, results}) == 2


def test_memory_that_does_not_suffice(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    """Pictures are taken in parts, which is said once; one that is too much is an error in a line."""
    pixels = [np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8) for i in range(5)]
    expected, network, room = model(pixels).xyxy, model.network.forward, 2

    def narrow(images: torch.Tensor) -> object:
        if len(images) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(images)

    model.network.forward = narrow
    for _ in range(2):
        for rows, alone in zip(model(pixels).xyxy, expected, strict=True):
            torch.testing.assert_close(rows, alone, atol=1e-3, rtol=0)
    assert caplog.text.count("continuing with parts of 2") == 1
    room = 0
    with pytest.raises(UserError, match="not even one picture fits; give a smaller --imgsz"):
        model(pixels)


@pytest.mark.parametrize("number", [0, -1, 2.5, "8"])
def test_what_is_no_batch_size(model: Model, number: object) -> None:
    with pytest.raises(UserError, match="give a whole number"):
        model(np.zeros((40, 60, 3), np.uint8), batch_size=number)


@pytest.mark.parametrize(
    ("name", "value"),
    [("conf", None), ("conf", 25), ("iou", float("nan")), ("max_det", -1), ("max_det", 2.5)],
)
def test_what_is_no_threshold(model: Model, name: str, value: object) -> None:
    setattr(model, name, value)
    with pytest.raises(UserError, match=f"{name} is .*; set it to"):
        model(np.zeros((40, 60, 3), np.uint8))


def test_multi_label(model: Model) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    model.conf = 0.01
    best = model(pixels).xyxy[0]
    model.multi_label = True
    every = model(pixels).xyxy[0]
    assert len(every) > len(best)
    assert {tuple(row) for row in best.tolist()} <= {tuple(row) for row in every.tolist()} or len(every) > 1.5 * len(
        best
    )


def test_through_the_hub_and_without(module_runs: Runs, tmp_path: Path) -> None:
    assert module_runs(epochs=1, name="hub") == 0
    best = module_runs.run("hub") / "weights" / "best.pt"
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    for device in (None, "cpu"):
        common = {"source": "local", "force_reload": True, "verbose": False, "_verbose": False, "autoshape": True}
        hub = torch.hub.load(str(ROOT), "custom", path=str(best), device=device, **common)
        hub.conf = 0.001
        alone = load(best, device="cpu")
        alone.conf = 0.001
        assert hub.names == alone.names == {0: "bare", 1: "masked", 2: "wrong"}
        assert hub.size == 64
        assert torch.equal(hub(pixels).xyxy[0], alone(pixels).xyxy[0])
    assert len(alone(pixels).xyxy[0])
    fresh = torch.hub.load(str(ROOT), "yolov5n", pretrained=False, classes=2, source="local")
    assert len(fresh(pixels)) == 1
    with pytest.raises(ValueError, match="no such checkpoint"):
        torch.hub.load(str(ROOT), "custom", path=str(tmp_path / "none.pt"), source="local")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autoshape": False}, "autoshape=False: the bare network"),
        ({"channels": 1}, "channels=1: pictures have 3"),
        ({"shape": 1}, "shape= is not known here"),
        ({"classes": 3}, "classes= is not known here"),
    ],
)
def test_what_the_hub_does_not_take(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        torch.hub.load(str(ROOT), "custom", path="best.pt", source="local", **options)
    assert "\n" not in str(raised.value)
