"""What is said of a checkpoint's classes that are not the data set's."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.classes import check_classes
from utils.errors import UserError

FILE = Path("data.yaml")


@pytest.mark.parametrize(
    ("names", "data", "said"),
    [
        (("a", "b"), ("a", "b"), ""),
        (("Red ", "b  c"), ("red", "B c"), ""),
        (("class0", "class1"), ("a", "b"), ""),
        (("a", "b"), ("b", "a"), "in another order (0 is 'b' and was 'a', 1 is 'a' and was 'b')"),
        (
            ("a", "b", "c"),
            ("a", "b", "d"),
            "1 of 3 classes have other names than in the checkpoint (2 is 'd'",
        ),
        (tuple("abcdef"), tuple("fedcba"), "..."),
    ],
)
def test_what_is_said(names: tuple, data: tuple, said: str, caplog: pytest.LogCaptureFixture) -> None:
    check_classes(names, data, FILE)
    assert len(caplog.records) == bool(said)
    assert said in caplog.text
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_another_number_is_an_error() -> None:
    with pytest.raises(UserError, match=r"data.yaml: 1 class, but the checkpoint has 2; give the --data"):
        check_classes(("a", "b"), ("a",), FILE)
    with pytest.raises(UserError, match="2 classes, but the checkpoint has 1; add --single-cls"):
        check_classes(("object",), ("a", "b"), FILE)


@given(st.permutations(["cat", "dog", "cow", "hen"]))
def test_every_order_but_its_own_is_said(names: list[str]) -> None:
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append
    logging.getLogger("anneal").addHandler(handler)
    try:
        check_classes(("cat", "dog", "cow", "hen"), names, FILE)
    finally:
        logging.getLogger("anneal").removeHandler(handler)
    assert len(said) == (names != ["cat", "dog", "cow", "hen"])
