"""Blocks of the network that compute what torch computes in another way."""

from __future__ import annotations

import pytest
import torch

from models.blocks import concat


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_concat_is_cat_with_gradients_of_their_own(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, c, 4, 6, dtype=torch.float64).contiguous(memory_format=layout) for c in (3, 1, 5)]
    weight = torch.randn(2, 9, 4, 6, dtype=torch.float64).contiguous(memory_format=layout)
    grads = []
    for stack in (concat, lambda leaves: torch.cat(leaves, 1)):
        leaves = [x.clone(memory_format=torch.preserve_format).requires_grad_() for x in maps]
        stacked = stack(leaves)
        assert torch.equal(stacked, torch.cat(maps, 1))
        grads.append(torch.autograd.grad((stacked * weight).sum(), leaves))
    for ours, torchs in zip(*grads, strict=True):
        assert torch.equal(ours, torchs)
        assert ours.is_contiguous(memory_format=layout)


def test_concat_passes_gradcheck() -> None:
    maps = [torch.randn(1, c, 2, 2, dtype=torch.float64, requires_grad=True) for c in (2, 3)]
    assert torch.autograd.gradcheck(lambda *leaves: concat(leaves), maps)
