"""Files on servers: whole, under names that give no secret away; what is a stream stays one."""

from __future__ import annotations

import base64
import csv
import threading
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest
import torch

from predict import addresses
from predict.model import load
from predict.sources import find
from tests.predict.conftest import film, noise, picture
from utils.errors import UserError


class Files(BaseHTTPRequestHandler):
    """Sends `server.files` by path: type, bytes, length that is told (None for none). No part of a file by itself."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        found = self.server.files.get(self.path.partition("?")[0])
        if found is None:
            return self.send_error(404)
        content, data, length = found
        self.send_response(200)
        self.send_header("Content-Type", content)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    made.files, made.asked, made.at = {}, [], f"127.0.0.1:{made.server_address[1]}"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_video_on_a_server_is_read_whole(run, server, tmp_path: Path) -> None:
    """Its index is at its end, and the server gives no parts; the address holds secrets."""
    made = film(tmp_path / "v.mp4", [noise(number % 5) for number in range(120)], rate=Fraction(10))
    server.files["/a%20b/street.mp4"] = ("video/mp4", data := made.read_bytes(), len(data))
    code, text = run(f"http://me:secret@{server.at}/a%20b/street.mp4?token=secret", "--save-csv")
    assert code == 0, text
    out = tmp_path / "out/exp"
    video = cv2.VideoCapture(str(out / "street.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (120, 10)
    rows = table(out)
    assert {int(row["frame"]) for row in rows} == set(range(120))
    assert {row["file"] for row in rows} == {f"http://{server.at}/a%20b/street.mp4"}
    assert server.asked[-1] == ("/a%20b/street.mp4?token=secret", f"Basic {base64.b64encode(b'me:secret').decode()}")
    assert "secret" not in text + (out / "detect.yaml").read_text()
    assert not list(out.rglob("*secret*"))


def test_a_picture_on_a_server(run, server, weights: Path, tmp_path: Path) -> None:
    data = picture(tmp_path / "a.png").read_bytes()
    server.files |= {"/a.png": ("image/png", data, len(data)), "/snap": ("image/png", data, len(data))}
    assert run(f"http://{server.at}/a.png?key=secret", "--save-csv")[0] == 0
    assert run(f"http://{server.at}/snap?key=secret", "--save-csv")[0] == 0
    assert run("a.png", "--save-csv")[0] == 0
    columns = ("frame", "class", "score", "x1", "y1", "x2", "y2")
    boxes = [
        [[row[key] for key in columns] for row in table(tmp_path / "out" / name)] for name in ("exp", "exp2", "exp3")
    ]
    assert boxes[0] == boxes[1] == boxes[2] != []
    assert (tmp_path / "out/exp/a.png").is_file()
    assert (tmp_path / "out/exp2/snap.jpg").is_file()
    model = load(weights, "cpu")
    results = model(f"http://{server.at}/a.png?key=secret")
    assert torch.equal(results.xyxy[0], model(tmp_path / "a.png").xyxy[0])
    assert results.files == [f"http://{server.at}/a.png"]


def test_what_does_not_come(run, server, tmp_path: Path) -> None:
    data = picture(tmp_path / "a.png").read_bytes()
    server.files |= {
        "/cut.mp4": ("video/mp4", data, len(data) + 7),
        "/page.jpg": ("text/html", b"<html>", 6),
        "/many.jpg": ("multipart/x-mixed-replace; boundary=b", b"--b", None),
    }
    for path, code, message in (
        ("none.mp4", 2, "cannot be fetched (404 Not Found)"),
        ("cut.mp4", 2, f"the connection broke after {len(data):,} of {len(data) + 7:,} bytes"),
        ("many.jpg", 2, "the server sends a stream"),
        ("page.jpg", 1, "not a picture in a known format"),
    ):
        got, text = run(f"http://u:secret@{server.at}/{path}?secret=1")
        assert got == code
        assert f"http://{server.at}/{path}: {message}" in text
        assert "secret" not in text
    with pytest.raises(UserError, match="cannot be fetched"):
        addresses.picture(f"http://{server.at}/none.jpg")


def test_what_kind_a_server_says_it_is(server) -> None:
    for path, content, length, kind in (
        ("/clip", "video/mp4", 5, "video"),
        ("/data", "application/octet-stream", 5, "video"),
        ("/live", "video/mp2t", None, "stream"),
        ("/live.ts", "video/mp2t", None, "stream"),
        ("/file.ts", "video/mp2t", 5, "video"),
        ("/mjpg", "multipart/x-mixed-replace", None, "stream"),
        ("/list", "application/vnd.apple.mpegurl", 5, "stream"),
        ("/list.m3u8", "application/octet-stream", 5, "stream"),
        ("/moving", "image/gif", 5, "video"),
    ):
        server.files[path] = (content, b"12345", length)
        assert [origin.kind for origin in find(f"http://{server.at}{path}")] == [kind], path
    assert find("rtsp://u:secret@h/a.mp4?x=secret")[0].kind == "stream"
    assert "secret" not in str(find("rtsp://u:secret@h/a.mp4?x=secret")[0].name)


def test_a_list_of_streams_takes_files_as_they_come(tmp_path: Path) -> None:
    (tmp_path / "all.streams").write_text("http://h/a.mp4?k=1\nhttp://h/a.mp4?k=2\n0\n")
    origins = find(str(tmp_path / "all.streams"))
    assert [(str(origin.name), origin.kind) for origin in origins] == [
        ("h_a.mp4", "stream"),
        ("h_a.mp4_2", "stream"),
        ("webcam0", "stream"),
    ]
