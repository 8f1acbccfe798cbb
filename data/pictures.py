"""Reading one picture: what its header says, whether it decodes, and its pixels as 8-bit RGB."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data.jpeg import is_whole, lacks_end, with_end
from data.memory import available_bytes
from utils.errors import UserError

SUFFIXES = (".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp")
LARGE = 89_000_000  # pixels from which on a picture is held against the memory that is free
MOST_PIXELS = 1 << 30  # where a promise of more is no picture but a trap
NEED = 6  # bytes a pixel while a picture is decoded: two copies of it
SHARE = 0.5  # of the free memory, which one picture may take
MAX_BYTES = 1 << 30
MIN_SIDE = 2
_FAST = {"JPEG", "MPO", "PNG", "BMP", "WEBP"}  # what OpenCV reads as Pillow does, and faster
_GREY16 = {"I;16", "I;16B", "I;16L", "I;16N", "I"}


class BadPictureError(Exception):
    """Why a picture cannot be used, in a few words with the remedy; the caller knows its path."""


def read_picture(path: str | Path) -> bytes:
    """The bytes of a picture file. OSError, or BadPictureError where it is no regular file or over 1 GiB."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise BadPictureError(f"not a regular file of up to {MAX_BYTES:,} bytes; replace it")
    with open(path, "rb") as file:
        return file.read()


def check_picture(data: bytes) -> tuple[int, int]:
    """(height, width) of an encoded picture after its EXIF rotation, having decoded it once, cheaply.

    BadPictureError when it is empty, of an unknown format, truncated or corrupt, larger than memory holds or under 2
    on a side. A JPEG that has every row and lacks its end marker alone is sound; `lacks_end` tells.
    """
    with _open(data) as image:
        turned = _orientation(image) >= 5
        width, height = image.size
        if min(width, height) < MIN_SIDE:
            raise BadPictureError(f"{width} x {height} pixels, under {MIN_SIDE} on a side; remove it")
        if lacks_end(data):
            _check_whole(data)
        elif image.format in _FAST:
            # a JPEG decodes to an eighth: a third of the time
            image.draft(image.mode, (max(1, width // 8), max(1, height // 8)))
            _load(image)
        else:
            _convert(image)
    return (width, height) if turned else (height, width)


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of an encoded picture, 1 to 8; 1 where it has none, or is turned by its reader."""
    with _open(data) as image:
        return _orientation(image)


def decode(path: str | Path) -> np.ndarray:
    """The picture in a file, (h, w, 3) uint8 RGB, rotated as its EXIF says.

    Grey becomes three equal channels, 16 bits lose their low eight, CMYK is converted, and transparency is dropped:
    the colours under it show, as in other trainers. UserError naming the file where it cannot be read.
    """
    try:
        return decode_bytes(read_picture(path), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore the picture or remove it") from None
    except BadPictureError as error:
        raise UserError(f"{path}: {error}") from None


def decode_bytes(data: bytes, name: object) -> np.ndarray:
    """The picture in the bytes of a file, as `decode` gives it. UserError, with that name, where it cannot be read."""
    try:
        if lacks_end(data):
            _check_whole(data)
            data = with_end(data)
        with _open(data) as image:
            orientation = _orientation(image)
            pixels = _fast(image, data)
            if pixels is None:
                pixels = _convert(image)
    except BadPictureError as error:
        raise UserError(f"{name}: {error}") from None
    return np.ascontiguousarray(_turn(pixels, orientation))


def of_pillow(image: Image.Image) -> np.ndarray:
    """The pixels of an open Pillow picture, as `decode` gives those of a file. UserError where they cannot be read."""
    try:
        return np.ascontiguousarray(_turn(_convert(image), _orientation(image)))
    except BadPictureError as error:
        raise UserError(f"{getattr(image, 'filename', '') or 'picture'}: {error}") from None


def _open(data: bytes) -> Image.Image:
    if not data:
        raise BadPictureError("empty file; restore the picture or remove it")
    image = _identified(data)
    if image is None:
        raise BadPictureError("not a picture in a known format; convert it to JPEG or PNG")
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise BadPictureError(f"{image.width} x {image.height}, over {MOST_PIXELS:,} pixels; shrink it")
    if pixels > LARGE and NEED * pixels > SHARE * (free := available_bytes()):
        need = f"takes {NEED * pixels / 1e9:.1f} GB to decode, over half of the {free / 1e9:.1f} GB that are free"
        raise BadPictureError(f"{image.width} x {image.height} pixels: {need}; shrink it")
    return image


def _identified(data: bytes) -> Image.Image | None:
    """The picture, its header read, by whichever of Pillow's readers takes it; without the limit of Image.open."""
    for load_readers in (Image.preinit, Image.init):
        load_readers()
        for form in Image.ID:
            factory, accept = Image.OPEN[form]
            try:
                if accept is None or accept(data[:16]) is True:
                    return factory(io.BytesIO(data), "")
            except Exception:  # Pillow's readers raise almost anything on a broken file
                continue
    return None


def _check_whole(data: bytes) -> None:
    """For a JPEG that lacks its end marker."""
    if not is_whole(data):
        raise BadPictureError("truncated picture; restore or remove it")


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # as above
        reason = "truncated" if "truncated" in str(error) else "corrupt"
        raise BadPictureError(f"{reason} picture; restore or remove it") from None


def _fast(image: Image.Image, data: bytes) -> np.ndarray | None:
    """Pixels by OpenCV, not yet rotated; None where it would differ from Pillow, warn on stderr, or fail."""
    noisy = image.format == "PNG" and "icc_profile" in image.info  # libpng comments on common colour profiles
    if image.format not in _FAST or image.mode not in {"RGB", "RGBA", "L", "P"} or noisy:
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # larger than its own limits
        return None
    if pixels is None or pixels.shape[:2] != (image.height, image.width):
        return None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _convert(image: Image.Image) -> np.ndarray:
    """Pixels by Pillow, not yet rotated (but a TIFF, which Pillow rotates itself)."""
    _load(image)
    if image.mode in _GREY16:
        grey = (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, 2)
    try:
        if image.mode == "F":
            raise ValueError
        return np.array(image.convert("RGB"))
    except ValueError:
        raise BadPictureError(f"pixels of mode {image.mode} are not supported; convert it to 8-bit RGB") from None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, as far as the header alone tells it."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # Pillow turns a TIFF by itself, and reads a whole PNG in search of EXIF
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # broken EXIF in a sound picture
        return 1
    return value if value in range(1, 9) else 1


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A picture upright, from one stored with EXIF orientation 1 to 8."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
