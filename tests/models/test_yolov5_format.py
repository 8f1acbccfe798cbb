"""Layouts in YOLOv5's own format: the published one equals ours, every block that is known, and what is not."""

from __future__ import annotations

import copy
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models import layout, yolov5_format
from utils.errors import UserError

ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
NANO: dict[str, Any] = {
    "nc": 80,
    "depth_multiple": 0.33,
    "width_multiple": 0.25,
    "anchors": ANCHORS,
    "backbone": [
        [-1, 1, "Conv", [64, 6, 2, 2]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 3, "C3", [128]],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, 6, "C3", [256]],
        [-1, 1, "Conv", [512, 3, 2]],
        [-1, 9, "C3", [512]],
        [-1, 1, "Conv", [1024, 3, 2]],
        [-1, 3, "C3", [1024]],
        [-1, 1, "SPPF", [1024, 5]],
    ],
    "head": [
        [-1, 1, "Conv", [512, 1, 1]],
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 6], 1, "Concat", [1]],
        [-1, 3, "C3", [512, False]],
        [-1, 1, "Conv", [256, 1, 1]],
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 4], 1, "Concat", [1]],
        [-1, 3, "C3", [256, False]],
        [-1, 1, "Conv", [256, 3, 2]],
        [[-1, 14], 1, "Concat", [1]],
        [-1, 3, "C3", [512, False]],
        [-1, 1, "Conv", [512, 3, 2]],
        [[-1, -12], 1, "Concat", [1]],
        [-1, 3, "C3", [1024, False]],
        [[17, 20, 23], 1, "Detect", ["nc", "anchors"]],
    ],
}


def small(*rows: list, **keys: Any) -> dict[str, Any]:
    """Two strided convolutions, `rows`, and a head on the last of them."""
    backbone = [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [16, 3, 2]], *rows]
    head = [[[len(backbone) - 1], 1, "Detect", ["nc", "anchors"]]]
    return {"nc": 2, "anchors": [[10, 13, 16, 30]], "backbone": backbone, "head": head, **keys}


def build(content: dict[str, Any], classes: int = 2) -> models.Detector:
    return models.build(yolov5_format.translate("mine", content), classes)


@pytest.mark.parametrize("size", ["yolov5n", "yolov5s", "yolov5m", "yolov5l", "yolov5x"])
def test_the_published_layout_is_ours(tmp_path: Path, size: str) -> None:
    """Same names in the same order, same shapes, and the same outputs with the same weights."""
    own = layout.read(size)
    content = NANO | {"depth_multiple": own["depth"], "width_multiple": own["width"]}
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(content))
    with torch.device("meta" if size != "yolov5n" else "cpu"):
        theirs, ours = models.build(str(tmp_path / "theirs.yaml"), 3).eval(), models.build(size, 3).eval()
    entries = {name: value.shape for name, value in ours.state_dict().items()}
    assert list(entries.items()) == [(name, value.shape) for name, value in theirs.state_dict().items()]
    assert (theirs.cfg, theirs.max_stride, theirs.stride.shape) == ("theirs", 32, ours.stride.shape)
    if size == "yolov5n":
        theirs.load_state_dict(ours.state_dict())
        with torch.no_grad():
            pictures = torch.rand(2, 3, 64, 96)
            assert torch.equal(theirs(pictures)[0], ours(pictures)[0])


