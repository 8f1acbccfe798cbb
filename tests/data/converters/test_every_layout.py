"""Random sets written in each layout, with paths spelled in many ways, read back: a box is never on another picture."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.convert import main
from data.converters.split_names import split_of
from tests.data.converters import layouts
from tests.data.converters.layouts import Shot, converted, draw, put, same

SPELLINGS = {
    "path": lambda path: path,
    "base": lambda path: PurePosixPath(path).name,
    "windows": lambda path: "C:\\Users\\me\\" + path.replace("/", "\\"),
    "unix": lambda path: f"/home/me/{path}",
    "encoded": quote,
    "upper": lambda path: PurePosixPath(path).name.upper(),
    "decomposed": lambda path: unicodedata.normalize("NFD", path),
    "suffix": lambda path: str(PurePosixPath(path).with_suffix(".bmp")),
    "bare": lambda path: str(PurePosixPath(path).with_suffix("")),
}


def beside(root: Path, shots: list[Shot]) -> None:
    layouts.write_yolo(root, shots)


def in_labels(root: Path, shots: list[Shot]) -> None:
    layouts.write_yolo(root, shots, lambda path: PurePosixPath("labels") / path)


def url_uploads(root: Path, shots: list[Shot]) -> None:
    layouts.write_label_studio(root, [replace(one, named=f"{n:08x}-{PurePosixPath(one.named).name}")
                                      for n, one in enumerate(shots)], "/data/upload/3/")  # fmt: skip


BY_PLACE = {"yolo beside": beside, "yolo labels": in_labels, "darknet": layouts.write_darknet,
            "supervisely": layouts.write_supervisely}  # fmt: skip
BY_NAME = {"labelme": layouts.write_labelme, "cvat": layouts.write_cvat, "label studio": layouts.write_label_studio,
           "label studio uploads": url_uploads, "label studio min": layouts.write_label_studio_min,
           "via": layouts.write_via, "via csv": layouts.write_via_csv, "csv": layouts.write_csv,
           "createml": layouts.write_createml}  # fmt: skip
NAMELESS = {"csv"}  # pictures without boxes are not in it
ONE_NAME = {"csv", "createml", "label studio", "label studio min"}  # two pictures of one name are one to it

BOX = (("cat", (4, 6, 14, 21)),)
STEMS = ("x", "y", "a b", "Bild é", "1", "x.1", "50%", "#7")
FOLDERS = ("", "train", "val", "images", "one", "one/two", "X")


@st.composite
def boxes(draw_from, width: int, height: int):
    x1, y1 = draw_from(st.integers(0, width - 3)), draw_from(st.integers(0, height - 3))
    x2, y2 = draw_from(st.integers(x1 + 2, width)), draw_from(st.integers(y1 + 2, height))
    return draw_from(st.sampled_from(("cat", "dog", "007", "Käse & <Brot>"))), (x1, y1, x2, y2)


@st.composite
def sets(draw_from):
    """Layout, spelling, and the pictures; whether each is still there."""
    kind = draw_from(st.sampled_from([*BY_PLACE, *BY_NAME]))
    spelling = "path" if kind in BY_PLACE else draw_from(st.sampled_from(list(SPELLINGS)))
    shots, paths = [], set()
    for _ in range(draw_from(st.integers(1, 5))):
        folder, stem = draw_from(st.sampled_from(FOLDERS)), draw_from(st.sampled_from(STEMS))
        path = str(PurePosixPath(folder, stem + draw_from(st.sampled_from((".png", ".PNG", ".bmp")))))
        if kind == "supervisely":
            path = f"set {folder}/img/{PurePosixPath(path).name}"
        key = path.casefold() if spelling == "path" else str(PurePosixPath(path).with_suffix("")).casefold()
        if key in paths or (
            kind in ONE_NAME and SPELLINGS[spelling](path) in {one.named for one in shots}
        ):  # a name that says less than the path must not be that of another picture of the folder
            continue
        paths.add(key)
        size = draw_from(st.sampled_from(((40, 30), (30, 40), (64, 48))))
        found = tuple(draw_from(st.lists(boxes(*size), max_size=3)))
        split = draw_from(st.sampled_from(("train", "val"))) if kind in ("cvat", "darknet") else None
        split = split and (split_of(PurePosixPath(path)) or split)
        shots.append(Shot(path, SPELLINGS[spelling](path), *size, found, split))
    # what two pictures share by what is written of them, be it a label file or a name, nothing can tell apart
    said = [_stem(one.path) if kind in BY_PLACE or kind == "labelme" else _stem(one.named) for one in shots]
    there = [said.count(key) > 1 or draw_from(st.integers(0, 5)) > 0 for key in said]
    return kind, spelling, shots, there


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix("")).casefold()


def run(source: Path, target: Path) -> tuple[int, str]:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main([str(source), "--out", str(target), "--val", "0.5"])
    return code, told.getvalue()


def _folders(shots: list[Shot]) -> set[str]:
    return {part for one in shots for part in PurePosixPath(one.path).parts}


def base(path: str) -> str:
    return unicodedata.normalize("NFC", PurePosixPath(path).stem).casefold()


def check(kind: str, spelling: str, shots: list[Shot], there: list[bool], root: Path) -> None:
    source = root / "src"
    made = draw(source, shots)
    (BY_PLACE | BY_NAME)[kind](source, shots)
    for one, kept in zip(shots, there, strict=True):
        if not kept:
            (source / one.path).unlink()
    code, told = run(source, root / "dst")
    assert code in (0, 2), told
    if code:
        assert told.splitlines()[-1].startswith("error: "), told
        alike = Counter(base(one.path) for one in shots)
        trains = {one.split for one in shots} & {"train", None} and {*FOLDERS[1:3]}.isdisjoint(_folders(shots))
        enough = len(shots) >= 3 and all(there) and max(alike.values()) == 1 and any(one.boxes for one in shots)
        enough = enough and (kind not in NAMELESS or all(one.boxes for one in shots))
        assert not (enough and trains), told
        return
    found = converted(root / "dst")
    for data, (_, got) in found.items():
        assert same(got, made[data].boxes), (made[data], got, told)
    gone = [one for one in made.values() if not any(made[data] is one for data in found)]
    if any(one.boxes for one in gone):
        assert "skipped: " in told, (gone, told)


@given(sets())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_a_box_is_never_on_another_picture(case):
    with tempfile.TemporaryDirectory() as folder:
        check(*case, Path(folder))


def test_a_folder_of_other_annotations_lends_no_picture(tmp_path):
    """Two tasks number their pictures alike; one was exported without them."""
    shots = [Shot("t1/images/x.png", "x.png", 40, 30, ()), Shot("t1/images/y.png", "y.png", 40, 30, BOX),
             Shot("t1/images/z.png", "z.png", 40, 30, BOX), Shot("t2/x.png", "x.png", 40, 30, BOX)]  # fmt: skip
    draw(tmp_path / "src", shots[:3])
    layouts.write_cvat(tmp_path / "src" / "t1", shots[1:3])
    layouts.write_cvat(tmp_path / "src" / "t2", shots[3:])
    code, told = run(tmp_path / "src", tmp_path / "dst")
    assert code == 0
    assert "x.png of images/ belongs to other annotations" in told
    assert len(converted(tmp_path / "dst")) == 2


def test_a_path_into_a_folder_that_is_there_names_no_picture_elsewhere(tmp_path):
    shots = [Shot(f"{name}.png", f"{name}.png", 40, 30, BOX) for name in "abc"]
    draw(tmp_path / "src", shots)
    (tmp_path / "src" / "pictures").mkdir()
    named = [Shot("", "pictures/a.png", 40, 30, BOX), Shot("", "/home/me/b.png", 40, 30, BOX), shots[2]]
    layouts.write_csv(tmp_path / "src", named)
    code, told = run(tmp_path / "src", tmp_path / "dst")
    assert code == 0
    assert "its picture 'pictures/a.png' is missing" in told
    assert "pictures found by their base name alone: 1" in told


@pytest.mark.parametrize("kind", [*BY_PLACE, *BY_NAME])
def test_a_plain_set_is_whole(kind, tmp_path):
    folder = "set/img/" if kind == "supervisely" else ""
    shots = [
        Shot(f"{folder}{name}.png", f"{folder}{name}.png", 40, 30, ((label, (4, 6, 14, 21)), ("dog", (0, 0, 40, 30))))
        for name, label in (("p0", "cat"), ("p 1", "Käse"), ("é", "dog"), ("4", "007"))
    ]
    check(kind, "path", shots, [True] * 4, tmp_path)
    assert len(converted(tmp_path / "dst")) == 4
    shutil.rmtree(tmp_path / "dst")
    shutil.rmtree(tmp_path / "src")
    check(kind, "path", shots, [True, True, False, False], tmp_path)
    put(tmp_path / "done", "")
