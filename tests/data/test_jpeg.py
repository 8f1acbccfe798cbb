"""JPEGs cut off anywhere: those that lack the end marker alone are used, pixel for pixel; all others are not."""

from __future__ import annotations

import functools
import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.jpeg import is_whole, lacks_end, with_end
from data.pictures import BadPictureError, check_picture, decode

KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "no subsampling": {"subsampling": 0, "quality": 95},
    "poor": {"quality": 20},
    "a restart each block": {"restart_marker_blocks": 1},
    "a restart each row": {"restart_marker_rows": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
    "grey": {"mode": "L"},
    "grey, progressive": {"mode": "L", "progressive": True},
    "four inks": {"mode": "CMYK"},
}
SIZES = [(17, 90), (37, 53), (64, 64)]


@functools.cache
def encoded(kind: str, size: tuple[int, int]) -> bytes:
    height, width = size
    noise = np.random.default_rng(height).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    image = Image.fromarray(cv2.resize(noise, (width, height)))
    options = dict(KINDS[kind])
    buffer = io.BytesIO()
    image.convert(options.pop("mode", "RGB")).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def accepted(data: bytes) -> bool:
    try:
        check_picture(data)
    except BadPictureError:
        return False
    return True


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_near_the_end_only_the_marker_may_be_missing(kind: str, size: tuple[int, int]) -> None:
    data = encoded(kind, size)
    assert not lacks_end(data)
    assert accepted(data)
    for cut in (1, 2):
        assert accepted(data[:-cut])
        np.testing.assert_array_equal(pixels(with_end(data[:-cut])), pixels(data))
    for cut in range(3, 40):
        if accepted(data[:-cut]):  # the last bits may be nothing but padding
            np.testing.assert_array_equal(pixels(with_end(data[:-cut])), pixels(data))


@given(st.sampled_from(list(KINDS)), st.sampled_from(SIZES), st.floats(0, 1), st.sampled_from([b"", bytes(500)]))
def test_nothing_with_pixels_missing_is_used(kind: str, size: tuple[int, int], part: float, filling: bytes) -> None:
    """Also where a download had its full length before its content: zeros follow."""
    data = encoded(kind, size)
    cut = data[: int(part * (len(data) - 2))]
    if accepted(cut + filling):
        np.testing.assert_array_equal(pixels(with_end(cut)), pixels(data))


def test_a_cut_between_the_passes_of_a_progressive_picture_is_seen() -> None:
    """All rows are there then, but blurred."""
    data = encoded("progressive", (64, 64))
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for at in scans[1:]:
        assert lacks_end(data[:at])
        assert not is_whole(data[:at])


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\xff" * 3, b"made by a scanner", b"\xff\xda and more"], ids=repr)
def test_what_follows_the_end_of_a_whole_picture_does_not_matter(tail: bytes) -> None:
    data = encoded("baseline", (37, 53)) + tail
    assert not lacks_end(data)
    assert accepted(data)


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\xff" * 3], ids=repr)
def test_filling_in_place_of_the_end_marker(tail: bytes) -> None:
    data = encoded("baseline", (37, 53))
    assert lacks_end(data[:-2] + tail)
    assert accepted(data[:-2] + tail)


def test_a_second_picture_that_is_cut_off_does_not_matter() -> None:
    first = encoded("baseline", (37, 53))
    assert accepted(first + encoded("baseline", (64, 64))[:-50])
    assert not lacks_end(first + encoded("baseline", (64, 64))[:-50])


def test_a_preview_inside_is_not_taken_for_the_picture() -> None:
    """The preview has an end marker of its own."""
    exif = Image.Exif()
    exif[0x010E] = "preview"
    preview = encoded("baseline", (17, 90))
    buffer = io.BytesIO()
    Image.open(io.BytesIO(encoded("baseline", (64, 64)))).save(buffer, "JPEG", exif=exif.tobytes() + preview)
    data = buffer.getvalue()
    assert preview in data
    assert accepted(data[:-2])
    for cut in (60, len(data) - data.index(preview) - len(preview) - 20, len(data) - data.index(preview) - 100):
        assert not accepted(data[:-cut])


def test_four_inks_without_the_end_marker_decode(tmp_path) -> None:
    data = encoded("four inks", (37, 53))
    for name, content in (("whole.jpg", data), ("cut.jpg", data[:-2])):
        (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(decode(tmp_path / "cut.jpg"), decode(tmp_path / "whole.jpg"))
