"""The running mean of a model: its formula, its buffers, its state."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import nn

from utils.ema import ModelEMA


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.tied = nn.Conv2d(3, 4, 3)
        self.tied.weight = self.conv.weight
        self.register_buffer("count", torch.tensor([1, 2]))

    def forward(self, x):
        return self.norm(self.conv(x)) + self.tied(x)


def drift(model, seed):
    """Change every weight and buffer, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value += torch.randn(value.shape, generator=generator)
            else:
                value += 1


def test_weights_and_float_buffers_follow_the_formula_and_integers_are_copied():
    model = Small()
    ema = ModelEMA(model)
    expected = {k: v.double() for k, v in copy.deepcopy(model.state_dict()).items()}
    for k in range(1, 21):
        drift(model, k)
        ema.update(model)
        d = 0.9999 * (1 - math.exp(-k / 2000))
        for name, value in model.state_dict().items():
            mixed = d * expected[name] + (1 - d) * value.double()
            expected[name] = mixed if value.is_floating_point() else value.double()
    for name, value in ema.model.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert ema.updates == 20
    assert ema.model.norm.num_batches_tracked == model.norm.num_batches_tracked == 20


def test_the_first_update_all_but_forgets_the_initial_weights():
    model = nn.Linear(2, 2)
    ema = ModelEMA(model)
    with torch.no_grad():
        model.weight.fill_(5.0)
    ema.update(model)
    assert (ema.model.weight - 5).abs().max() < 0.01


def test_late_updates_average_over_ten_thousand_steps():
    model = nn.Linear(1, 1, bias=False)
    ema = ModelEMA(model)
    ema.updates = 10**6
    with torch.no_grad():
        ema.model.weight.zero_()
        model.weight.fill_(1.0)
    ema.update(model)
    assert ema.model.weight.item() == pytest.approx(1e-4, rel=1e-4)


def test_it_is_an_eval_copy_without_gradients_and_leaves_the_model_alone():
    model = Small().train()
    before = copy.deepcopy(model.state_dict())
    ema = ModelEMA(model)
    assert not ema.model.training
    assert model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert all(p.requires_grad for p in model.parameters())
    drift(ema.model, 0)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    ema.update(model)
    assert ema.model.tied.weight is ema.model.conv.weight


def test_state_goes_round_to_the_bit():
    model = Small()
    ema = ModelEMA(model)
    for k in range(3):
        drift(model, k)
        ema.update(model)
    file = io.BytesIO()
    torch.save(ema.state_dict(), file)
    file.seek(0)
    resumed = ModelEMA(Small())
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for each in (ema, resumed):
        each.update(model)
    assert resumed.updates == ema.updates == 4
    theirs = resumed.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in ema.model.state_dict().items())


def test_another_structure_is_refused():
    with pytest.raises(KeyError):
        ModelEMA(Small()).update(nn.Linear(1, 1))
