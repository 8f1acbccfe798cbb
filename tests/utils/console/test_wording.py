"""Counts with their noun, and commands that a shell reads back."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from utils.console.wording import command, counted


def test_counted() -> None:
    assert [counted(n, "run") for n in (0, 1, 2, 1200)] == ["0 runs", "1 run", "2 runs", "1,200 runs"]
    assert [counted(n, "box", "boxes") for n in (1, 3)] == ["1 box", "3 boxes"]


@given(st.text(st.characters(blacklist_characters="\0"), min_size=1))
def test_a_command_reads_back(path: str) -> None:
    assert shlex.split(command("train.py", "--resume", path)) == ["python", "train.py", "--resume", path]
