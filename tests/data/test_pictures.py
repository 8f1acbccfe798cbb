"""Real files of every kind a data set may hold: decoded as they look, or refused with a reason."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from data import pictures
from data.jpeg import lacks_end
from data.pictures import BadPictureError, check_picture, decode
from tests.data.pictures import pattern, write_picture
from utils.errors import UserError


def sound(path) -> np.ndarray:
    """The decoded picture, which must agree with the check's shape."""
    pixels = decode(path)
    assert pixels.shape == (*check_picture(path.read_bytes()), 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    return pixels


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp"])
def test_lossless_kinds_keep_every_pixel(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    np.testing.assert_array_equal(sound(write_picture(tmp_path / f"a{suffix}", **options)), pattern())


def test_jpeg_is_rgb_and_close(tmp_path):
    difference = sound(write_picture(tmp_path / "a.jpg", pattern(48, 80))).astype(int) - pattern(48, 80)
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_rotation(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    path = write_picture(tmp_path / f"turned{suffix}", exif=exif, **options)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert upright.shape[:2] == ((40, 24) if orientation >= 5 else (24, 40))
    np.testing.assert_allclose(sound(path), upright, atol=3 if suffix == ".jpg" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_broken_exif_is_no_reason_to_refuse(tmp_path):
    path = write_picture(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert sound(path).shape == (24, 40, 3)
    nine = Image.Exif()
    nine[0x0112] = 9
    assert sound(write_picture(tmp_path / "b.jpg", exif=nine)).shape == (24, 40, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif"])
def test_grey(tmp_path, suffix):
    grey = pattern()[..., 0]
    pixels = sound(write_picture(tmp_path / f"grey{suffix}", grey))
    np.testing.assert_allclose(pixels[..., 0], grey, atol=3 if suffix == ".jpg" else 0)
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, suffix, channels):
    deep = pattern()[..., :channels].astype(np.uint16) * 256 + 77
    path = tmp_path / f"deep{suffix}"
    assert cv2.imwrite(str(path), deep[..., ::-1] if channels == 3 else deep)
    np.testing.assert_allclose(sound(path), np.broadcast_to(pattern()[..., :channels], (24, 40, 3)), atol=1)


def test_cmyk(tmp_path):
    for suffix in (".jpg", ".tif"):
        path = tmp_path / f"cmyk{suffix}"
        Image.fromarray(pattern()).convert("CMYK").save(path)
        assert np.abs(sound(path).astype(int) - pattern()).mean() < 8


def test_transparency_is_dropped(tmp_path):
    alpha = np.dstack([pattern(), pattern()[..., 0] // 2])
    np.testing.assert_array_equal(sound(write_picture(tmp_path / "rgba.png", alpha)), pattern())
    grey = Image.fromarray(pattern()[..., 0]).convert("LA")
    grey.save(tmp_path / "la.png")
    np.testing.assert_array_equal(sound(tmp_path / "la.png")[..., 1], pattern()[..., 0])


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(tmp_path, transparent):
    image = Image.fromarray(pattern()).quantize(32)
    image.save(tmp_path / "p.png", **({"transparency": 3} if transparent else {}))
    np.testing.assert_array_equal(sound(tmp_path / "p.png"), np.asarray(image.convert("RGB")))


def test_one_bit_and_colour_profiles(tmp_path):
    Image.fromarray(pattern()).convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(sound(tmp_path / "bits.png"))) == {0, 255}
    path = write_picture(tmp_path / "profile.png", icc_profile=b"\0" * 200)
    np.testing.assert_array_equal(sound(path), pattern())


def test_spaces_and_other_alphabets_in_paths(tmp_path):
    path = write_picture(tmp_path / "mit Leerzeichen" / "маска 口罩 é.png")
    np.testing.assert_array_equal(sound(path), pattern())


def png_header(width: int, height: int) -> bytes:
    """A tiny PNG file that claims to be width x height."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    body, end = chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b"")
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + end


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)  # noise: plenty of bytes after the headers
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"this is no picture", "not a picture"),
        (encoded("JPEG")[:600], "truncated|corrupt|not a picture"),
        (encoded("JPEG")[:-400], "truncated"),
        (encoded("PNG")[:-400], "truncated|corrupt"),
        (encoded("TIFF")[:-4000], "truncated|corrupt|not a picture"),
        (encoded("WEBP")[:-1000], "truncated|corrupt|not a picture"),
        (encoded("BMP")[:-1000], "truncated|corrupt"),
        (encoded("PNG")[:200] + b"\xff" * 50 + encoded("PNG")[250:], "corrupt"),
        (png_header(1, 1), "1 x 1 pixels, under 2"),
        (png_header(1, 500), "under 2"),
        (
            png_header(200_000, 200_000),
            "200000 x 200000, over 1,073,741,824 pixels; shrink it",
        ),
    ],
)
def test_unusable_pictures_give_their_reason(tmp_path, data, reason):
    with pytest.raises(BadPictureError, match=reason) as error:
        check_picture(data)
    assert "\n" not in str(error.value)
    assert ";" in str(error.value), "no remedy"
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    if "empty" in reason or "no picture" in reason or "GB" in reason:
        with pytest.raises(UserError, match=r"bad\.jpg: "):
            decode(path)


def test_float_pictures_are_refused(tmp_path):
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(BadPictureError, match="mode F"):
        check_picture((tmp_path / "f.tif").read_bytes())


def test_missing_picture_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.jpg: cannot be read \(No such file"):
        decode(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match="not a regular file"):
        decode(tmp_path)


def test_a_large_picture_is_a_matter_of_memory(tmp_path, monkeypatch, recwarn):
    """14,000 x 14,000 pixels are beyond what Pillow opens by itself; a palette of one bit keeps the file small."""
    path = tmp_path / "large.png"
    Image.new("1", (14_000, 14_000), 1).save(path)
    assert check_picture(path.read_bytes()) == (14_000, 14_000)
    assert not recwarn.list
    monkeypatch.setattr(pictures, "available_bytes", lambda: 2 * 10**9)
    with pytest.raises(
        BadPictureError, match=r"takes 1\.2 GB to decode, over half of the 2\.0 GB that are free; shrink it"
    ):
        check_picture(path.read_bytes())


KINDS = [{}, {"progressive": True}, {"quality": 30}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"mode": "L"}]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_a_jpeg_that_lacks_its_end_marker_alone_is_used(tmp_path, options):
    noise = np.random.default_rng(0).integers(0, 255, (13, 17, 3))
    image = Image.fromarray(np.kron(noise, np.ones((8, 8, 1))).astype(np.uint8))
    thumbnail = Image.Exif()
    thumbnail[0x010E] = "a marker inside: \xff\xd9"
    image.convert(options.get("mode", "RGB")).save(tmp_path / "a.jpg", exif=thumbnail, **options)
    data = (tmp_path / "a.jpg").read_bytes()
    assert not lacks_end(data)
    whole = decode(tmp_path / "a.jpg")
    for cut in (1, 2):
        assert lacks_end(data[:-cut])
        assert check_picture(data[:-cut]) == (104, 136)
        (tmp_path / "cut.jpg").write_bytes(data[:-cut])
        np.testing.assert_array_equal(decode(tmp_path / "cut.jpg"), whole)
    for cut in (6, 20, 100, len(data) // 4):
        with pytest.raises(BadPictureError, match="truncated"):
            check_picture(data[:-cut])


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".mpo"])
def test_other_suffixes_of_jpeg(tmp_path, suffix):
    write_picture(tmp_path / "a.jpg", pattern(48, 80)).rename(tmp_path / f"a{suffix}")
    assert sound(tmp_path / f"a{suffix}").shape == (48, 80, 3)


def test_the_first_of_several_pictures_in_a_file(tmp_path):
    first, second = Image.fromarray(pattern(48, 80)), Image.new("RGB", (80, 48))
    first.save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=[second])
    assert np.abs(sound(tmp_path / "a.mpo").astype(int) - pattern(48, 80)).mean() < 2
