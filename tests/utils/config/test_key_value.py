"""`key=value` options: typed by annotations, the same for policies and optimizers; limits of numbers."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from utils.config.key_value import Option, beyond, describe, parse, type_name
from utils.errors import UserError

KNOWN = [
    Option("share", float, 0.5, "of the whole"),
    Option("count", int | None, None, "how many"),
    Option("quick", bool, False, "less care"),
    Option("phases", Literal[3, 2], 3, "how many phases"),
    Option("mode", Literal["a", "b"] | None, None, ""),
]


def read(*pairs: str) -> dict[str, Any]:
    return parse("--arg", "thing 'x'", KNOWN, pairs)


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("share=1", 1.0), ("share = 1e-3", 0.001), ("count=4", 4), ("count=none", None), ("quick=True", True),
        ("quick=false", False), ("phases=2", 2), ("mode=b", "b"), ("mode=None", None),
    ],
)  # fmt: skip
def test_values_take_their_type(pair: str, value: Any) -> None:
    (got,) = read(pair).values()
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        (["share"], "--arg share: give key=value; `--arg help` lists the keys"),
        (["shore=1"], "--arg shore=1: thing 'x' has no option 'shore'; did you mean 'share'?"),
        (["share=1", "share=1"], "--arg share=1: share is given twice; give it once"),
        (["share=none"], "--arg share=none: must be a number"),
        (["share=inf"], "--arg share=inf: must be a finite number"),
        (["count=1.5"], "--arg count=1.5: must be a whole number"),
        (["quick=1"], "--arg quick=1: must be true or false"),
        (["phases=4"], "--arg phases=4: must be 3 or 2"),
        (["mode=c"], "--arg mode=c: must be a or b"),
    ],
)
def test_mistakes_are_one_line(pairs: list[str], why: str) -> None:
    with pytest.raises(UserError) as caught:
        read(*pairs)
    assert str(caught.value).startswith(why)
    assert "\n" not in str(caught.value)


def test_description() -> None:
    def thing() -> None:
        """Does it.

        More.
        """

    assert describe("x", thing, {"paper": "none", "empty": ""}, KNOWN[:1]).splitlines() == [
        "x: Does it.", "  paper: none", "  share=0.5 (float) of the whole",
    ]  # fmt: skip
    assert [type_name(option.type) for option in KNOWN] == ["float", "int", "bool", "3|2", "a|b"]


@pytest.mark.parametrize(
    ("value", "limits", "why"),
    [
        (0, {"low": 0, "high": 0}, ""), (0, {"above": 0}, "must be above 0"), (-1, {"low": 0}, "must be at least 0"),
        (1, {"below": 1}, "must be below 1"), (2, {"high": 1}, "must be at most 1"),
        (float("nan"), {}, "must be a finite number"),
    ],
)  # fmt: skip
def test_limits(value: float, limits: dict[str, float], why: str) -> None:
    assert beyond(value, limits) == why
