"""Copies of a state: of everything, apart from the original, in memory that is used again."""

from __future__ import annotations

import torch

from training.snapshots import Snapshots


def test_a_snapshot_does_not_follow_what_changes() -> None:
    weight, state = torch.ones(3), {}
    state = {"a": [weight, 2], "b": {"c": (weight, "text")}, "d": None}
    copy = Snapshots().take(state)
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
    copy = Snapshots().take(state)
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
    place = first["a"].untyped_storage().data_ptr()
    second = snapshots.take({"a": torch.zeros(7)})  # the first is still in use
    assert second["a"].untyped_storage().data_ptr() != place
    snapshots.give_back(first)
    third = snapshots.take({"a": torch.full((3,), 2.0), "b": [torch.full((2, 2), 3.0)]})
    assert third["a"].untyped_storage().data_ptr() == place
    assert third["a"].tolist() == [2.0] * 3
    assert third["b"][0].tolist() == [[3.0] * 2] * 2
    other = snapshots.take({"a": torch.zeros(3), "b": [torch.ones(2, 2)]})  # nothing is spare any more
    assert other["a"].untyped_storage().data_ptr() != place
