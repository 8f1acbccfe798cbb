"""The rules beyond the first four: against plain transcriptions over 200 steps of a changing schedule; their state."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

import models
import optimizers
from optimizers.lamb import Lamb
from optimizers.lion import Lion
from optimizers.muon import Muon
from optimizers.nadamw import NAdamW
from optimizers.schedulefree import ScheduleFree
from tests.optimizers.formats import trained_in
from tests.optimizers.plain_rules import PAIRS
from tests.optimizers.reference import SHAPES, gradients, largest_gap, sgdr, start, write
from utils.errors import UserError

RULES = [pytest.param(*[p.values[i] for i in (0, 2)], id=p.id) for p in PAIRS]


@pytest.mark.parametrize("decay", [0.0, 0.0005, 0.3])
@pytest.mark.parametrize(("rule", "plain", "options"), PAIRS)
def test_a_rule_is_its_plain_transcription(rule, plain, options, decay):
    def ours(params):
        return rule(params, 0.01, weight_decay=decay, **options)

    shapes = (*SHAPES, (4, 3, 3, 3), (12, 2, 2, 1), (4, 3, 3, 3))  # convolutions, two of one shape
    gap = largest_gap(ours, lambda p: plain(p, decay, **options), torch.float64, 0.01, shapes=shapes)
    assert gap < 1e-12


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_nadamw_is_torchs(decay):
    def theirs(params):
        torch.set_default_dtype(torch.float64)  # in which torch then keeps its product of momenta
        return torch.optim.NAdam(params, 0.01, weight_decay=decay, decoupled_weight_decay=True)

    try:
        gap = largest_gap(lambda p: NAdamW(p, 0.01, weight_decay=decay), theirs, torch.float64, 0.01)
    finally:
        torch.set_default_dtype(torch.float32)
    assert gap < 1e-12


def test_the_first_step_of_lion_by_hand():
    weight = torch.tensor([2.0, -1.0, 0.5], requires_grad=True)
    weight.grad = torch.tensor([0.3, -4.0, 0.0])
    rule = Lion([weight], 0.1, (0.9, 0.99), weight_decay=0.5)
    rule.step()
    # x - 0.1 (sign(g) + 0.5 x); m = 0.01 g
    torch.testing.assert_close(weight.detach(), torch.tensor([1.8, -0.85, 0.475]))
    torch.testing.assert_close(rule.state[weight]["exp_avg"], torch.tensor([0.003, -0.04, 0.0]))


def test_lamb_moves_a_layer_by_the_rates_share_of_its_length_and_a_zero_layer_at_all():
    layer, bias, empty = (torch.full(shape, 2.0, requires_grad=True) for shape in ((4, 5), (3,), (2, 2)))
    empty.data.zero_()
    for p in (layer, bias, empty):
        p.grad = torch.full_like(p, 3.0)
    before = [p.detach().clone() for p in (layer, bias, empty)]
    Lamb([layer, bias, empty], 0.01).step()
    moved = [(p.detach() - b).norm().item() for p, b in zip((layer, bias, empty), before, strict=True)]
    assert moved[0] == pytest.approx(0.01 * before[0].norm().item(), rel=1e-5)
    assert moved[1] == pytest.approx(0.01 * 3**0.5, rel=1e-5)  # Adam's first step: the rate for each value
    assert moved[2] == pytest.approx(0.01 * 2, rel=1e-5)


def advance(optimizer, params, steps):
    for step in steps:
        write(optimizer, *sgdr(0.05, 30)(step))
        for p, g in zip(params, gradients(params, step), strict=True):
            p.grad = g
        optimizer.step()


@pytest.mark.parametrize(("rule", "options"), RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_goes_on_to_the_bit_from_its_saved_state(rule, options, dtype):
    params = start(dtype)
    optimizer = rule(params, 0.05, weight_decay=0.1, **options)
    advance(optimizer, params, range(15))
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "params": params}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    copies = [p.detach().requires_grad_() for p in saved["params"]]
    resumed = rule(copies, 1.0)
    resumed.load_state_dict(saved["optimizer"])
    advance(optimizer, params, range(15, 30))
    advance(resumed, copies, range(15, 30))
    assert all(torch.equal(p, q) for p, q in zip(params, copies, strict=True))
    assert resumed.param_groups[0]["initial_lr"] == 0.05


@pytest.mark.parametrize(("rule", "plain", "options"), PAIRS)
def test_parameters_without_gradient_stand_still(rule, plain, options):
    """One parameter has gradients in steps 3, 4, 7, 8, ... only; each moves as if it were alone."""
    ours, theirs = start(torch.float64), start(torch.float64)
    optimizer = rule(ours, 0.05, weight_decay=0.1, **options)
    singles = [plain([p], 0.1, **options) for p in theirs]
    for step in range(40):
        write(optimizer, *sgdr(0.05, 40)(step))
        for k, (p, q, g) in enumerate(zip(ours, theirs, gradients(theirs, step), strict=True)):
            p.grad = q.grad = None
            if k == 0 or step % 4 > 1:
                p.grad, q.grad = g, g.clone()
                singles[k].step(*sgdr(0.05, 40)(step))
        optimizer.step()
    assert all(torch.allclose(p, q, rtol=0, atol=1e-12) for p, q in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", ["lion", "nadamw", "lamb", "muon", "schedulefree"])
def test_only_the_weights_decay(name):
    """With gradients of zero nothing but decay moves a weight, and it is `lr lambda` of it; norms and biases stay."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = copy.deepcopy(model)
    optimizer = optimizers.build(name, optimizers.parameter_groups(model), lr=0.1, weight_decay=0.2)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    share = 0.1 * 0.2
    if name == "lamb":
        share = 0.1  # a step is scaled to the rate's share of the layer
    if name == "schedulefree":
        share *= (1 - 0.999) ** 0.5  # its rate grows with the second moment
    torch.testing.assert_close(model[0].weight, before[0].weight * (1 - share))
    for theirs, ours in ((before[0].bias, model[0].bias), (before[1].weight, model[1].weight)):
        assert torch.equal(theirs, ours)


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_memory_formats_may_differ_between_weight_gradient_and_saved_state(rule, options):
    plain, last = torch.contiguous_format, torch.channels_last
    for formats in ((plain, last), (last, plain), (last, last)):
        torch.testing.assert_close(
            trained_in(rule, options, formats), trained_in(rule, options, (plain, plain)), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_what_is_not_supported_is_refused(rule, options):
    weight = torch.zeros(3, 2, requires_grad=True)
    weight.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        rule([weight], **options).step()
    for wrong in ({"lr": -0.1}, {"weight_decay": -1}, {"betas": (1.0, 0.9)}, {"betas": (0.9, 1.0)}):
        with pytest.raises(UserError) as error:
            rule([weight], **(options | wrong))
        assert "\n" not in str(error.value)
    if rule not in (Lion, Muon):
        with pytest.raises(UserError, match="as numbers"):
            rule([weight], torch.tensor(0.1))


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6)])
def test_muons_step_is_orthogonal_and_as_large_as_adamws(shape):
    generator = torch.Generator().manual_seed(3)
    weight = torch.zeros(shape, requires_grad=True)
    weight.grad = torch.randn(shape, generator=generator)
    Muon([weight], 0.01).step()
    values = torch.linalg.svdvals(weight.detach()) / (0.01 * 0.2 * max(shape) ** 0.5)
    assert 0.6 < values.min() < values.max() < 1.3
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.3)


