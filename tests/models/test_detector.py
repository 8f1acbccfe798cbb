"""Building, initial values, decoding, transfer, freezing, and what a wrong layout says."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

import models
from utils.errors import UserError


@pytest.mark.parametrize("classes", [1, 3, 80])
def test_initial_biases_give_the_prior(classes: int) -> None:
    """Torch draws biases below 1/sqrt(fan_in) in size; what is left is the prior."""
    head = models.build("yolov5n", classes).head
    for conv, stride in zip(head.m, (8, 16, 32), strict=True):
        bias = conv.bias.detach().view(3, 5 + classes)
        drawn = 1 / math.sqrt(conv.in_channels) + 1e-5
        assert (bias[:, :4].abs() <= drawn).all()
        assert ((bias[:, 4] - math.log(8 / (640 / stride) ** 2)).abs() <= drawn).all()
        assert ((bias[:, 5:] - math.log(0.6 / (classes - 0.99999))).abs() <= drawn).all()


def test_decode_of_zero_logits_on_a_rectangle() -> None:
    """Zero logits put a box at its cell's centre with its anchor's size; rows before columns."""
    head = models.build("yolov5n", 2).head
    heads = [torch.zeros(1, 3, 96 // s, 160 // s, 7) for s in (8, 16, 32)]
    boxes = head.decode(heads)[0, :, :4]
    assert boxes.shape == (3 * (12 * 20 + 6 * 10 + 3 * 5), 4)
    assert boxes[1].tolist() == [12, 4, 10, 13]
    assert boxes[20].tolist() == [4, 12, 10, 13]
    assert boxes[240].tolist() == [4, 4, 16, 30]
    assert boxes[-1].tolist() == [144, 80, 373, 326]


def test_half_precision_decodes_in_float32() -> None:
    head = models.build("yolov5n", 2).half().head
    heads = [torch.zeros(1, 3, 640 // s, 640 // s, 7, dtype=torch.float16) for s in (8, 16, 32)]
    decoded = head.decode(heads)
    assert decoded.dtype == torch.float32
    assert decoded[0, 79, 0] == 636


def test_attributes_and_a_given_number_of_channels() -> None:
    model = models.build("yolov5n", 3, channels=1)
    assert (model.cfg, model.classes, model.names) == ("yolov5n", 3, ("class0", "class1", "class2"))
    assert model.stride.tolist() == [8, 16, 32]
    assert [tuple(h.shape) for h in model(torch.zeros(2, 1, 64, 32))] == [
        (2, 3, 8, 4, 8),
        (2, 3, 4, 2, 8),
        (2, 3, 2, 1, 8),
    ]


def test_given_anchors_and_set_anchors() -> None:
    rows = [[4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15], [16, 17, 18, 19, 20, 21]]
    head = models.build("yolov5n", 3, anchors=rows).head
    pixels = torch.tensor(rows, dtype=torch.float32).view(3, 3, 2)
    torch.testing.assert_close(head.anchors * head.stride.view(3, 1, 1), pixels)
    head.set_anchors(pixels * 2)
    torch.testing.assert_close(head.anchors * head.stride.view(3, 1, 1), pixels * 2)


def test_building_leaves_no_trace_in_the_copy() -> None:
    model = models.build("yolov5n", 3)
    twin = copy.deepcopy(model)
    twin.head.set_anchors(torch.ones(3, 3, 2))
    assert not torch.equal(twin.head.anchors, model.head.anchors)


def test_transfer_takes_what_fits() -> None:
    source, model = models.build("yolov5n", 80), models.build("yolov5n", 3)
    before = model.head.m[0].weight.clone()
    taken, total = models.transfer(model, {**source.state_dict(), "unknown": torch.zeros(1)})
    assert total == len(list(model.parameters()))
    assert taken == total - 6  # the head's three weights and three biases
    assert torch.equal(model.model[0].conv.weight, source.model[0].conv.weight)
    assert torch.equal(model.head.m[0].weight, before)
    assert models.transfer(model, {}) == (0, total)


def test_counters_and_anchors_alone_are_not_taken() -> None:
    """They fit between any two sizes, whose weights do not."""
    source, model = models.build("yolov5n", 3), models.build("yolov5s", 3)
    source.head.set_anchors(source.head.anchors * 7)
    before = model.head.anchors.clone()
    moved, total = models.transfer(model, source.state_dict())
    assert moved < total / 10
    assert torch.equal(model.head.anchors, before)


def test_freeze() -> None:
    model = models.build("yolov5n", 3)
    frozen = models.freeze(model, [10])
    assert frozen == sum(p.numel() for layer in model.model[:10] for p in layer.parameters())
    assert all(p.requires_grad for layer in model.model[10:] for p in layer.parameters())
    assert models.freeze(models.build("yolov5n", 3), [0]) == 0
    pair = models.build("yolov5n", 3)
    models.freeze(pair, [0, 2])
    assert [i for i, layer in enumerate(pair.model) if any(not p.requires_grad for p in layer.parameters())] == [0, 2]
    with pytest.raises(UserError, match="layers 0 to 24"):
        models.freeze(pair, [3, 25])


def test_describe() -> None:
    assert models.describe(models.build("yolov5n", 80), 640) == (
        "yolov5n: 25 layers, 1,872,157 parameters, 4.5 GFLOPs at 640 px"
    )


def layout(folder: Path, layers: str, size: str = "layout: mine\ndepth: 1\nwidth: 1\n") -> Path:
    anchors = "[[1, 2], [3, 4], [5, 6]]"
    (folder / "mine.yaml").write_text(f"layers:\n{layers}\ndetect: {{from: [a, b, c], anchors: {anchors}}}\n")
    (folder / "size.yaml").write_text(size)
    return folder / "size.yaml"


SMALL = """
  - {block: Conv, channels: 8, stride: 8, name: a}
  - {block: Conv, channels: 8, stride: 2, name: b}
  - {block: Conv, channels: 8, stride: 2, name: c}
