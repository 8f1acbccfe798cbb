"""The means of an epoch's losses, and the first step at which one was not finite."""

from __future__ import annotations

import pytest
import torch

from training.meter import LossMeter, NonFiniteLoss, all_finite

CPU = torch.device("cpu")


def test_the_mean_is_over_pictures() -> None:
    meter = LossMeter(CPU)
    meter.add(torch.tensor([1.0, 2.0, 3.0]), pictures=4, instances=7, step=0)
    meter.add(torch.tensor([4.0, 5.0, 9.0]), pictures=2, instances=1, step=1)
    assert meter.mean() == [2.0, 3.0, 5.0]
    assert (meter.pictures, meter.instances) == (6, 8)


def test_nothing_yet() -> None:
    assert LossMeter(CPU).mean() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_the_first_bad_step_is_named(bad: float) -> None:
    meter = LossMeter(CPU)
    meter.add(torch.tensor([1.0, 1.0, 1.0]), 2, 0, step=4)
    meter.add(torch.tensor([1.0, bad, 2.0]), 2, 0, step=5)
    meter.add(torch.tensor([bad, bad, bad]), 2, 0, step=6)
    with pytest.raises(NonFiniteLoss, match=rf"^loss is not finite at step 5 \(box 1, obj {bad:.4g}, cls 2\)$"):
        meter.mean()


def test_it_goes_on_from_its_state() -> None:
    one, two = LossMeter(CPU), LossMeter(CPU)
    one.add(torch.tensor([0.1, 0.2, 0.3]), 3, 5, step=0)
    two.load_state_dict(one.state_dict())
    for meter in (one, two):
        meter.add(torch.tensor([0.7, 0.6, 0.5]), 2, 1, step=1)
    assert one.mean() == two.mean()
    assert two.instances == 6


def test_a_saved_state_does_not_change_later() -> None:
    meter = LossMeter(CPU)
    state = meter.state_dict()
    meter.add(torch.ones(3), 1, 1, step=0)
    assert state["sums"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_all_finite(bad: float) -> None:
    values = [torch.full((3,), 3e38), torch.zeros(2, 2), torch.tensor(1), torch.empty(0)]  # squares overflow
    assert all_finite(values)
    values[1][1, 0] = bad
    assert not all_finite(values)
