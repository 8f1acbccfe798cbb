"""Conversion: coordinates, the split, what is skipped and said, and that nothing of the user's is lost."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data.convert import main
from data.converters.annotations import fit_box, yolo_row
from data.converters.finder import PictureFinder, Unusable
from data.converters.source import Record
from data.converters.splits import split
from data.sample import render


def picture(path: Path, width: int = 40, height: int = 30, channels: int = 3) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 255, (height, width, channels), np.uint8)
    data = cv2.imencode(path.suffix, noise)[1].tobytes()
    path.write_bytes(data)
    return data


def voc_xml(name: str, *objects: tuple, width: int = 40, height: int = 30, head: str = "") -> str:
    rows = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2, difficult in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"{head}<annotation><filename>{name}</filename>{size}{rows}</annotation>"


@pytest.fixture
def voc(tmp_path):
    """Ten pictures of the Kaggle layout, one of them an RGBA PNG."""
    root = tmp_path / "src"
    (root / "annotations").mkdir(parents=True)
    for number in range(10):
        name = f"p{number}.png" if number == 3 else f"p{number}.jpg"
        picture(root / "images" / name, channels=4 if number == 3 else 3)
        label = ("with_mask", "without_mask", "mask_weared_incorrect")[number % 3]
        (root / "annotations" / f"p{number}.xml").write_text(voc_xml(name, (label, 4, 6, 14, 21, 0)), encoding="utf-8")
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def run(capsys, *argv) -> tuple[int, str, str]:
    code = main([str(word) for word in argv])
    return code, *capsys.readouterr()


@given(st.data(), st.integers(1, 8000), st.integers(1, 8000))
def test_yolo_round_trip(data, width, height):
    """Six decimals put a corner off by at most half a unit of the last (the centre) and a quarter (half the size)."""
    xs = sorted(data.draw(st.lists(st.floats(0, width), min_size=2, max_size=2)))
    ys = sorted(data.draw(st.lists(st.floats(0, height), min_size=2, max_size=2)))
    corners = (xs[0], ys[0], xs[1], ys[1])
    index, cx, cy, w, h = (float(v) for v in yolo_row(7, corners, width, height).split())
    assert index == 7
    back = ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height)
    for got, want, side in zip(back, corners, (width, height, width, height), strict=True):
        assert abs(got - want) <= 0.7501e-6 * side


@given(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 4), st.integers(1, 500), st.integers(1, 500))
def test_fitted_boxes_lie_in_the_picture(corners, width, height):
    fitted, reason = fit_box(corners, width, height)
    assert (fitted is None) == bool(reason)
    if fitted:
        x1, y1, x2, y2 = fitted
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


@given(st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=60), st.floats(0.01, 0.99), st.integers(0, 9))
def test_split_ignores_order(names, share, seed):
    forward = split(sorted(names), share, seed)
    assert forward == split(sorted(names, reverse=True), share, seed)
    assert 1 <= len(forward) < len(names)
    assert len(forward) < len(names) * share + 1 or len(forward) == 1


def test_split_is_the_same_on_every_machine():
    names = [f"maksssksksss{number}.jpg" for number in range(20)]
    assert sorted(split(names, 0.15, 0)) == ["maksssksksss18.jpg", "maksssksksss2.jpg", "maksssksksss7.jpg"]
    assert split(names, 0.15, 0) != split(names, 0.15, 1)


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "..\\x.jpg", "C:\\x.jpg", "", "a\0.jpg"])
def test_names_that_lead_outside(name, tmp_path):
    root = tmp_path / "src"
    picture(root / "in.jpg")
    picture(tmp_path / "x.jpg")
    with pytest.raises(Unusable):
        PictureFinder([root]).find(Record("a.xml", name, (root,)))


def test_voc(voc, tmp_path, capsys):
    out = tmp_path / "deep" / "dst"
    code, text, _ = run(capsys, "voc", voc, "--out", out, "--val", 0.25, "--seed", 4)
    assert code == 0
    assert "10 pictures: 7 train, 3 val" in text
    made = tree(out)
    assert len(made) == 21
    source = tree(voc / "images")
    assert {Path(name).name: data for name, data in made.items() if name.startswith("images")} == source
    row = next(data for name, data in made.items() if name.endswith("p1.txt"))
    assert row == b"1 0.225000 0.450000 0.250000 0.500000\n"
    content = yaml.safe_load(made["data.yaml"])
    assert content["names"] == {0: "with_mask", 1: "without_mask", 2: "mask_weared_incorrect"}
    assert (out / content["train"]).is_dir()
    assert (out / content["val"]).is_dir()
    run(capsys, "voc", voc, "--out", tmp_path / "again", "--val", 0.25, "--seed", 4)
    assert tree(tmp_path / "again") == made


def test_names_sorted_or_chosen(voc, tmp_path, capsys):
    extra = voc_xml("p0.jpg", ("helmet", 1, 1, 9, 9, 0))
    (voc / "annotations" / "p0.xml").write_text(extra, encoding="utf-8")
    run(capsys, "voc", voc, "--out", tmp_path / "a")
    names = yaml.safe_load((tmp_path / "a" / "data.yaml").read_text(encoding="utf-8"))["names"]
    assert list(names.values()) == ["helmet", "mask_weared_incorrect", "with_mask", "without_mask"]
    _, text, _ = run(capsys, "voc", voc, "--out", tmp_path / "b", "--names", "without_mask,with_mask")
    names = yaml.safe_load((tmp_path / "b" / "data.yaml").read_text(encoding="utf-8"))["names"]
    assert names == {0: "without_mask", 1: "with_mask"}
    assert "boxes of classes not in --names, left out: 4\n" in text
    code, _, error = run(capsys, "voc", voc, "--out", tmp_path / "c", "--names", "with_musk")
    assert code == 2
    assert "did you mean 'with_mask'?" in error


LAUGHS = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>'
BROKEN = {
    "missing": (voc_xml("nowhere.jpg"), "'nowhere.jpg' is missing"),
    "climbs": (voc_xml("../../secret.jpg"), "lies outside src/"),
    "cut": (voc_xml("p0.jpg")[:-20], "line 1: broken XML"),
    "laughs": (voc_xml("&y;", head=LAUGHS), "has a DOCTYPE"),
    "utf16": ('<?xml version="1.0" encoding="utf-16"?>' + voc_xml("&y;", head=LAUGHS), "has a DOCTYPE"),
    "size": (voc_xml("p0.jpg", width=30, height=40), "made for 30x40 pixels, but p0.jpg has 40x30"),
    "again": (voc_xml("p5.jpg"), "p5.jpg has an annotation already"),
    "encoding": ('<?xml version="1.0" encoding="klingon"?><annotation/>', "q_encoding.xml: "),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_annotations_are_skipped_and_said(kind, voc, tmp_path, capsys):
    text, message = BROKEN[kind]
    data = text.encode("utf-16" if kind == "utf16" else "utf-8")
    (voc / "annotations" / f"q_{kind}.xml").write_bytes(data)
    code, text, _ = run(capsys, "voc", voc, "--out", tmp_path / "dst")
    assert code == 0
    assert message in text
    assert f"skipped annotations/q_{kind}.xml: " in text
    assert "\nskipped: 1\n" in text
    assert "10 pictures" in text


def test_broken_pictures_and_objects(voc, tmp_path, capsys):
    (voc / "images" / "p0.jpg").write_bytes(b"")
    (voc / "images" / "p1.jpg").write_bytes((voc / "images" / "p1.jpg").read_bytes()[:200])
    objects = [("with_mask", -3, 2, 99, 9, 1), ("with_mask", 5, 5, 5, 9, 0), ("with_mask", 50, 5, 60, 9, 0),
               ("with_mask", "nan", 5, 6, 9, 0), ("with_mask", "x", 5, 6, 9, 0), ("with_mask", 1, 2, 3, 4, 0),
               ("with_mask", 1, 2, 3, 4, 0)]  # fmt: skip
    (voc / "annotations" / "p2.xml").write_text(voc_xml("p2.jpg", *objects), encoding="utf-8")
    (voc / "annotations" / "p4.xml").write_text(voc_xml("p4.jpg"), encoding="utf-8")
    code, text, _ = run(capsys, "voc", voc, "--out", tmp_path / "dst")
    assert code == 0
    for line in ("p0.xml: p0.jpg: empty file", "p1.xml: p1.jpg: ", "object 2: its box has no area",
                 "object 3: its box lies outside", "object 4: a coordinate is not a number",
                 "object 5: it lacks a class", "clipped to their picture: 1\n", "treated like the others: 1\n",
                 "given twice, kept once: 1\n", "skipped: 6\n", "8 pictures", "kept as background: 1\n",
                 "without a usable annotation, left out: 2\n"):  # fmt: skip
        assert line in text, line
    made = tree(tmp_path / "dst")
    rows = next(data for name, data in made.items() if name.endswith("p2.txt"))
    assert rows.splitlines()[0] == b"0 0.500000 0.183333 1.000000 0.233333"
    assert len(rows.splitlines()) == 2
    assert next(data for name, data in made.items() if name.endswith("p4.txt")) == b""


def test_nothing_of_the_users_is_overwritten(voc, tmp_path, capsys):
    out = tmp_path / "dst"
    out.mkdir()
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    before = tree(tmp_path)
    code, _, error = run(capsys, "voc", voc, "--out", out)
    assert code == 2
    assert error.count("\n") == 1
    assert "not empty" in error
    assert tree(tmp_path) == before


def test_sample_is_replaced_unless_added_to(voc, tmp_path, capsys):
    out = tmp_path / "mask"
    render(out, train=2, val=1)
    (out / "images" / "train" / "mine.jpg").write_bytes(b"x")
    code, _, error = run(capsys, "voc", voc, "--out", out)
    assert code == 2
    assert "images/train/mine.jpg" in error
    (out / "images" / "train" / "mine.jpg").unlink()
    code, text, _ = run(capsys, "voc", voc, "--out", out)
    assert code == 0
    assert "the drawn sample was replaced" in text
    assert not (out / "SAMPLE.txt").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mask", "src"]