def test_muon_leaves_norms_biases_and_the_output_to_adamw():
    torch.manual_seed(0)
    ours = models.build("yolov5n", classes=2)
    theirs = copy.deepcopy(ours)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    muon = optimizers.build("muon", optimizers.parameter_groups(ours), 0.001, 0.9)
    muon.step()
    optimizers.build("adamw", optimizers.parameter_groups(theirs), 0.001, 0.9).step()
    same = {
        name for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True) if torch.equal(p, q)
    }
    convolutions = {name + ".weight" for name, m in ours.named_modules() if isinstance(m, nn.Conv2d)}
    head = next(name for name, module in ours.named_modules() if module is ours.head)
    everything = {name for name, _ in ours.named_parameters()}
    assert same == everything - convolutions | {name for name in everything if name.startswith(f"{head}.")}


def test_what_schedulefree_evaluates_is_the_mean_of_its_steps():
    """At a constant rate, late in the run, x is the mean of the z so far, and y lies between the two."""
    params = start(torch.float64)
    optimizer = ScheduleFree(params, 0.01, (0.9, 0.0), weight_decay=0.1)  # beta2 0: gamma is the rate from the start
    assert optimizer.evaluation_weights() == {}
    steps = []
    for step in range(20):
        for p, g in zip(params, gradients(params, step), strict=True):
            p.grad = g
        optimizer.step()
        steps.append([optimizer.state[p]["z"].clone() for p in params])
    mean = [torch.stack(each).mean(0) for each in zip(*steps, strict=True)]
    for p, expected, last in zip(params, mean, steps[-1], strict=True):
        x = optimizer.evaluation_weights()[p]
        torch.testing.assert_close(x, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(p.detach(), 0.1 * last + 0.9 * x, rtol=0, atol=1e-12)
