"""What the two classes do apart from their numbers: state, closures, skipped parameters, dtypes, refusals, kernels."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from optimizers.adamw import AdamW
from optimizers.sgdw import SGDW
from tests.optimizers.formats import trained_in
from tests.optimizers.reference import PlainAdamW, PlainSGDW, gradients, sgdr, start, write
from utils.errors import UserError

RULES = [
    (SGDW, {"nesterov": True}),
    (SGDW, {"convention": "paper"}),
    (SGDW, {"nesterov": True, "convention": "paper"}),
    (SGDW, {"momentum": 0.0}),
    (AdamW, {}),
    (AdamW, {"convention": "paper", "amsgrad": True}),
]


def advance(optimizer, params, steps):
    for step in steps:
        lr, momentum = sgdr(0.05, 30)(step)
        write(optimizer, lr, momentum if optimizer.param_groups[0].get("momentum") != 0 else 0.0)
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
    resumed = rule(copies, 1.0, **{k: v for k, v in options.items() if k == "momentum"})
    resumed.load_state_dict(saved["optimizer"])
    advance(optimizer, params, range(15, 30))
    advance(resumed, copies, range(15, 30))
    assert all(torch.equal(p, q) for p, q in zip(params, copies, strict=True))
    assert resumed.param_groups[0]["initial_lr"] == 0.05


@pytest.mark.parametrize("rule", [SGDW, AdamW])
def test_parameters_without_gradient_stand_still(rule):
    """One parameter has gradients in steps 3, 4, 7, 8, ... only; each moves as if it were alone."""
    ours, theirs = start(torch.float64), start(torch.float64)
    optimizer = rule(ours, 0.05, weight_decay=0.1, **({"nesterov": True} if rule is SGDW else {}))
    if rule is SGDW:
        singles = [PlainSGDW([p], 0.05, 0.1, paper=False, nesterov=True, damp=0) for p in theirs]
    else:
        singles = [PlainAdamW([p], 0.05, 0.1, paper=False) for p in theirs]
    for step in range(40):
        write(optimizer, *sgdr(0.05, 40)(step))
        for k, (p, q, g) in enumerate(zip(ours, theirs, gradients(theirs, step), strict=True)):
            p.grad = q.grad = None
            if k == 0 or step % 4 > 1:
                p.grad, q.grad = g, g.clone()
                singles[k].step(*sgdr(0.05, 40)(step))
        optimizer.step()
    assert all(torch.allclose(p, q, rtol=0, atol=1e-12) for p, q in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("convention", ["torch", "paper"])
def test_numbers_may_turn_into_tensors_and_back_within_a_run(nesterov, convention):
    ours, theirs = start(torch.float64), start(torch.float64)
    optimizer = SGDW(ours, 0.05, 0.9, 0.1, nesterov=nesterov, convention=convention)
    plain = PlainSGDW(theirs, 0.05, 0.1, paper=convention == "paper", nesterov=nesterov, damp=0)
    for step in range(40):
        lr, momentum = sgdr(0.05, 40)(step)
        optimizer.param_groups[0]["lr"] = torch.tensor(lr, dtype=torch.float64) if step // 10 % 2 else lr
        optimizer.param_groups[0]["momentum"] = momentum
        for p, q, g in zip(ours, theirs, gradients(theirs, step), strict=True):
            p.grad, q.grad = g, g.clone()
        optimizer.step()
        plain.step(lr, momentum)
    assert all(torch.allclose(p, q, rtol=0, atol=1e-12) for p, q in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_a_closure_is_run_with_gradients_and_its_loss_returned(rule, options):
    params = start(torch.float32)
    optimizer = rule(params, 0.01, **options)

    def closure():
        optimizer.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(6)]
    assert losses[0] == pytest.approx(sum((p**2).sum() for p in start(torch.float32)).item())
    assert all(later < earlier for earlier, later in pairwise(losses))


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_bfloat16_follows_float32(rule, options):
    low, high = start(torch.bfloat16), [p.detach().float().requires_grad_() for p in start(torch.bfloat16)]
    advance(rule(low, 0.05, weight_decay=0.01, **options), low, range(30))
    advance(rule(high, 0.05, weight_decay=0.01, **options), high, range(30))
    assert all(p.dtype == torch.bfloat16 for p in low)
    for p, q in zip(low, high, strict=True):
        assert (p.float() - q).abs().max() < 0.05 * q.abs().max()


@pytest.mark.parametrize("rule", [SGDW, AdamW])
def test_mixed_dtypes_and_layouts_share_a_group(rule):
    image = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    params = [image, torch.randn(6, dtype=torch.float64, requires_grad=True)]
    expected = [p.detach().clone().contiguous().requires_grad_() for p in params]
    ours, alone = rule(params, 0.1, weight_decay=0.1), [rule([p], 0.1, weight_decay=0.1) for p in expected]
    for _ in range(3):
        for p, q in zip(params, expected, strict=True):
            q.grad = torch.randn_like(q)
            p.grad = q.grad.to(memory_format=torch.channels_last) if p.ndim == 4 else q.grad.clone()
        ours.step()
        for optimizer in alone:
            optimizer.step()
    assert all(torch.allclose(p, q, rtol=1e-6, atol=1e-6) for p, q in zip(params, expected, strict=True))


@pytest.mark.parametrize("rule", [SGDW, AdamW])
def test_what_is_not_supported_is_refused(rule):
    weight = torch.zeros(3, 2, requires_grad=True)
    weight.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        rule([weight]).step()
    assert torch.equal(weight, torch.zeros(3, 2))
    with pytest.raises(UserError, match="complex"):
        rule([torch.zeros(2, dtype=torch.complex64, requires_grad=True)])
    for wrong in ({"lr": -0.1}, {"weight_decay": -1}, {"convention": "papers"}, {"convention": "paper", "lr": 0.0}):
        with pytest.raises(UserError) as error:
            rule([weight], **wrong)
        assert "\n" not in str(error.value)


def test_sgdw_refuses_what_nesterov_cannot_have():
    weight = torch.zeros(3, requires_grad=True)
    for wrong in ({"momentum": 1.0}, {"nesterov": True, "dampening": 0.1}, {"nesterov": True, "momentum": 0.0}):
        with pytest.raises(UserError):
            SGDW([weight], **wrong)


class Operations(TorchDispatchMode):
    """The names of the operations run inside."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if not name.startswith("_record_function"):  # the profiler's marks around a step
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_a_step_is_one_kernel_without_temporaries_or_waiting(rule, options):
    """However many tensors: the fused kernel, for Adam also the counts; nothing is read back or allocated."""
    model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(20)))
    optimizer = rule(model.parameters(), 0.05, weight_decay=0.1, **options)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    with Operations() as seen:
        optimizer.step()
    assert seen.names == (["_fused_sgd_"] if rule is SGDW else ["_foreach_add_", "_fused_adamw_"])


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_values_in_tensors_are_never_read_back(rule, options):
    """What a CUDA graph needs: with lr, momentum and decay as tensors no operation asks the device for a number."""
    values = {"lr": torch.tensor(0.05), "weight_decay": torch.tensor(0.1)}
    momentum = torch.tensor(0.9)
    values |= {"momentum": momentum} if rule is SGDW else {"betas": (momentum, torch.tensor(0.999))}
    params = start(torch.float32)
    optimizer = rule(params, **(options | values))
    for _ in range(2):
        for p in params:
            p.grad = torch.ones_like(p)
        with Operations() as seen:
            optimizer.step()
    assert "_local_scalar_dense" not in seen.names
    assert any(name.startswith("_foreach") for name in seen.names)


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_memory_formats_may_differ_between_weight_gradient_and_saved_state(rule, options):
    plain, last = torch.contiguous_format, torch.channels_last
    expected = trained_in(rule, options, (plain, plain))
    for formats in ((plain, last), (last, plain), (last, last)):
        torch.testing.assert_close(trained_in(rule, options, formats), expected, rtol=1e-5, atol=1e-6)