# block, its arguments, side of the map from 16, and entries of the state dict that the published block of that name has
KNOWN = [
    ("Conv", [24, 3, 2, None, 8, 1, False], 8, ["conv.weight", "bn.running_var"]),
    ("DWConv", [32, 3, 1], 16, ["conv.weight"]),
    ("Focus", [24, 3], 8, ["conv.conv.weight"]),
    ("Bottleneck", [16], 16, ["cv1.conv.weight", "cv2.bn.bias"]),
    ("BottleneckCSP", [24, False], 16, ["cv2.weight", "cv3.weight", "cv4.conv.weight", "bn.bias", "m.0.cv1.bn.weight"]),
    ("C3", [24, True, 1, 0.25], 16, ["cv3.conv.weight", "m.0.cv2.conv.weight"]),
    ("C3TR", [32], 16, ["m.linear.bias", "m.tr.0.q.weight", "m.tr.0.ma.in_proj_weight", "m.tr.0.fc2.weight"]),
    ("C3x", [24], 16, ["m.0.cv1.conv.weight"]),
    ("C3Ghost", [24], 16, ["m.0.conv.0.cv1.conv.weight", "m.0.conv.2.cv2.bn.bias"]),
    ("CrossConv", [16, 3, 1, 1, 1.0, True], 16, ["cv1.conv.weight", "cv2.conv.weight"]),
    ("GhostConv", [24, 3, 2], 8, ["cv1.conv.weight", "cv2.conv.weight"]),
    ("GhostBottleneck", [24, 3, 2], 8, ["conv.1.conv.weight", "shortcut.0.conv.weight", "shortcut.1.bn.bias"]),
    ("SPP", [24, [5, 9, 13]], 16, ["cv1.conv.weight", "cv2.conv.weight"]),
    ("SPPF", [24, 5], 16, ["cv1.conv.weight"]),
    ("nn.MaxPool2d", [2, 2, 0], 8, []),
    ("nn.ConvTranspose2d", [24, 2, 2], 32, ["weight", "bias"]),
    ("nn.Upsample", [None, 2, "nearest"], 32, []),
    ("nn.Identity", [], 16, []),
]


