"""Network cameras that die, come back, and send what is broken."""

from __future__ import annotations

import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import detect
from predict import streams
from predict.frames import Origin
from tests.predict.conftest import noise


class Camera(BaseHTTPRequestHandler):
    """A stream of JPEGs, as network cameras send it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for number in range(10_000):
                data = cv2.imencode(".jpg", noise(number % 5))[1].tobytes()
                if self.server.breaking and number % 4 == 3:
                    data = data[: len(data) // 2]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                if self.server.dying.is_set():
                    return
                time.sleep(0.01)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, breaking: bool = False) -> None:
        self.breaking = breaking
        super().__init__(("127.0.0.1", port), Camera)
        self.dying = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def die(self) -> int:
        self.dying.set()
        self.shutdown()
        self.server_close()
        return self.server_address[1]


def test_a_stream_that_dies_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    address = f"http://127.0.0.1:{server.server_address[1]}/camera.mjpg"
    stream = streams.Stream(Origin(address, "camera", "stream"), pauses=[0.2] * 20)
    try:
        first = taken(stream, 3)
        port = server.die()
        time.sleep(0.5)
        server = Server(port)
        later = taken(stream, 3)
        assert [frame.number for frame in (*first, *later)] == sorted({frame.number for frame in (*first, *later)})
        assert "lost; trying again in 0.2 s" in caplog.text
        assert caplog.text.count("reconnected") == 1
        time.sleep(0.3)
        assert stream.dropped > 0, "nobody took those in between"
        assert stream.take().number >= stream.number - 2, "the newest"
    finally:
        stream.close()
        server.die()


def taken(stream: streams.Stream, count: int) -> list:
    frames, patience = [], time.monotonic() + 30
    while len(frames) < count and time.monotonic() < patience:
        frame = stream.take()
        frames += [frame] if frame is not None else []
        time.sleep(0.005)
    assert len(frames) == count
    assert all(np.ptp(frame.picture) > 100 for frame in frames), "never black"
    return frames


def test_broken_frames_are_skipped_and_counted() -> None:
    server = Server(breaking=True)
    sound = [cv2.imdecode(cv2.imencode(".jpg", noise(number))[1], cv2.IMREAD_COLOR)[..., ::-1] for number in range(5)]
    stream = streams.Stream(Origin(f"http://127.0.0.1:{server.server_address[1]}/camera.mjpg", "camera", "stream"))
    try:
        for frame in taken(stream, 40):
            assert min(np.abs(frame.picture - each.astype(float)).mean() for each in sound) < 8
        assert stream.broken > 5
    finally:
        stream.close()
        server.die()


def test_a_request_to_stop_is_heard_while_a_stream_is_lost(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    address = f"http://127.0.0.1:{server.server_address[1]}/camera.mjpg"
    monkeypatch.setattr(streams.Stream.__init__, "__defaults__", ((60,) * 8,))
    lost, moments = threading.Event(), []
    monkeypatch.setattr(streams.LOGGER, "warning", lambda text: lost.set() if "lost; trying again" in text else None)

    def lose_and_ask() -> None:
        while not list(tmp_path.glob("out/exp/*.mp4")):
            time.sleep(0.05)
        server.die()
        assert lost.wait(30)
        moments.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=lose_and_ask, daemon=True).start()
    words = ["--weights", str(weights), "--source", address, "--device", "cpu", "--project", str(tmp_path / "out")]
    assert detect.main(words) == 128 + signal.SIGTERM
    assert time.monotonic() - moments[0] < 10
    (video,) = tmp_path.glob("out/exp/*.mp4")
    with av.open(str(video)) as film:
        assert sum(1 for _ in film.decode(video=0)) > 0
