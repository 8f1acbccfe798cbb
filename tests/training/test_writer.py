"""Writing aside: in order, bounded, waited for, and of the state as it was."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from training.writer import MOST, Writer, snapshot


def test_writes_are_done_in_order_and_waited_for() -> None:
    done: list[int] = []
    with Writer() as writer:
        for i in range(5):
            writer.submit(lambda i=i: (time.sleep(0.01), done.append(i)))
    assert done == list(range(5))


def test_no_more_than_a_few_wait() -> None:
    gate, started = threading.Event(), []
    with Writer() as writer:
        for i in range(MOST):
            writer.submit(lambda i=i: (started.append(i), gate.wait()))
        late = threading.Thread(target=writer.submit, args=(lambda: started.append("late"),))
        late.start()
        late.join(0.1)
        assert late.is_alive()  # it waits for a place
        gate.set()
        late.join(5)
        assert not late.is_alive()
    assert started == [*range(MOST), "late"]


def test_what_a_write_raises_is_not_lost() -> None:
    writer = Writer()
    writer.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.wait()


def test_a_snapshot_does_not_follow_what_changes() -> None:
    weight, state = torch.ones(3), {}
    state = {"a": [weight, 2], "b": {"c": (weight, "text")}, "d": None}
    copy = snapshot(state)
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
    copy = snapshot(state)
    for name, value in state.items():
        first, second = (value[0], copy[name][0]) if isinstance(value, list) else (value, copy[name])
        assert torch.equal(first, second)
        assert first.dtype == second.dtype
    assert copy["w"].is_contiguous(memory_format=torch.channels_last)
    floats = {copy[name].untyped_storage().data_ptr() for name in ("w", "t", "s")}
    assert len(floats) == 1
    assert copy["w"].untyped_storage().data_ptr() != weight.untyped_storage().data_ptr()
