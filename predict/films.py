"""Videos: their frames with their times, and H.264 files that a browser plays. PyAV where it is, else OpenCV."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.store import fitted_into
from predict.frames import Frame, Origin, Unreadable

LOGGER = logging.getLogger("anneal")
REMEDY = "for H.264 install PyAV: pip install -r requirements-video.txt"
TICKS = 90_000  # of a second, in which times are written
DECODERS = 16  # threads, above which FFmpeg warns
CUT = 30  # of 255: a mean difference from one frame to the next that is taken for a cut


def pyav() -> Any | None:
    """The `av` module, None where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError:
        return None


def say_form() -> None:
    """Say it where videos are not written as H.264."""
    if pyav() is None:
        LOGGER.info(f"videos are written by OpenCV as MPEG-4, which browsers do not play; {REMEDY}")


def facts(origin: Origin) -> Origin:
    """The same origin with the rate and number of frames that its file states; where it states none, without."""
    if not os.path.isfile(origin.file):  # a pipe, say, which nobody may ever write to
        return replace(origin, rate=30.0)
    rate, count = _facts_av(origin.file) if pyav() else _facts_cv(origin.file)
    return replace(origin, rate=rate if 0 < rate < 1000 else 30.0, frames=int(count) if 0 < count < 1e9 else None)


def _facts_av(file: str) -> tuple[float, float]:
    av = pyav()
    try:
        with av.open(file) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            return rate, stream.frames or rate * (_duration(container, stream) or 0)
    except (av.error.FFmpegError, IndexError, ValueError, OSError):
        return 0, 0  # what is wrong is told when it is read


def _facts_cv(file: str) -> tuple[float, float]:
    video = cv2.VideoCapture(file)
    try:
        return video.get(cv2.CAP_PROP_FPS), video.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        video.release()


