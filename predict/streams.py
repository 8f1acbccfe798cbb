"""Webcams and network streams: always the newest frame, taken up again when they are lost."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from predict.frames import Frame, Origin

LOGGER = logging.getLogger("anneal")
OPEN_MS, READ_MS = 10_000, 10_000
PAUSES = (1, 2, 4, 8, 15, 30, 30, 30)  # seconds before each attempt to take up a lost stream; then it is given up


class Stream:
    """Reads a stream in a thread of its own and keeps one frame: the newest. `ended` says why it came to an end."""

    def __init__(self, origin: Origin, pauses: Sequence[float] = PAUSES) -> None:
        self.origin, self.pauses = origin, pauses
        self.dropped = self.broken = self.number = 0
        self.ended = ""
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
            video = self._open()
            opened = video.isOpened()
            count = self._read(video, start) if opened else 0
            length = video.get(cv2.CAP_PROP_FRAME_COUNT) if opened else 0
            video.release()
            if self._stop.is_set():
                return
            if count and 0 < length <= self.number:  # a file on a server, read to its end
                self.ended = "finished"
                return
            attempt = 0 if count else attempt
            if attempt == len(self.pauses) or (not self.number and attempt == 2):
                self.ended = f"{self.origin.file}: lost, and could not be taken up again; check the address"
                return
            what = "lost" if self.number else "cannot be opened"
            LOGGER.warning(f"{self.origin.name}: {what}; trying again in {self.pauses[attempt]:g} s")
            self._stop.wait(self.pauses[attempt])
            attempt += 1

    def _open(self) -> cv2.VideoCapture:
        text = self.origin.file
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
        frame = Frame(self.origin, picture, self.number, moment)
        self.number += 1
        with self._lock:
            self.dropped += self._newest is not None
            self._newest = frame


def newest(streams: Sequence[Stream], stride: int = 1) -> Iterator[Frame]:
    """The newest frame of each stream in turn, until all have ended; `stride`: take every so many seen only."""
    alive, seen = list(streams), dict.fromkeys(range(len(streams)), 0)
    while alive:
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
