"""What the runs of one process share: made once, and gone before another takes its place."""

from __future__ import annotations

import weakref

from data.shared import Shared


class Thing:
    """Something made, that knows what else was there when it was."""

    there: weakref.WeakSet[Thing]

    def __init__(self, of: object, desc: str, **options: object) -> None:
        self.name = (type(self).__name__, desc, of if isinstance(of, str) else of.name, *options.values())
        self.found = {thing.name for thing in Thing.there}
        Thing.there.add(self)


class Index(Thing):
    """Of files."""


class Store(Thing):
    """Of an index."""


def load(shared: Shared, data: str, size: int, val: str | None = None) -> list[Thing]:
    """As a run does: both indices, then both stores."""
    indices = [shared.get(Index, name, desc=desc) for desc, name in (("train", data), ("val", val or data))]
    return indices + [shared.get(Store, index, desc=index.name[1], size=size) for index in indices]


def test_only_what_one_run_holds_is_there_at_any_time() -> None:
    shared, Thing.there = Shared(), weakref.WeakSet()
    made = load(shared, "a", 64)
    assert load(shared, "a", 64) == made
    indices = made[:2]
    del made
    load(shared, "a", 96)
    assert load(shared, "a", 96)[:2] == indices
    train, val = (shared.get(Store, index, desc=index.name[1], size=96) for index in indices)
    assert {name[-1] for name in train.found if name[0] == "Store"} == set()
    assert {name[-1] for name in val.found if name[0] == "Store"} == {96}


def test_what_was_made_of_other_data_is_gone_before_a_store_is_made() -> None:
    shared, Thing.there = Shared(), weakref.WeakSet()
    load(shared, "a", 64)
    train, val = load(shared, "b", 64)[2:]
    assert {name[2] for name in train.found if name[0] == "Index"} == {"b"}
    assert not any(name[0] == "Store" for name in train.found)
    assert [name[1] for name in val.found if name[0] == "Store"] == ["train"]


def test_the_part_that_stays_is_kept() -> None:
    shared, Thing.there = Shared(), weakref.WeakSet()
    before = load(shared, "a", 64)
    after = load(shared, "b", 64, val="a")
    assert [one is other for one, other in zip(before, after, strict=True)] == [False, True, False, True]
