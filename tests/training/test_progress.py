"""Which epoch is the best, of any fitnesses: the first of the highest, the last where nothing can be measured."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from training.progress import Progress

FITNESS = st.sampled_from([0.0, 0.1, 0.3, 1.0, math.nan])


@given(st.lists(FITNESS, max_size=8), st.integers(0, 3))
def test_the_best_epoch(values: list[float], boxes: int) -> None:
    place = Progress()
    for epoch, value in enumerate(values, 1):
        place.epoch = epoch
        assert place.judge(value, boxes) == (place.best_epoch == epoch)
    known = [value for value in values if not math.isnan(value)]
    if not boxes:
        expected = len(values)
    elif not known:
        expected = 0
    elif max(known) > 0:
        expected = values.index(max(known)) + 1
    else:
        expected = max(epoch for epoch, value in enumerate(values, 1) if value == 0)
    assert place.best_epoch == expected
