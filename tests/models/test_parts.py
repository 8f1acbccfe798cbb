"""Parts of a network by name, number and pattern."""

from __future__ import annotations

import pytest

import models
from models.parts import frozen_names, layers_of, matching
from utils.errors import UserError

NETWORK = models.build("yolov5n", 3)
NAMES = [name for name, _ in NETWORK.named_parameters()]


def layers(names: list[str]) -> set[int]:
    return {int(name.split(".")[1]) for name in names}


def test_backbone_neck_and_head_are_the_whole_network() -> None:
    parts = [layers_of(NETWORK, name) for name in ("backbone", "neck", "head")]
    assert [(part.start, part.stop) for part in parts] == [(0, 10), (10, 24), (24, 25)]
    found = [matching(NETWORK, name, "--freeze") for name in ("backbone", "neck", "head")]
    assert sorted(name for part in found for name in part) == sorted(NAMES)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("2", [n for n in NAMES if n.startswith("model.2.")]),
        ("model.2", [n for n in NAMES if n.startswith("model.2.")]),
        ("model.2.*", [n for n in NAMES if n.startswith("model.2.")]),
        ("*.bn.weight", [n for n in NAMES if n.endswith("bn.weight")]),
        ("model.24.m.[01].bias", ["model.24.m.0.bias", "model.24.m.1.bias"]),
    ],
)
def test_numbers_beginnings_and_patterns(word: str, expected: list[str]) -> None:
    assert matching(NETWORK, word, "--freeze") == expected
    assert expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["10"], set(range(10))),
        (["0"], set()),
        (["backbone"], set(range(10))),
        (["0", "2"], {0, 2}),
        (["2", "head"], {0, 1, 24}),
        (["backbone", "neck"], set(range(24))),
    ],
)
def test_what_freeze_means(words: list[str], expected: set[int]) -> None:
    with_weights = layers(NAMES)
    assert layers(frozen_names(NETWORK, words)) == expected & with_weights


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("99", "--freeze 99: yolov5n has layers 0 to 24; choose among them"),
        ("bakbone", "--freeze bakbone: no parameter of yolov5n is called that; give backbone, neck, head, a layer"),
        ("model.99.*", "no parameter of yolov5n is called that"),
    ],
)
def test_what_is_not_there_is_refused(word: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        matching(NETWORK, word, "--freeze")
    assert told in str(error.value)


def test_a_frozen_batch_norm_keeps_its_statistics_in_training() -> None:
    network = models.build("yolov5n", 3)
    models.freeze(network, ["backbone", "model.13"])
    for mode in (True, False, True):
        network.train(mode)
        for name, module in network.named_modules():
            parameters = list(module.parameters())
            if name.endswith(".bn"):
                assert module.training == (mode and parameters[0].requires_grad)
    network.requires_grad_(True).train()
    assert all(module.training for module in network.modules())
