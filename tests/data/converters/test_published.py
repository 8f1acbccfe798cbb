"""Random VOC and COCO sets with the oddities of published ones read back: a box is never on another picture."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path, PurePosixPath
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.convert import main
from tests.data.converters.layouts import converted, same
from tests.data.converters.published import WRITERS, Shot

SPELLINGS = {
    "as it is": lambda path: path,
    "base": lambda path: PurePosixPath(path).name,
    "windows": lambda path: "C:\\Users\\me\\" + path.replace("/", "\\"),
    "unix": lambda path: f"/home/me/{path}",
    "address": lambda path: f"https://example.com/a/{quote(path)}?size=1",
    "encoded": quote,
    "upper": lambda path: path.upper(),
    "decomposed": lambda path: unicodedata.normalize("NFD", path),
    "suffix": lambda path: str(PurePosixPath(path).with_suffix(".gif")),
    "bare": lambda path: str(PurePosixPath(path).with_suffix("")),
    "wrong": lambda path: "nowhere.jpg",
}
STEMS = ("x", "y", "z", "a b", "Bild é", "1", "x.1", "50%", "#7")
FOLDERS = ("", "", "one", "two", "one/two", "train")
LABELS = ("cat", "dog", "007", "Käse & <Brot>")
CASES = int(os.environ.get("CONVERT_CASES", "300"))  # CONVERT_CASES=2000 for a longer search


@st.composite
def boxes(pick, width: int, height: int):
    x1, y1 = pick(st.integers(0, width - 3)), pick(st.integers(0, height - 3))
    return pick(st.sampled_from(LABELS)), (x1, y1, pick(st.integers(x1 + 2, width)), pick(st.integers(y1 + 2, height)))


def stem(shot: Shot) -> str:
    return PurePosixPath(shot.name).stem.casefold()


@st.composite
def sets(pick):
    """Layout, pictures, spelling, oddities, which pictures are removed, and a seed for the writer."""
    kind = pick(st.sampled_from(list(WRITERS)))
    spelling = pick(st.sampled_from(["as it is"] * 8 + list(SPELLINGS)))
    parted = pick(st.booleans())
    shots, taken = [], set()
    for _ in range(pick(st.sampled_from((1, 3, 4, 5, 6)))):
        folder, own = pick(st.sampled_from(FOLDERS[: -1 if parted else None])), pick(st.sampled_from(STEMS))
        part = pick(st.sampled_from(("train", "train", "val", "test"))) if parted else None
        name = str(PurePosixPath(folder, own + pick(st.sampled_from((".png", ".jpg", ".JPG")))))
        key = (part, str(PurePosixPath(name).with_suffix("")).casefold())
        if key in taken:  # one annotation file would be that of two pictures
            continue
        taken.add(key)
        width, height = pick(st.sampled_from(((40, 30), (30, 40), (64, 48))))
        orientation = pick(st.sampled_from((1, 1, 1, 5, 6, 7, 8)))
        found = pick(st.lists(boxes(width, height), min_size=pick(st.integers(0, 1)), max_size=3))
        shots.append(Shot(name, width, height, found, part, orientation, SPELLINGS[spelling](name)))
    odd = pick(st.sets(st.sampled_from(WRITERS[kind][1]), max_size=3))
    names = Counter(map(stem, shots))
    some = pick(st.integers(0, 2)) == 0  # of several of one name nobody could tell which is left
    removed = [some and names[stem(shot)] == 1 and pick(st.integers(0, 3)) == 0 for shot in shots]
    return kind, spelling, shots, odd, removed, pick(st.integers(0, 1 << 20))


def run(source: Path, target: Path) -> tuple[int, str]:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main([str(source), "--out", str(target), "--val", "0.5"])
    return code, told.getvalue()


def expected(shot: Shot, odd: set[str]) -> list:
    """Where no size is stated boxes cannot be known to be made before the rotation."""
    return shot.boxes if "sizeless" in odd else shot.shown


def is_plain(spelling: str, shots: list[Shot], odd: set[str], removed: list[bool]) -> bool:
    """Whether nothing of the set is in doubt, so that it has to be read whole."""
    stems = Counter(map(stem, shots))
    enough = len(shots) > 2 and any(one.boxes for one in shots) and not any(removed) and max(stems.values()) == 1
    parts = {one.part for one in shots}
    trains = sum(one.part in ("train", None) for one in shots) > 1 and (None in parts or "val" in parts)
    turned = "sizeless" in odd and any(one.orientation > 1 for one in shots)
    folders = any("train" in one.name for one in shots)
    return enough and trains and spelling == "as it is" and "copied" not in odd and not turned and not folders


def check(kind, spelling, shots, odd, removed, seed, root: Path) -> None:
    write, _ = WRITERS[kind]
    write(root / "src", shots, odd, Random(seed))
    for shot, gone in zip(shots, removed, strict=True):
        if gone:
            shot.path.unlink()
    code, told = run(root / "src", root / "dst")
    assert code in (0, 2), told
    if code:
        assert told.splitlines()[-1].startswith("error: "), told
        assert not is_plain(spelling, shots, odd, removed), told
        return
    found = converted(root / "dst")
    made = {shot.data: shot for shot in shots}
    for data, (part, got) in found.items():
        shot = made[data]
        if "sizeless" not in odd:
            assert same(tuple(got), tuple(shot.shown)), (shot, got, told)
        elif shot.orientation == 1:
            assert same(tuple(got), tuple(shot.boxes)), (shot, got, told)
        if "split as published" in told and "validation part drawn" not in told and shot.part is not None:
            assert part == shot.part, (shot, part, told)
    lost = [shot for shot in shots if shot.boxes and shot.data not in found]
    assert not lost or "skipped: " in told, (lost, told)
    if is_plain(spelling, shots, odd, removed):
        assert not lost, told


def fresh(case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(*case, Path(folder))


@given(sets())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_a_box_is_never_on_another_picture(case):
    fresh(case)


@pytest.mark.slow
@given(sets())
@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
def test_a_box_is_never_on_another_picture_in_many_sets(case):
    fresh(case)
