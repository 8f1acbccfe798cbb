"""Boxes around turned shapes, numbers by value, XML from anybody, and the names of splits."""

from __future__ import annotations

import math
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.converters.json_files import load_json, matching, text_of
from data.converters.shapes import around, ellipse, number, points_of, size_of, turned
from data.converters.split_names import split_name, split_of
from data.converters.xml_files import load_xml
from utils.errors import UserError

SIDE = st.floats(-500, 500)


@given(SIDE, SIDE, st.floats(1, 300), st.floats(1, 300), st.integers(-8, 8))
def test_quarter_turns_swap_the_sides(x, y, width, height, quarters):
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    w, h = (height, width) if quarters % 2 else (width, height)
    assert turned(box, 90 * quarters, (x, y)) == pytest.approx((x - w / 2, y - h / 2, x + w / 2, y + h / 2), abs=1e-9)
    assert ellipse(x, y, width, height, 90 * quarters) == pytest.approx((x - w, y - h, x + w, y + h), abs=1e-9)


@given(st.floats(0, 360), st.floats(1, 90), st.floats(1, 90))
def test_a_turned_ellipse_touches_its_box(degrees, rx, ry):
    turn = math.radians(degrees)
    rim = [(rx * math.cos(t / 500), ry * math.sin(t / 500)) for t in range(3142)]
    rim = [(x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in rim]
    assert around(rim) == pytest.approx(ellipse(0, 0, rx, ry, degrees), abs=1e-3)


def test_a_box_turned_about_its_corner_turns_clockwise():
    assert turned((10, 10, 30, 20), 90, (10, 10)) == pytest.approx((0, 10, 10, 30))


def test_numbers_by_value():
    assert [number(v) for v in (1, 1.0, "1", " 1.0 ", "1,0")] == [1.0] * 5
    assert [number(v) for v in (None, True, "", "x", [], {}, 10**400)] == [None] * 7
    assert size_of("640", 480.0) == (640, 480)
    assert size_of(0, 480) is size_of(None, 3) is size_of("wide", 3) is None
    assert points_of([["1", 2], (3, "4,5")]) == [(1, 2), (3, 4.5)]
    assert points_of([]) is points_of([1, 2]) is points_of([[1]]) is points_of([[1, "x"]]) is None
    assert [text_of(v) for v in (" a ", 7, 7.0, "\ud800b", None, True, [])] == ["a", "7", "7", "b", "", "", ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "gb18030", "shift_jis"])
def test_any_encoding_of_xml(tmp_path, encoding):
    label = "Käse" if encoding in ("latin-1", "cp1252") else "猫"
    declared = encoding.removesuffix("-sig")
    file = tmp_path / "a.xml"
    file.write_bytes(f'<?xml version="1.0" encoding="{declared}"?>\n<a><b>{label}</b></a>'.encode(encoding))
    assert load_xml(file).findtext("b") == label


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY x "ha">]><a>&x;</a>', "DOCTYPE"),
        ("<a>&x;</a>", "broken XML"),
        ("<a>", "broken XML"),
        ("", "broken XML"),
    ],
)
def test_hostile_xml_is_refused(tmp_path, encoding, text, message):
    (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding))
    with pytest.raises(UserError, match=message):
        load_xml(tmp_path / "a.xml")


def test_xml_that_names_no_encoding(tmp_path):
    (tmp_path / "a.xml").write_bytes(b'<?xml version="1.0" encoding="klingon"?><a/>')
    with pytest.raises(UserError, match="cannot be decoded"):
        load_xml(tmp_path / "a.xml")
    with pytest.raises(UserError, match="larger than"):
        load_xml(tmp_path / "a.xml", largest=3)
    with pytest.raises(UserError, match="cannot be read"):
        load_xml(tmp_path)


def test_json_in_other_encodings(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        (tmp_path / f"{encoding}.json").write_bytes('{"shapes": "猫"}'.encode(encoding))
        assert load_json(tmp_path / f"{encoding}.json") == {"shapes": "猫"}
    (tmp_path / ".hidden.json").write_text('{"shapes": 1}', encoding="utf-8")
    (tmp_path / "B.JSON").write_text('{"other": 1}', encoding="utf-8")
    assert len(list(matching(tmp_path, lambda text: '"shapes"' in text))) == 4


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"])
def test_broken_json_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json.* JSON"):
        load_json(tmp_path / "a.json")


def test_names_of_splits():
    said = {"Train": "train", "train2017": "train", "train_images": "train", "valid": "val", "val2017": "val",
            "Validation": "val", "test_set": "test", "Test 2": "test", "trainer": None, "images": None,
            "obj_train_data": None, "": None, "valley": None}  # fmt: skip
    assert {name: split_name(name) for name in said} == said
    assert split_of(PurePath("train/images/val.jpg")) == "train"
    assert split_of(PurePath("train/old/test/images/x.jpg")) == "test"
    assert split_of(PurePath("test.jpg")) is None
