"""How many runs a node of a cluster takes at once, and what each asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablation.slots import Demand, Slot, check, slots
from utils.errors import UserError

NODE = {"CPU": 16.0, "GPU": 4.0, "memory": 1e9}


@pytest.mark.parametrize(
    ("demand", "on_gpus", "expected"),
    [
        (Demand(), True, [Slot(1, 1)] * 4),
        (Demand(per_gpu=2), True, [Slot(0.5, 1)] * 8),
        (Demand(per_gpu=8), True, [Slot(0.125, 0.5)] * 32),
        (Demand(gpus=3), True, [Slot(3, 1)]),
        (Demand(gpus=8), True, []),
        (Demand(cpus=6), True, [Slot(1, 6)] * 2),
        (Demand(cpus=0), True, [Slot(1, 0)] * 4),
        (Demand("cpu"), False, [Slot(0, 16)]),
        (Demand("cpu", per_gpu=3), False, [Slot(0, 5)] * 3),
        (Demand("cpu", cpus=4), False, [Slot(0, 4)] * 4),
        (Demand("cpu", cpus=0.1), False, [Slot(0, 0.1)] * 160),
        (Demand("cpu", cpus=0), False, [Slot(0, 0)]),
        (Demand("cpu", per_gpu=2, cpus=0), False, [Slot(0, 0)] * 2),
    ],
)
def test_a_node(demand: Demand, on_gpus: bool, expected: list[Slot]) -> None:
    assert slots(NODE, demand, on_gpus) == expected


def test_nodes_without_cpus() -> None:
    """A head that is kept free takes no run on CPUs; GPUs are used even so."""
    assert slots({}, Demand("cpu"), False) == []
    assert slots({}, Demand("cpu", cpus=0), False) == [Slot(0, 0)]
    assert slots({"GPU": 2.0}, Demand(), True) == [Slot(1, 0)] * 2


@given(
    st.integers(0, 64),
    st.integers(0, 16),
    st.integers(1, 8),
    st.integers(1, 8),
    st.none() | st.floats(0.001, 64),
    st.booleans(),
)
def test_no_node_is_asked_for_more_than_it_has(cpus, gpus, several, per_gpu, each, on_gpus) -> None:
    demand = Demand("auto", per_gpu if several == 1 else 1, several, each)
    found = slots({"CPU": float(cpus), "GPU": float(gpus)}, demand, on_gpus)
    assert sum(slot.cpus for slot in found) <= cpus + 1e-6
    assert sum(slot.gpus for slot in found) <= gpus + 1e-6
    assert all(slot.gpus == several or (several == 1 and slot.gpus == 1 / per_gpu) for slot in found if on_gpus)
    assert len(found) <= max(gpus // several * demand.per_gpu if on_gpus else cpus * 1000, demand.per_gpu)


@pytest.mark.parametrize(
    ("demand", "on_gpus", "says"),
    [
        (Demand(gpus=8), True, "--gpus-per-run 8: no node .* more than 4, and a run stays on one node; give 4"),
        (Demand("cpu", gpus=2), False, "--gpus-per-run 2: no GPU of the cluster is used"),
        (Demand("cpu", cpus=17), False, "--cpus-per-run 17: no node of the cluster has more than 16; give fewer"),
        (Demand(cpus=17), True, "--cpus-per-run 17: no node with GPUs offers so many CPUs; give fewer"),
    ],
)
def test_too_much_for_every_node(demand: Demand, on_gpus: bool, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check([{}, NODE, {"CPU": 2.0}], demand, on_gpus)


def test_no_cpus_anywhere() -> None:
    with pytest.raises(UserError, match="offer no CPUs; give --cpus-per-run 0"):
        check([{}], Demand("cpu"), False)
    check([{}], Demand("cpu", cpus=0), False)
