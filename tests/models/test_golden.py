"""The network and its loss against the published architecture's own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from models.assignment import assign
from models.loss import DetectionLoss
from tests.golden import fill

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES = ("yolov5n", "yolov5s", "yolov5m", "yolov5l", "yolov5x")


def assert_agree(found: torch.Tensor, golden: np.ndarray) -> None:
    """To 1e-9 of the largest absolute value."""
    found = found.detach().numpy()
    assert found.shape == golden.shape
    if golden.size:
        np.testing.assert_allclose(found, golden, rtol=0, atol=1e-9 * np.abs(golden).max())


def published(size: str) -> dict[str, list[int]]:
    """Every state-dict entry of a size and its shape, in order."""
    full = {}
    for name, shape in json.loads((GOLDEN / "state_dict_shapes.json").read_text())[size].items():
        full[name] = shape
        if name.endswith(".conv.weight"):
            norm = name.removesuffix("conv.weight") + "bn."
            full |= {norm + entry: shape[:1] for entry in ("weight", "bias", "running_mean", "running_var")}
            full[norm + "num_batches_tracked"] = []
    return full


def filled(classes: int) -> models.Detector:
    model = models.build("yolov5n", classes).double()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not name.endswith(("anchors", "num_batches_tracked")):
                value.copy_(torch.from_numpy(fill.parameter(name, tuple(value.shape))))
    return model


@pytest.mark.parametrize("size", SIZES)
def test_state_dict_is_the_published_one(size: str) -> None:
    with torch.device("meta"):
        model = models.build(size, classes=80)
    found = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert found == published(size)
    assert list(found) == list(published(size))


@pytest.mark.parametrize(("size", "million"), [("n", 1.87), ("s", 7.23), ("m", 21.2), ("l", 46.5), ("x", 86.7)])
def test_parameter_counts(size: str, million: float) -> None:
    with torch.device("meta"):
        model = models.build(f"yolov5{size}", classes=80)
    assert model.parameter_count / 1e6 == pytest.approx(million, rel=3e-3)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_forward(memory_format: torch.memory_format) -> None:
    golden = np.load(GOLDEN / "forward_yolov5n_nc3.npz")
    images = torch.from_numpy(fill.uniform("input", (2, 3, 64, 96))).to(memory_format=memory_format)
    model = filled(3).to(memory_format=memory_format)
    with torch.no_grad():
        decoded, heads = model.eval()(images)
        trained = model.train()(images)
    assert_agree(decoded, golden["decoded"])
    for i in range(3):
        assert_agree(heads[i], golden[f"eval_head{i}"])
        assert_agree(trained[i], golden[f"train_head{i}"])


@pytest.mark.parametrize(("case", "classes"), [(0, 3), (1, 3), (2, 1)])
def test_loss(case: int, classes: int) -> None:
    golden = np.load(GOLDEN / f"loss_case{case}.npz")
    model = models.build("yolov5n", classes).double()
    shapes = [(4, 3, 96 // stride, 128 // stride, classes + 5) for stride in (8, 16, 32)]
    heads = [torch.from_numpy(fill.uniform(f"loss{case}/pred{j}", shape, -3, 3)) for j, shape in enumerate(shapes)]
    heads = [head.requires_grad_() for head in heads]
    targets = torch.from_numpy(golden["targets"])
    total, terms = DetectionLoss(model)(heads, targets)
    total.backward()
    assert_agree(total[None], golden["total"])
    assert_agree(terms, golden["box_obj_cls"])
    for j, head in enumerate(heads):
        assert_agree(head.grad, golden[f"grad{j}"])
    found = [assign(targets, a, h.shape[:4], 4.0).valid.sum() for a, h in zip(model.head.anchors, heads, strict=True)]
    assert [int(n) for n in found] == golden["matches"].tolist()
