"""The three groups: what goes where, on the real models and on modules with odd names."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from torch import nn

import models
import optimizers


def names_by_group(model):
    names = {id(p): name for name, p in model.named_parameters()}
    return {g["name"]: [names[id(p)] for p in g["params"]] for g in optimizers.parameter_groups(model)}


@pytest.mark.parametrize("size", "nsmlx")
def test_every_parameter_of_a_detector_is_in_exactly_one_group(size):
    with torch.device("meta"):
        model = models.build(f"yolov5{size}", classes=80)
    groups = names_by_group(model)
    assert list(groups) == ["norm", "weight", "bias"]
    assert sorted(chain(*groups.values())) == sorted(name for name, _ in model.named_parameters())
    assert all(name.endswith("bn.weight") for name in groups["norm"])
    assert all(name.endswith(".bias") for name in groups["bias"])
    assert all(name.endswith(".weight") and ".bn." not in name for name in groups["weight"])
    assert len(groups["bias"]) == len(groups["norm"]) + 3  # the head's three convolutions have biases and no norm


class RootMeanSquareNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)])
        self.own = RootMeanSquareNorm()
        self.embedding = nn.Embedding(5, 4)
        self.tied = nn.Linear(4, 5, bias=False)
        self.tied.weight = self.embedding.weight
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.recurrent = nn.GRU(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.half_frozen = nn.BatchNorm2d(4)
        self.half_frozen.weight.requires_grad_(False)
        self.temperature = nn.Parameter(torch.zeros(()))
        self.gamma = nn.Parameter(torch.zeros(4))
        self.grid = nn.Parameter(torch.zeros(1, 2, 2))


def test_odd_modules():
    groups = names_by_group(Odd())
    assert groups["norm"] == ["norms.0.weight", "norms.1.weight", "norms.2.weight", "own.weight"]
    assert groups["weight"] == [
        "grid",
        "embedding.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "recurrent.weight_ih_l0",
        "recurrent.weight_hh_l0",
    ]
    assert {"temperature", "gamma", "half_frozen.bias", "attention.bias_k", "recurrent.bias_hh_l0"} < set(
        groups["bias"]
    )
    everything = list(chain(*groups.values()))
    assert len(everything) == len(set(everything))
    assert not any(name.startswith("frozen") or name == "half_frozen.weight" for name in everything)


def test_a_shared_module_counts_once():
    block = nn.Linear(3, 3)
    groups = optimizers.parameter_groups(nn.Sequential(block, nn.ReLU(), block))
    assert [len(g["params"]) for g in groups] == [0, 1, 1]


def test_a_parameter_that_no_module_owns_up_to_is_an_error():
    class Hidden(nn.Linear):
        def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
            if recurse:
                yield from super().named_parameters(prefix, recurse, remove_duplicate)

    with pytest.raises(RuntimeError, match=r"parameters in no group: weight, bias"):
        optimizers.parameter_groups(Hidden(2, 2))


@pytest.mark.parametrize("name", optimizers.names())
def test_only_the_weights_decay_and_every_group_knows_its_base_rate(name):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    facts = optimizers.facts(name)
    for given, expected in ((None, facts["weight_decay"]), (0.0, 0.0), (0.03, 0.03)):
        built = optimizers.build(name, optimizers.parameter_groups(model), weight_decay=given)
        assert [g["weight_decay"] for g in built.param_groups] == [0.0, expected, 0.0]
    built = optimizers.build(name, optimizers.parameter_groups(model, 0.7), lr=0.02)
    assert [g["weight_decay"] for g in built.param_groups] == [0.0, 0.7, 0.0]
    assert [(g["lr"], g["initial_lr"]) for g in built.param_groups] == [(0.02, 0.02)] * 3


def test_the_lines_a_run_prints():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    lines = optimizers.describe_groups(optimizers.build("sgdw", optimizers.parameter_groups(model), 0.01, 0.9, 0.0005))
    assert [line.split() for line in lines] == [
        ["norm", "1", "tensors", "4", "values", "lr", "0.01", "weight_decay", "0"],
        ["weight", "1", "tensors", "108", "values", "lr", "0.01", "weight_decay", "0.0005"],
        ["bias", "2", "tensors", "8", "values", "lr", "0.01", "weight_decay", "0"],
    ]
