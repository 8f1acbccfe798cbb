"""Published checkpoints: their tensors come through exactly, and nothing they name is imported."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import models
import val
from models import yolov5_format
from tests.golden import fill
from tests.published import read_published, save_published
from training.network import start_from
from utils import checkpoint
from utils.errors import UserError

NAMES = {0: "red", 1: "green", 2: "blue"}


def filled(classes: int = 3) -> dict[str, Tensor]:
    """The entries of the smallest network, each with numbers of its own."""
    state = models.build("yolov5n", classes).state_dict()
    for name, value in state.items():
        if "anchors" not in name and "num_batches" not in name:
            value.copy_(torch.from_numpy(fill.parameter(name, tuple(value.shape))))
        elif "num_batches" in name:
            value.fill_(len(name))
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return filled()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor]) -> Path:
    return save_published(tmp_path_factory.mktemp("published") / "best.pt", state, names=NAMES, yaml={"nc": 3})


def test_every_tensor_comes_through(file: Path, state: dict[str, Tensor]) -> None:
    before = set(sys.modules)
    found = read_published(file)
    assert not {name for name in set(sys.modules) - before if name.startswith("models.")}
    assert "models.yolo" not in sys.modules
    assert set(found["ema"]) == set(state)
    for name, value in found["ema"].items():
        expected = state[name].half().float() if state[name].is_floating_point() else state[name]
        assert value.dtype == expected.dtype, name
        assert torch.equal(value, expected), name
    assert (found["classes"], found["names"]) == (3, ("red", "green", "blue"))


def test_full_precision_and_views_come_through(tmp_path: Path) -> None:
    """A transposed weight and one that is a part of a larger storage keep their numbers."""
    large = torch.arange(24.0).view(4, 6)
    entries = {"model.0.weight": large.t(), "model.1.weight": large[1:3, 2:4], "model.2.bias": torch.tensor(3.5)}
    path = save_published(tmp_path / "views.pt", entries, half=False)
    raw = torch.arange(24.0).view(4, 6)
    found = read_published(path)["ema"]
    assert torch.equal(found["model.0.weight"], raw.t())
    assert torch.equal(found["model.1.weight"], raw[1:3, 2:4])
    assert found["model.2.bias"].item() == 3.5
    assert all(value.is_contiguous() for value in found.values())


def test_the_mean_is_preferred(tmp_path: Path) -> None:
    path = save_published(tmp_path / "last.pt", {"model.0.weight": torch.ones(2)}, key="ema")
    assert list(read_published(path)["ema"]) == ["model.0.weight"]


@pytest.mark.parametrize(
    ("extra", "classes", "names"),
    [
        ({"names": ["a", "b"]}, 2, ("a", "b")),
        ({"names": {1: "b", 0: "a"}, "yaml": {"nc": 2}}, 2, ("a", "b")),
        ({"names": ["a"], "yaml": {"nc": 2}}, 2, ("class0", "class1")),
        ({"names": {0: "a", 5: "b"}, "yaml": {"nc": 1}}, 1, ("class0",)),
        ({"names": ["a\nb"], "yaml": {"nc": True}}, 1, ("a?b",)),
        ({"names": [1, 2]}, 0, ()),
        ({}, 0, ()),
    ],
)
def test_facts(tmp_path: Path, extra: dict, classes: int, names: tuple[str, ...]) -> None:
    found = read_published(save_published(tmp_path / "p.pt", {"model.0.weight": torch.ones(2)}, **extra))
    assert (found["classes"], found["names"]) == (classes, names)


def test_starting_with_other_classes_leaves_out_the_heads_class_rows_alone(
    file: Path, state: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    model = models.build("yolov5n", 2)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    with caplog.at_level(logging.INFO, "anneal"):
        start_from(model, checkpoint.load_weights(file), str(file))
    kept = {name for name, value in model.state_dict().items() if torch.equal(value, fresh[name])}
    assert all("anchors" in name for name in kept)
    for name in (f"model.24.m.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")):
        same = (model.state_dict()[name] == fresh[name]).view(3, 7, -1).all(2)
        assert same.tolist() == [[False] * 5 + [True] * 2] * 3
    assert "weights: 171 of 177 tensors taken from" in caplog.text


def test_a_detector_of_it_sees_what_ours_does(file: Path, state: dict[str, Tensor]) -> None:
    """The size is found by its entries; the forward pass is that of the same weights rounded to half precision."""
    found = val.load_detector(file)
    assert (found.cfg, found.names) == ("yolov5n", ("red", "green", "blue"))
    ours = models.build("yolov5n", 3).eval()
    ours.load_state_dict({n: v.half().float() if v.is_floating_point() else v for n, v in state.items()})
    images = torch.from_numpy(fill.uniform("input", (1, 3, 64, 96))).float()
    with torch.no_grad():
        torch.testing.assert_close(found(images)[0], ours(images)[0])


def test_another_network_is_said(tmp_path: Path, state: dict[str, Tensor]) -> None:
    deeper = state | {"model.9.cv3.conv.weight": torch.ones(1)}
    path = save_published(tmp_path / "p6.pt", deeper, names=NAMES)
    with pytest.raises(UserError, match="its network is neither one of yolov5n, yolov5s"):
        val.load_detector(path)
    nothing = save_published(tmp_path / "none.pt", {"model.0.weight": torch.ones(7)}, names=NAMES)
    with pytest.raises(UserError, match="0 of 177 tensors fit yolov5n"):
        start_from(models.build("yolov5n", 3), checkpoint.load_weights(nothing), str(nothing))


def test_the_layout_before_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"model": None}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"before torch 1\.6|torch before 1\.6") as error:
        checkpoint.load_weights(path)
    assert "\n" not in str(error.value)
    assert "release v7.0" in str(error.value)


def test_a_published_file_is_no_run(file: Path) -> None:
    with pytest.raises(UserError, match="not a checkpoint of this trainer"):
        checkpoint.load(file)


def test_ours_are_weights_too(tmp_path: Path, state: dict[str, Tensor]) -> None:
    facts = {"classes": 3, "names": ["red", "green", "blue"], "layout": models.build("yolov5n", 3).layout}
    checkpoint.save(tmp_path / "last.pt", facts | {"model": state, "ema": None})
    found = checkpoint.load_weights(tmp_path / "last.pt")
    assert all(torch.equal(found["ema"][name], value) for name, value in state.items())
    assert val.load_detector(tmp_path / "last.pt").cfg == "yolov5n"


def test_a_damaged_one_of_ours_falls_back_but_a_hostile_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "last.pt"
    facts = {"classes": 1, "names": ["a"], "ema": {"w": torch.ones(1000)}}
    checkpoint.save(path, facts | {"step": 1})
    checkpoint.save(path, facts | {"step": 2}, keep_previous=True)
    data = bytearray(path.read_bytes())
    data[data.index(bytes(torch.ones(8).numpy().tobytes()))] ^= 1
    path.write_bytes(data)
    assert checkpoint.load(path)["step"] == 1
    assert checkpoint.load_weights(path)["step"] == 1
    assert "the checksum of" in caplog.text
    assert "last.previous.pt" in caplog.text
    checkpoint.save(path, facts | {"version": 2})
    with pytest.raises(UserError, match="version 2, newer than the 1 this program reads; update the program"):
        checkpoint.load(path)


def test_a_network_of_its_own_description(tmp_path: Path) -> None:
    """Not one of the five sizes, with blocks of earlier versions: the network is that which its file describes."""
    described = {
        "nc": 3,
        "anchors": [[10, 13, 16, 30], [30, 61, 62, 45]],
        "activation": "nn.ReLU()",
        "backbone": [[-1, 1, "Focus", [16, 3]], [-1, 1, "Conv", [16, 3, 2]], [-1, 2, "BottleneckCSP", [16]]],
        "head": [[-1, 1, "Conv", [32, 3, 2]], [-1, 1, "SPP", [32, [3, 5]]], [[2, 4], 1, "Detect", ["nc", "anchors"]]],
    }
    ours = models.build(yolov5_format.translate("own", described), 3).eval()
    state = {name: torch.rand_like(v) if v.is_floating_point() else v for name, v in ours.state_dict().items()}
    scratch = {"model.5.anchor_grid": torch.ones(2, 1, 2, 1, 1, 2)}  # an entry that versions before 6 kept
    path = save_published(
        tmp_path / "p.pt", state | scratch, half=False, names=NAMES, yaml=described, yaml_file="models/own.yaml"
    )
    found = val.load_detector(path)
    assert (found.cfg, found.max_stride, found.stride.tolist()) == ("own", 8, [4, 8])
    ours.load_state_dict(state)
    with torch.no_grad():
        pictures = torch.rand(1, 3, 32, 32)
        assert torch.equal(found(pictures)[0], ours(pictures)[0])
    broken = save_published(tmp_path / "b.pt", state, yaml=described | {"head": [[-1, 1, "C9", []]]}, names=NAMES)
    with pytest.raises(UserError, match=r"nor the one it describes .*unknown block 'C9'"):
        val.load_detector(broken)
