"""docs/schedules.md keeps up with the policies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import schedulers

PAGE = Path(schedulers.__file__).parents[1] / "docs" / "schedules.md"


@pytest.mark.parametrize("name", ["clr", "constant", "cosine", "linear", "onecycle", "poly", "sgdr", "step", "wsd"])
def test_every_option_has_a_line(name: str) -> None:
    section = PAGE.read_text().split(f"\n## {name}\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert sorted(listed) == sorted(key for key, *_ in schedulers.options(name))


def test_every_picture_exists() -> None:
    pictures = re.findall(r"\]\((images/[^)]+)\)", PAGE.read_text())
    assert len(pictures) >= 6
    assert all((PAGE.parent / picture).is_file() for picture in pictures)


def test_the_example_runs() -> None:
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    space: dict[str, type[schedulers.Policy]] = {}
    # outside the registry, which other tests list
    code = code.replace('@register("inverse", source="folklore")\n', "")
    exec(code, space)  # noqa: S102 - the page's own example
    policy = space["Inverse"](total_steps=100, steps_per_epoch=10, lr0=0.01, k=4.0)
    assert policy.at(50).lr == pytest.approx(1 / 3)