@pytest.mark.parametrize(("block", "arguments", "side", "entries"), KNOWN, ids=[known[0] for known in KNOWN])
def test_every_known_block(block: str, arguments: list, side: int, entries: list[str]) -> None:
    """It is built, shrinks its map as it says, gives a gradient, and its entries are named as published ones are."""
    model = build(small([-1, 1, block, arguments]))
    heads = model(torch.rand(2, 3, 64, 64))
    assert [tuple(head.shape) for head in heads] == [(2, 2, side, side, 7)]
    assert model.stride.tolist() == [64 / side]
    heads[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    names = model.state_dict().keys()
    assert not [entry for entry in entries if f"model.2.{entry}" not in names]


def test_all_blocks_of_the_list_are_tried() -> None:
    untried = set(yolov5_format.ARGUMENTS) - {known[0] for known in KNOWN} - {"Concat", "nn.ZeroPad2d"}
    assert not untried


def test_focus_takes_every_second_pixel() -> None:
    """In the published order: even rows and columns, odd rows, odd columns, both odd."""
    focus = build(small([-1, 1, "Focus", [8, 1]])).model[2]
    focus.conv = torch.nn.Identity()
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert focus(x)[0, :, 0, 0].tolist() == [0, 4, 1, 5]


def test_blocks_in_a_row_and_padding_by_hand() -> None:
    """A number over 1 repeats what is no CSP block, as published: `model.2.0`, `model.2.1`; the depth scales it."""
    model = build(small([-1, 4, "Bottleneck", [16]], depth_multiple=0.5))
    assert {name.split(".")[2] for name in model.state_dict() if name.startswith("model.2.")} == {"0", "1"}
    padded = build(small([-1, 1, "nn.ZeroPad2d", [[0, 1, 0, 1]]], [-1, 1, "nn.MaxPool2d", [2, 1, 0]]))
    assert padded(torch.rand(1, 3, 64, 64))[0].shape[2:4] == (16, 16)


@given(st.integers(1, 5), st.integers(1, 4), st.booleans(), st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=15, deadline=None)
def test_strides_follow_the_layers(levels: int, count: int, up: bool, width: float) -> None:
    """P2 to P6: a head on the last maps of any pyramid has the strides a forward pass shows."""
    backbone = [[-1, 1, "Conv", [32, 3, 2]] for _ in range(levels + 1)]
    chosen = list(range(max(0, levels + 1 - count), levels + 1))
    head: list = [[-1, 1, "nn.Upsample", [None, 2, "nearest"]]] if up else []
    chosen += [levels + 1] if up else []
    chosen = chosen[-5:]
    detect = [chosen, 1, "Detect", ["nc", "anchors"]]
    model = build({"width_multiple": width, "anchors": 3, "backbone": backbone, "head": [*head, detect]})
    side = 2 * model.max_stride
    sides = [logits.shape[2] for logits in model(torch.rand(2, 3, side, side))]
    assert [side / s for s in sides] == model.stride.tolist()
    assert model.max_stride == 2 ** (levels + 1)
    assert torch.equal((model.head.anchors[:, 0] * model.stride[:, None])[:, 0], 2 * model.stride)


def test_anchors_go_with_the_maps() -> None:
    """From coarse to fine, with anchors from small to large: turned round. In Detect's own arguments: those count."""
    rows = copy.deepcopy(NANO)
    rows["head"][-1] = [[23, 20, 17], 1, "Detect", ["nc", "anchors"]]
    head = build(rows).head
    assert head.stride.tolist() == [32, 16, 8]
    assert (head.anchors * head.stride.view(-1, 1, 1)).reshape(3, 6).tolist() == ANCHORS[::-1]
    rows["head"][-1] = [[17, 20, 23], 1, "Detect", ["nc", [[1, 2], [3, 4], [5, 6]]]]
    assert build(rows).head.anchors.shape == (3, 1, 2)


@pytest.mark.parametrize(
    ("text", "kind"), [("nn.LeakyReLU(0.1)", "LeakyReLU"), ("nn.ReLU()", "ReLU"), ("torch.nn.Mish()", "Mish")]
)
def test_another_activation(text: str, kind: str) -> None:
    model = build(small([-1, 1, "C3", [16]], [-1, 1, "Conv", [16, 1, 1, None, 1, 1, False]], activation=text))
    acts = [type(m.act).__name__ for m in model.modules() if hasattr(m, "bn") and hasattr(m, "conv")]
    assert acts == [kind] * 7 + ["Identity"]
    if kind == "LeakyReLU":
        assert math.isclose(model.model[0].act.negative_slope, 0.1)


WRONG = [
    (small([-1, 1, "C2f", [16]]), r"layer 2: unknown block 'C2f'; known: Conv, .*C3TR.*, Detect"),
    (small([-1, 1, "C3"]), "layer 2: is .*; give"),
    (small([5, 1, "C3", [16]]), "layer 2: reads from layer 5; give an earlier one"),
    (small([-9, 1, "C3", [16]]), "layer 2: reads from layer -9"),
    (small([-1, 0, "C3", [16]]), "layer 2: its number is 0"),
    (small([-1, 1, "C3", ["wide"]]), "layer 2: channels is 'wide'; give a whole number"),
    (small([-1, 1, "C3", [16, False, 1, 0.5, 7]]), "layer 2: C3 has 5 arguments"),
    (small([-1, 1, "C3", []]), "layer 2: key 'channels' is missing"),
    (small([-1, 1, "Conv", [16, 3, 1, 1, 5]]), "layer 2: no such Conv can be made"),
    (small([-1, 1, "C3TR", [8, True, 1, 0.25]]), "layer 2: no such C3TR can be made .*4 heads"),
    (small([-1, 1, "nn.Upsample", [None, 2, "bilinear"]]), "layer 2: nn.Upsample with mode 'bilinear'"),
    (small([-1, 1, "Conv", [99999]]), "layer 2: asks for over"),
    (small([[-1, 0], 1, "Concat", [1]]), "layer 2: reads maps of strides"),
    (small(depth=1), "unknown key 'depth'; did you mean 'depth_multiple'"),
    (small(ch=1), "ch is 1"),
    (small(width_multiple=0), "width is 0"),
    (small(anchors="some"), "anchors are 'some'"),
    (small(anchors=[[1, 2], [3, 4]]), "anchors must be 1 lists"),
    (small(activation="exec('1')"), "unknown activation"),
    (small(backbone="C3"), "'backbone' is no list"),
    ({"backbone": []}, "hold no layers"),
    (small() | {"head": [[-1, 1, "C3", [16]]]}, "the last layer is C3, where a detector has Detect"),
    (small() | {"head": [[[1], 1, "Detect", ["nc", "anchors"]]] * 2}, "layer 2: Detect is not the last layer"),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_not_known_is_one_line(content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(content)
    assert str(error.value).count("\n") == 0
    assert "mine.yaml" in str(error.value)


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 99) | st.text(max_size=5) | st.floats(), st.lists))
@settings(max_examples=100, deadline=None)
def test_whatever_a_row_holds_is_read_or_an_error(row: Any) -> None:
    """A description may come with anybody's checkpoint."""
    for content in (small(row), small([-1, 1, "C3", row]), small(anchors=row), small(activation=row), {"head": row}):
        with suppress(UserError):
            build(content)
