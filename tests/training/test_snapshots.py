"""Copies of a state: of everything, apart from the original, in memory that is used again."""

from __future__ import annotations

import pytest
import torch

from training.snapshots import Snapshots


def test_a_snapshot_does_not_follow_what_changes() -> None:
    weight, state = torch.ones(3), {}
    state = {"a": [weight, 2], "b": {"c": (weight, "text")}, "d": None}
    copy = Snapshots().take(state).value
    weight.zero_()
    state["b"]["c"] = ()
    assert torch.equal(copy["a"][0], torch.ones(3))
    assert torch.equal(copy["b"]["c"][0], torch.ones(3))
    assert copy["b"]["c"][1:] == ("text",)
    assert copy["d"] is None


def test_a_snapshot_keeps_values_shapes_and_layouts_in_one_storage_a_kind() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    state = {
        "w": weight,
        "t": weight.permute(1, 0, 2, 3),
        "s": torch.tensor(2.5),
        "e": torch.empty(0, 3),
        "n": torch.tensor(7),
    }
    state |= {"half": torch.randn(5).bfloat16(), "flags": [torch.tensor([True, False])]}
    copy = Snapshots().take(state).value
    for name, value in state.items():
        first, second = (value[0], copy[name][0]) if isinstance(value, list) else (value, copy[name])
        assert torch.equal(first, second)
        assert first.dtype == second.dtype
    assert copy["w"].is_contiguous(memory_format=torch.channels_last)
    floats = {copy[name].untyped_storage().data_ptr() for name in ("w", "t", "s")}
    assert len(floats) == 1
    assert copy["w"].untyped_storage().data_ptr() != weight.untyped_storage().data_ptr()


def test_memory_given_back_serves_the_next_copy() -> None:
    snapshots = Snapshots()
    first = snapshots.take({"a": torch.zeros(3), "b": [torch.ones(2, 2)], "n": torch.tensor(1)})
    place = first.value["a"].untyped_storage().data_ptr()
    second = snapshots.take({"a": torch.zeros(7)})  # the first is still in use
    assert second.value["a"].untyped_storage().data_ptr() != place
    snapshots.give_back(first)
    third = snapshots.take({"a": torch.full((3,), 2.0), "b": [torch.full((2, 2), 3.0)]}).value
    assert third["a"].untyped_storage().data_ptr() == place
    assert third["a"].tolist() == [2.0] * 3
    assert third["b"][0].tolist() == [[3.0] * 2] * 2
    other = snapshots.take({"a": torch.zeros(3), "b": [torch.ones(2, 2)]})  # nothing is spare any more
    assert other.value["a"].untyped_storage().data_ptr() != place


def test_another_layout_is_not_given_the_same_views() -> None:
    snapshots = Snapshots()
    rows = torch.arange(24.0).view(2, 3, 2, 2)
    for state in (rows, rows.contiguous(memory_format=torch.channels_last), rows.view(4, 6)):
        copy = snapshots.take([state])
        assert torch.equal(copy.value[0], state)
        assert copy.value[0].stride() == state.stride()
        snapshots.give_back(copy)


def test_nothing_is_on_the_way_in_main_memory() -> None:
    snapshots = Snapshots()
    copy = snapshots.take({"a": torch.ones(3), "e": torch.empty(0)})
    copy.settle()
    snapshots.give_back(copy)
    assert copy.value["a"].tolist() == [1.0] * 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_state_is_copied_beside_what_it_does_next() -> None:
    """Also twice, in the same pinned memory; taking it waits for nothing and sees no later change."""
    snapshots, where = Snapshots(), []
    weight = torch.zeros(1 << 20, device="cuda").view(1 << 10, 1 << 10)
    big = torch.randn(4096, 4096, device="cuda")
    for number in range(3):
        weight.fill_(number)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(50):
                big @ big  # the copy is asked for long before its turn
            copy = snapshots.take({"w": weight, "e": torch.empty(0, device="cuda"), "n": torch.tensor(number)})
            weight.fill_(-1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        copy.settle()
        assert copy.value["w"].device.type == "cpu"
        assert copy.value["w"].is_pinned()
        assert copy.value["w"].shape == weight.shape
        assert (copy.value["w"] == number).all()
        assert int(copy.value["n"]) == number
        where.append(copy.value["w"].data_ptr())
        assert all(pack.source is None for pack in copy.packs)
        snapshots.give_back(copy)
    assert where == where[:1] * 3
