"""Webcams and network streams: always the newest frame, taken up again when they are lost."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from predict.films import decoded, pyav
from predict.frames import Frame, Origin
from utils.console.signals import StopRequest

LOGGER = logging.getLogger("anneal")
OPEN_MS, READ_MS = 10_000, 10_000
PAUSES = (1, 2, 4, 8, 15, 30, 30, 30)  # seconds before each attempt to take up a lost stream; then it is given up


class Stream:
    """Reads a stream in a thread of its own and keeps one frame: the newest. `ended` says why it came to an end."""

    def __init__(self, origin: Origin, pauses: Sequence[float] = PAUSES) -> None:
        self.origin, self.pauses = origin, pauses
        self.dropped = self.broken = self.number = 0
        self.ended = ""
        self._lost = False
        self._newest: Frame | None = None
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"stream {origin.name}", daemon=True)
        self._thread.start()

    def take(self) -> Frame | None:
        """The newest frame, if there is one that was not taken yet."""
        with self._lock:
            frame, self._newest = self._newest, None
        return frame

    def close(self) -> None:
        """Stop reading. A read that waits for the network is left behind."""
        self._stop.set()
        self._thread.join(2)

    def _run(self) -> None:
        attempt, start = 0, time.monotonic()
        while not self._stop.is_set():
            read = self._read_av if pyav() and not self.origin.file.isdecimal() else self._read_cv
            count, length = read(start)
            if self._stop.is_set():
                return
            if count and 0 < length <= self.number:  # a file on a server, read to its end
                self.ended = "finished"
                return
            attempt = 0 if count else attempt
            if attempt == len(self.pauses) or (not self.number and attempt == 2):
                what = "lost, and could not be reconnected" if self.number else "cannot be opened"
                where = "number" if self.origin.file.isdecimal() else "address"
                self.ended = f"{self.origin.shown}: {what}; check the {where}"
                return
            what = "lost" if self.number else "cannot be opened"
            LOGGER.warning(f"{self.origin.name}: {what}; trying again in {self.pauses[attempt]:g} s")
            self._lost = True
            self._stop.wait(self.pauses[attempt])
            attempt += 1

    def _read_av(self, start: float) -> tuple[int, float]:
        """Keep frames until the stream fails: how many were read, and how many there are if it is a file."""
        av, count, length = pyav(), 0, 0
        limits = (OPEN_MS / 1000, READ_MS / 1000)
        try:
            with av.open(self.origin.file, options={"rtsp_transport": "tcp"}, timeout=limits) as source:
                stream = source.streams.video[0]
                stream.codec_context.options = {"err_detect": "explode"}  # else what is broken is filled in
                length = stream.frames
                for packet in source.demux(stream):
                    for frame in decoded(packet):
                        if self._stop.is_set():
                            return count, length
                        if frame is None or frame.is_corrupt:
                            self.broken += 1
                            continue
                        count += 1
                        self._keep(frame.to_ndarray(format="rgb24"), time.monotonic() - start)
        except (av.error.FFmpegError, IndexError, ValueError, OSError) as error:
            LOGGER.debug(f"{self.origin.name}: {error}")
        return count, length

    def _read_cv(self, start: float) -> tuple[int, float]:
        """The same for a webcam, and where PyAV is not installed."""
        video = self._open()
        try:
            if not video.isOpened():
                return 0, 0
            return self._read(video, start), video.get(cv2.CAP_PROP_FRAME_COUNT)
        finally:
            video.release()

    def _open(self) -> cv2.VideoCapture:
        text = self.origin.file
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what fails is said here, in one line
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        if text.isdecimal():
            return cv2.VideoCapture(int(text))
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")  # without it frames come in shreds
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_MS]
        return cv2.VideoCapture(text, cv2.CAP_FFMPEG, limits)

    def _read(self, video: cv2.VideoCapture, start: float) -> int:
        """Keep frames until the stream fails; how many were read."""
        count = 0
        while not self._stop.is_set() and video.grab():
            good, picture = video.retrieve()
            if not good or picture is None or not picture.size:
                self.broken += 1
                continue
            count += 1
            self._keep(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), time.monotonic() - start)
        return count

    def _keep(self, picture: np.ndarray, moment: float) -> None:
        if self._lost:
            LOGGER.warning(f"{self.origin.name}: reconnected")
            self._lost = False
        frame = Frame(self.origin, picture, self.number, moment)
        self.number += 1
        with self._lock:
            self.dropped += self._newest is not None
            self._newest = frame


def newest(streams: Sequence[Stream], stride: int, stop_request: StopRequest) -> Iterator[Frame]:
    """The newest frame of each stream in turn, until all have ended or somebody asks to stop, also while all are lost.

    stride: take every so many seen only.
    """
    alive, seen = list(streams), dict.fromkeys(range(len(streams)), 0)
    while alive and stop_request.stop is None:
        frames = [(stream, stream.take()) for stream in alive]
        for stream, frame in frames:
            if frame is not None:
                place = streams.index(stream)
                seen[place] += 1
                if (seen[place] - 1) % stride == 0:
                    yield frame
        alive = [stream for stream, frame in frames if frame is not None or not stream.ended]
        if not any(frame for _, frame in frames):
            time.sleep(0.005)
