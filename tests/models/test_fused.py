"""Networks made ready for detection: the same boxes, from fewer passes over the numbers."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import models
from models.fused import FusedDetect, fuse
from tests.network import lively
from utils.nms import non_max_suppression

NAMES = ("cat", "dog", "bird")


@pytest.fixture
def network(narrow: Path) -> models.Detector:
    """Narrow, with BatchNorm statistics and scales of all sorts."""
    found = lively(narrow, NAMES).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in found.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.2, 3, generator=generator)
                module.weight.uniform_(-1.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_decoding_in_place_gives_the_same_bits(network: models.Detector, dtype, layout) -> None:
    network.head.to(dtype)
    shapes = [(2, conv.in_channels, 24 >> i, 40 >> i) for i, conv in enumerate(network.head.m)]
    maps = [torch.randn(shape).to(dtype).contiguous(memory_format=layout) for shape in shapes]
    with torch.inference_mode():
        heads = network.head(maps)
        expected = network.head.decode(heads)
        fused = FusedDetect(network.head)
        others = fused(maps)
        assert all(torch.equal(a, b) for a, b in zip(heads, others, strict=True))
        assert torch.equal(fused.decode(others), expected)
        assert torch.equal(fused.decode(heads), expected)


@torch.inference_mode()
def test_without_batchnorm_it_finds_the_same_to_rounding(network: models.Detector) -> None:
    """Against the network itself in float64, of which both are as far."""
    images = torch.rand(2, 3, 64, 96)
    exact = copy.deepcopy(network).double()(images.double())[0]
    before = (network(images)[0] - exact).abs().amax((0, 1))
    fused = fuse(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    after = (fused(images)[0] - exact).abs().amax((0, 1))
    assert (after <= 4 * before + 1e-6).all()
    assert torch.equal(fused.stride, network.stride)
    assert fused.max_stride == network.max_stride


@torch.inference_mode()
def test_members_of_an_ensemble_too(network: models.Detector) -> None:
    both = models.load.Ensemble([network, copy.deepcopy(network)])
    images = torch.rand(1, 3, 64, 64)
    expected = both(images)[0]
    assert torch.allclose(fuse(both)(images)[0], expected, rtol=1e-3, atol=1e-3)
    assert all(isinstance(member.head, FusedDetect) for member in both.members)


def test_fusing_twice_changes_nothing_more(network: models.Detector) -> None:
    once = {name: value.clone() for name, value in fuse(network).state_dict().items()}
    twice = fuse(network).state_dict()
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("conf", [0.0, 0.01, 0.3, 0.9, 1.0])
@torch.inference_mode()
def test_boxes_that_nms_drops_need_not_be_computed(network: models.Detector, conf: float, layout) -> None:
    """Of three pictures, one of which may have none: the same rows in the same order, to rounding."""
    shapes = [(3, conv.in_channels, 8 >> i, 12 >> i) for i, conv in enumerate(network.head.m)]
    maps = [torch.randn(shape).contiguous(memory_format=layout) for shape in shapes]
    for each in maps:
        each[0] = 0
    expected = non_max_suppression(network.head.decode(network.head(maps)), conf)
    head = FusedDetect(network.head)
    head.conf = conf
    decoded = head.decode(head(maps))
    found = non_max_suppression(decoded, conf)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)
    assert decoded.shape[1] == max(int((each > 0).any(1).sum()) for each in decoded)


@torch.inference_mode()
def test_likely_boxes_are_computed_alike_few_or_many(network: models.Detector) -> None:
    """The boxes of a threshold that few pass are among those of one that nearly all pass, to rounding."""
    maps = [torch.randn(1, conv.in_channels, 8 >> i, 8 >> i) for i, conv in enumerate(network.head.m)]
    head = FusedDetect(network.head)
    everything = network.head.decode(network.head(maps))[0]
    for share in (0.02, 0.2, 0.4, 0.95):
        head.conf = everything[:, 4].quantile(1 - share).item() / 0.999
        chosen = everything[everything[:, 4] > 0.999 * head.conf]
        torch.testing.assert_close(head.decode(head(maps))[0], chosen, rtol=1e-5, atol=1e-4)
