"""Writing aside: in order, bounded, waited for, and of the state as it was."""

from __future__ import annotations

import threading
import time

import pytest

from training.writer import MOST, Writer


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
        late.join(60)
        assert not late.is_alive()
    assert started == [*range(MOST), "late"]


def test_what_a_write_raises_is_not_lost() -> None:
    writer = Writer()
    writer.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.wait()
