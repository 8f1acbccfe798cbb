"""One label file: what is kept, what is left out, and that each fault is told with its line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.labels import MAX_BYTES, TOLERANCE, parse_labels


def one_note(text: str, classes: int = 3, **options):
    """The parse of a good row, `text`, and another good row; the note on line 2."""
    parsed = parse_labels(f"0 0.5 0.5 0.2 0.2\n{text}\n1 0.5 0.5 0.1 0.1\n".encode(), classes, **options)
    assert len(parsed.rows) == 2
    assert [line for line, _ in parsed.notes] == [2]
    assert "\n" not in parsed.notes[0][1]
    return parsed, parsed.notes[0][1]


def test_good_rows_keep_their_numbers():
    parsed = parse_labels(b"\xef\xbb\xbf0 0.1 0.2 0.05 0.0625\r\n\r\n  2\t0.5 0.5 1 1.0 \n", 3)
    assert parsed.rows.dtype == np.float32
    np.testing.assert_array_equal(parsed.rows, np.float32([[0, 0.1, 0.2, 0.05, 0.0625], [2, 0.5, 0.5, 1, 1]]))
    assert (parsed.skipped, parsed.clipped, parsed.duplicates, parsed.polygons, parsed.notes) == (0, 0, 0, 0, [])


@pytest.mark.parametrize("data", [b"", b"\n\n", b"  \r\n"])
def test_empty_files_are_background(data):
    parsed = parse_labels(data, 3)
    assert parsed.rows.shape == (0, 5)
    assert parsed.skipped == 0
    assert not parsed.notes


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("0 0.5 0.5 0.2", "4 columns"),
        ("0 0.5 0.5 0.2 1.2 0.9", "6 columns, skipped"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.1", "8 columns"),
        ("0,,0.5,0.5,0.2,0.2", "not numbers"),
        ("0 0,5 0,5 0,2 0.2", "columns"),
        ("mask 0.5 0.5 0.2 0.2", "not numbers"),
        ("0 nan 0.5 0.2 0.2", "not finite"),
        ("0 0.5 0.5 inf 0.2", "not finite"),
        ("nan 0.5 0.5 0.2 0.2", "not finite"),
        ("0 0.1 0.1 nan 0.1 0.2 0.2", "not finite"),
        ("1.5 0.5 0.5 0.2 0.2", "whole number"),
        ("-1 0.5 0.5 0.2 0.2", "whole number"),
        ("0 1.1 0.5 0.2 0.2", "outside"),
        ("0 320 240 64 64", "outside"),
        ("0 -0.1 0.5 0.2 0.2", "outside"),
        ("0 1e308 -1e308 1e308 0.2", "outside"),
        ("0 0.1 0.1 1.6 0.1 0.2 0.2", "outside"),
        ("0 320 240 330 240 330 250", "outside"),
        ("0 1.1 0.1 1.4 0.1 1.2 0.2", "outside"),
        ("0 0.5 0.5 -0.2 0.2", "zero or less"),
        ("0 0.5 0.5 0.2 0", "zero or less"),
        ("0 0.1 0.1 0.1 0.2 0.1 0.3", "zero or less"),
        ("0 -0.0005 0.5 0.0001 0.2", "zero or less"),
    ],
)
def test_bad_rows_are_left_out_with_their_line(row, word):
    parsed, note = one_note(row)
    assert word in note
    assert (parsed.skipped, parsed.unknown, parsed.polygons) == (1, 0, 0)


def test_classes_beyond_the_names():
    parsed, note = one_note("3 0.5 0.5 0.2 0.2")
    assert "class 3 is beyond the 3 names (0 to 2)" in note
    assert "class 1 is beyond the 1 name (0)" in parse_labels(b"1 0.5 0.5 0.2 0.2\n", 1).notes[0][1]
    assert (parsed.skipped, parsed.unknown) == (1, 1)


def test_single_class_maps_every_class_to_zero():
    parsed = parse_labels(b"0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.2 0.2", 1, single_class=True)
    assert parsed.rows[:, 0].tolist() == [0, 0]
    assert (parsed.skipped, parsed.duplicates) == (0, 1)  # without its class the third repeats the first
    assert "whole number" in one_note("-1 0.5 0.5 0.3 0.2", 1, single_class=True)[1]


def test_duplicates_are_dropped_once_each():
    parsed = parse_labels(b"1 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n1 0.50 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2", 3)
    assert parsed.rows[:, 0].tolist() == [1, 0]
    assert parsed.duplicates == 2
    assert [line for line, _ in parsed.notes] == [3, 4]
    assert "line 1" in parsed.notes[0][1]


@pytest.mark.parametrize(
    ("row", "box"),
    [
        ("0 0.6 0.2 1.0021 0.2 1.0021 0.7 0.6 0.7", (0.8, 0.45, 0.4, 0.5)),
        ("0 0.7 0.1 1.0371 0.15 1.03 0.5 0.69 0.45", (0.845, 0.3, 0.31, 0.4)),
        ("0 -0.2 0.1 1.2 0.1 0.5 0.3", (0.5, 0.2, 1, 0.2)),
    ],
)
def test_corners_outside_are_clipped_as_boxes_are(row, box):
    parsed = parse_labels(f"{row}\n".encode(), 1)
    np.testing.assert_allclose(parsed.rows, [[0, *box]], atol=1e-6)
    assert (parsed.polygons, parsed.clipped, parsed.notes) == (1, 1, [])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0 0.5 0.5 0.2 0.3 0.9", "a score"),
        ("0 0.5 0.5 0.2 0.3 0.9 17", "a track"),
        ("0 0.5 0.5 0.2 0.3 0.9 1", "corners"),
    ],
)
def test_detections_with_score_and_track_are_no_polygons(row, words):
    parsed = parse_labels(f"{row}\n".encode(), 1)
    np.testing.assert_allclose(parsed.rows, [[0, 0.5, 0.5, 0.2, 0.3]])
    assert (parsed.polygons, parsed.skipped) == (0, 0)
    ((line, note),) = parsed.notes
    assert line == 1
    assert "box with a score" in note
    assert words in note


def test_a_triangle_stays_a_polygon():
    parsed = parse_labels(b"0 0.1 0.1 0.5 0.2 0.3 0.4\n", 1)
    np.testing.assert_allclose(parsed.rows, [[0, 0.3, 0.25, 0.4, 0.3]], atol=1e-7)
    assert (parsed.polygons, parsed.notes) == (1, [])


def test_polygons_become_their_boxes():
    parsed = parse_labels(b"2 0.1 0.2 0.5 0.3 0.3 0.8\n0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75", 3)
    np.testing.assert_allclose(parsed.rows, [[2, 0.3, 0.5, 0.4, 0.6], [0, 0.5, 0.5, 0.5, 0.5]], rtol=1e-6)
    assert parsed.polygons == 2
    assert not parsed.notes


def test_boxes_leaving_the_picture_are_clipped():
    parsed = parse_labels(b"0 0.1 0.5 0.4 0.5\n0 0.95 1.0 0.2 0.2", 3)
    np.testing.assert_allclose(parsed.rows[:, 1:], [[0.15, 0.5, 0.3, 0.5], [0.925, 0.95, 0.15, 0.1]], rtol=1e-6)
    assert parsed.clipped == 2
    assert parsed.skipped == 0
    rounding = parse_labels(b"0 0.1 0.5 0.200001 0.5\n1 1.0005 0.5 0.5 0.5", 3)
    assert rounding.clipped == 1  # the second only: the first is off by less than a written digit
    assert len(rounding.rows) == 2


@pytest.mark.parametrize("data", [b"\x89PNG\0\0\r\n" * 10, b"0 0.5 0.5 0.2 0.2\n" * (MAX_BYTES // 18 + 1)])
def test_files_that_are_no_labels(data):
    parsed = parse_labels(data, 3)
    assert len(parsed.rows) == 0
    assert parsed.skipped == 1
    assert parsed.notes[0][0] == 0


number = st.one_of(st.floats(-0.1, 1.2), st.floats(), st.integers(-2, 5), st.sampled_from(["x", "1e400", "nan", "0x1"]))
rows = st.lists(st.lists(number, min_size=0, max_size=9), max_size=8)


@settings(deadline=None)
@given(rows=rows, single=st.booleans())
def test_whatever_is_written_what_is_kept_is_sound(rows, single):
    data = "\n".join(" ".join(map(str, row)) for row in rows).encode()
    parsed = parse_labels(data, 3, single)
    written = sum(1 for row in rows if row)
    assert len(parsed.rows) + parsed.skipped + parsed.duplicates == written
    assert len(parsed.notes) == parsed.skipped + parsed.duplicates
    boxes = parsed.rows.astype(np.float64)
    assert np.isin(boxes[:, 0], [0] if single else [0, 1, 2]).all()
    assert (boxes[:, 3:] > 0).all()
    assert (boxes[:, 1:3] - boxes[:, 3:] / 2 >= -1e-6).all()
    assert (boxes[:, 1:3] + boxes[:, 3:] / 2 <= 1 + 1e-6).all()
    assert len(np.unique(parsed.rows, axis=0)) == len(parsed.rows)


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_survived(data):
    parse_labels(data, 3)


def test_tolerance_is_under_a_pixel():
    assert TOLERANCE * 640 < 1


WRITINGS = {
    "commas": lambda rows: "\n".join(",".join(row) for row in rows),
    "commas and blanks": lambda rows: "\n".join(", ".join(row) for row in rows),
    "semicolons": lambda rows: "\n".join(";".join(row) for row in rows),
    "decimal commas": lambda rows: "\n".join(" ".join(row).replace(".", ",") for row in rows),
    "tabs and CRLF": lambda rows: "\r\n".join("\t".join(row) for row in rows) + "\r\n",
    "blank lines": lambda rows: "\n\n  " + "\n \n".join("  ".join(row) + " " for row in rows),
    "whole classes with a dot": lambda rows: "\n".join(" ".join([f"{row[0]}.0", *row[1:]]) for row in rows),
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark", "utf-16-be-mark"]


def _encode(text: str, encoding: str) -> bytes:
    name = encoding.removesuffix("-mark")
    return ("\ufeff" + text if name != encoding else text).encode(name)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), *[st.integers(3000, 7000)] * 2, *[st.integers(1, 5999)] * 2),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    st.sampled_from(list(WRITINGS)),
    st.sampled_from(ENCODINGS),
)
def test_however_the_numbers_are_written_they_are_the_same(numbers, writing, encoding):
    rows = [[str(c), *(f"{value / 10000:.4f}" for value in values)] for c, *values in numbers]
    parsed = parse_labels(_encode(WRITINGS[writing](rows), encoding), 4)
    np.testing.assert_array_equal(parsed.rows, np.array(rows, np.float64).astype(np.float32))
    assert not parsed.notes
    assert parsed.skipped == parsed.polygons == parsed.clipped == 0
    assert len(parsed.lines) == len(parsed.overhang) == len(rows)


@pytest.mark.parametrize("row", ["0 .5 .5 .2 .2" + " .1 .1" * 4, "0 .5 .5 .2 .2" + " .1 .9 2" * 17, "0 .5 .5 .2 .2 .3"])
def test_key_points_behind_a_box_are_passed_over(row):
    parsed = parse_labels(row.encode(), 1, poses=True)
    np.testing.assert_array_equal(parsed.rows, np.float32([[0, 0.5, 0.5, 0.2, 0.2]]))
    assert not parsed.notes
    assert not parsed.polygons


@pytest.mark.parametrize("track", ["-1", "0", "7", "12.0"])
def test_a_score_and_a_track_are_no_third_corner(track):
    parsed = parse_labels(f"0 .5 .5 .2 .2 .9 {track}".encode(), 1)
    np.testing.assert_array_equal(parsed.rows, np.float32([[0, 0.5, 0.5, 0.2, 0.2]]))
    assert "as a box with a score and a track, not as three corners" in parsed.notes[0][1]