def _duration(container: Any, stream: Any) -> float | None:
    """Seconds that the file says the pictures last; a sound track may be longer."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration and len(container.streams) == 1 else None


def read(origin: Origin, stride: int = 1) -> Iterator[Frame]:
    """Every `stride`-th frame, with its number and time in seconds.

    A broken frame is left out. Raises Unreadable where the file is no video, has no frame, broken ones, or ends in the
    middle: after all that can be read.
    """
    if not os.path.isfile(origin.file):
        raise Unreadable(f"{origin.shown}: is not a file, or no longer exists")
    frames = _read_av(origin, stride) if pyav() else _read_cv(origin, stride)
    empty = True
    for frame in frames:
        yield frame
        empty = False
    if empty:
        raise Unreadable(f"{origin.shown}: has no frame that can be read")


def _read_av(origin: Origin, stride: int) -> Iterator[Frame]:
    av = pyav()
    number, broken, clock, end, duration = 0, 0, Clock(origin.rate or 30.0), 0.0, None
    try:
        with av.open(origin.file) as container:
            if not container.streams.video:
                raise Unreadable(f"{origin.shown}: has no video track")
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "AUTO", min(os.cpu_count() or 1, DECODERS)
            reformatter = av.video.reformatter.VideoReformatter()  # one for all frames: setting it up takes time
            duration = container.duration / 1e6 if container.duration else None
            for packet in container.demux():  # sound too, which may be what the file's duration is of
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream is not stream:
                    continue
                for frame in decoded(packet):
                    if frame is None or frame.is_corrupt:
                        broken += 1
                    else:
                        time = clock.of(frame)
                        if number % stride == 0:
                            yield Frame(origin, _pixels(frame, reformatter), number, time)
                    number += 1
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise _ended(origin, number, getattr(error, "strerror", None) or str(error)) from None
    if duration and end < 0.98 * duration - 2 * clock.step:
        raise _ended(origin, number - broken, f"{duration:.1f} s are announced")
    if broken:
        raise Unreadable(f"{origin.shown}: {broken} of its {number} frames are broken and were skipped")


def decoded(packet: Any) -> list[Any]:
    """The frames of a packet, [None] where it is broken: the next one may be sound."""
    try:
        return packet.decode()
    except pyav().error.InvalidDataError:
        return [None]


def _pixels(frame: Any, reformatter: Any) -> np.ndarray:
    turns = round((getattr(frame, "rotation", 0) or 0) / 90)
    return np.ascontiguousarray(np.rot90(reformatter.reformat(frame, format="rgb24").to_ndarray(), turns))


class Clock:
    """Seconds since the first frame. Where time stamps start again, as in files joined, time goes on."""

    def __init__(self, rate: float) -> None:
        self.step = 1 / rate
        self._start: float | None = None
        self._last = -self.step

    def of(self, frame: Any) -> float:
        """The time of the next frame."""
        stamp = None if frame.pts is None else float(frame.pts * frame.time_base)
        if stamp is None:
            self._last += self.step
            return self._last
        if self._start is None or stamp - self._start < self._last:
            self._start = stamp - self._last - self.step
        self._last = stamp - self._start
        return self._last


def _read_cv(origin: Origin, stride: int) -> Iterator[Frame]:
    video, number = cv2.VideoCapture(origin.file), 0
    try:
        if not video.isOpened():
            raise Unreadable(f"{origin.shown}: cannot be opened as a video")
        while video.grab():
            if number % stride == 0:
                time = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
                good, picture = video.retrieve()
                if not good:
                    break
                yield Frame(origin, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), number, time)
            number += 1
    finally:
        video.release()
    if origin.frames and number < 0.98 * origin.frames - 1:
        raise _ended(origin, number, f"{origin.frames} frames are announced")


def _ended(origin: Origin, number: int, why: str) -> Unreadable:
    what = f"ends after {number} frames" if number else "cannot be read as a video"
    return Unreadable(f"{origin.shown}: {what} ({' '.join(why.split())[:200]})")


class Film:
    """Writes frames, each at its time, to one file of the size of the first; frames of another size are fitted in.

    The file is written in parts that each play by themselves, so that what was written before a kill can be seen.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.size: tuple[int, int] | None = None
        self.last = -1
        self._av = pyav()
        self._before: np.ndarray | None = None
        self._out: Any = None
        self._stream: Any = None

    def write(self, picture: np.ndarray, time: float) -> None:
        """Add a frame (h, w, 3) uint8 RGB. Raises OSError where it cannot be written."""
        picture = _fitted(picture, *(self.size or self._open(picture)))
        if self._av is None:
            self._out.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            return
        planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)  # by FFmpeg itself it takes six times as long
        frame = self._av.VideoFrame.from_ndarray(planes, format="yuv420p")
        if self._is_cut(planes):
            frame.pict_type = self._av.video.frame.PictureType.I  # half the work of one predicted from another scene
        self.last = max(self.last + 1, round(time * TICKS))  # times must rise
        frame.pts, frame.time_base = self.last, Fraction(1, TICKS)
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file: it plays from here on."""
        if self._out is None:
            return
        try:
            if self._av is not None:
                self._mux(self._stream.encode())
        finally:
            out, self._out = self._out, None
            if self._av is None:
                out.release()
            else:
                out.close()

    def _open(self, picture: np.ndarray) -> tuple[int, int]:
        """Begin the file with the size of its first picture; returns that, height and width."""
        height, width = (side + side % 2 for side in picture.shape[:2])  # the format takes even sides alone
        self.size = (height, width)
        if self._av is None:
            self._out = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*"mp4v"), self.rate, (width, height))
            if not self._out.isOpened():
                raise OSError(f"{self.path}: cannot be written as a video")
            return self.size
        parts = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        self._out = self._av.open(str(self.path), "w", options=parts)
        rate = Fraction(self.rate).limit_denominator(1001)
        options = {"preset": "ultrafast", "crf": "23", "g": str(max(1, round(2 * self.rate))), "bf": "0"}
        self._stream = self._out.add_stream("libx264", rate=rate, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        return self.size

    def _is_cut(self, planes: np.ndarray) -> bool:
        """Whether another scene begins with this frame: most of it is brighter or darker than the last one."""
        brightness = planes[: len(planes) * 2 // 3]  # the rest is colour
        before, self._before = self._before, brightness[::8, ::8].astype(np.int16)
        return before is not None and float(np.abs(self._before - before).mean()) > CUT

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._out.mux(packet)


def _fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture in a rectangle: as it is with its edge repeated by a pixel, or scaled on black."""
    h, w = picture.shape[:2]
    if (h, w) == (height, width):
        return picture
    if not (0 <= height - h <= 1 and 0 <= width - w <= 1):
        h, w = fitted_into(h, w, height, width)
        out = np.zeros((height, width, 3), np.uint8)
        top, left = (height - h) // 2, (width - w) // 2
        out[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
        return out
    return np.pad(picture, ((0, height - h), (0, width - w), (0, 0)), "edge")