"""


def test_a_layout_of_ones_own(tmp_path: Path) -> None:
    model = models.build(layout(tmp_path, SMALL), 2).eval()
    decoded, heads = model(torch.zeros(1, 3, 32, 32))
    assert decoded.shape == (1, 16 + 4 + 1, 7)
    assert model.cfg == "size"
    assert len(heads) == 3


@pytest.mark.parametrize(
    ("layers", "size", "message"),
    [
        (
            SMALL.replace("stride: 8", "strid: 8"),
            None,
            r"mine.yaml, layer 0: unknown key 'strid'; did you mean 'stride'",
        ),
        (SMALL.replace("Conv", "Conf", 1), None, "layer 0: unknown block 'Conf'; did you mean 'Conv'"),
        (SMALL.replace("channels: 8, ", "", 1), None, "layer 0: key 'channels' is missing"),
        (
            SMALL.replace("channels: 8", "channels: 2**3", 1),
            None,
            "layer 0: channels is '2\\*\\*3'; give a whole number",
        ),
        (SMALL.replace("channels: 8", "channels: true", 1), None, "layer 0: channels is True; give a whole number"),
        (SMALL.replace("channels: 8", "channels: 0", 1), None, "layer 0: channels is 0; give a whole number over 0"),
        (SMALL + "  - {block: Concat, from: [a, d]}", None, "layer 3: 'from' names no earlier layer 'd'"),
        (SMALL + "  - {block: Concat, from: [a, b]}", None, "layer 3: reads maps of strides"),
        (SMALL.replace("name: c", "name: z"), None, "detect: 'from' names no earlier layer 'c'"),
        ("  - {block: [", None, r"mine.yaml:\d: .*; correct that line"),
        (SMALL, "layout: mine\ndepth: 1\n", "size.yaml: key 'width' is missing"),
        (SMALL, "layout: mine\ndepth: 1\nwidth: wide\n", "size.yaml: width is 'wide'; give a number over 0"),
        (SMALL, "layout: mines\ndepth: 1\nwidth: 1\n", "size.yaml: no layout 'mines'"),
        (SMALL, "- 1", "size.yaml: holds a list, not 'key: value' lines"),
    ],
)
def test_a_wrong_layout_is_one_line(tmp_path: Path, layers: str, size: str | None, message: str) -> None:
    file = layout(tmp_path, layers, size) if size else layout(tmp_path, layers)
    with pytest.raises(UserError, match=message) as error:
        models.build(file, 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("anchors", [[[1, 2]], [[1, 2], [3, 4], [5]], [[1, 2], [3, 4], [5, 0]], "abc", 3])
def test_wrong_anchors(anchors: object) -> None:
    with pytest.raises(UserError, match="anchor"):
        models.build("yolov5n", 2, anchors=anchors)


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'yolov5n'"):
        models.build("yolo5n", 2)
    with pytest.raises(UserError, match="at least one class"):
        models.build("yolov5n", 0)


def test_freezing_more_layers_than_there_are() -> None:
    model = models.build("yolov5n", 2)
    with pytest.raises(UserError, match=r"--freeze 100: yolov5n has layers 0 to 24, .* give fewer than 25"):
        models.freeze(model, [100])
    with pytest.raises(UserError, match="--freeze 100: yolov5n has layers 0 to 24"):
        models.freeze(model, [1, 100])
