"""Published weights by name: fetched whole from the release address, or an error that says where to get them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from utils import checkpoint
from utils.checkpoint import download
from utils.errors import UserError

ANSWERS = {
    "/yolov5n.pt": (200, b"PK\x03\x04 the weights", None),
    "/yolov5s.pt": (200, b"<html>log in first</html>", None),
    "/yolov5m.pt": (200, b"PK\x03\x04 not all of it", 4000),
}


class _Release(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body, length = ANSWERS.get(self.path, (404, b"", None))
        self.send_response(status)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), _Release)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetches(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(ANSWERS["/yolov5n.pt"][1]).hexdigest()
    monkeypatch.setitem(download.SHA256, "yolov5n.pt", digest)
    path = download.fetch("yolov5n.pt", tmp_path, address)
    assert path == tmp_path / "yolov5n.pt"
    assert path.read_bytes() == ANSWERS["/yolov5n.pt"][1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["yolov5n.pt"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("yolov5n.pt", f"its sha256 is .* \\(sha256 {download.SHA256['yolov5n.pt']}\\)"),
        ("yolov5s.pt", "no checkpoint"),
        ("yolov5m.pt", "bytes|IncompleteRead"),
        ("yolov5x6.pt", "Not Found"),
    ],
)
def test_says_where_to_get_it_and_leaves_nothing(tmp_path: Path, address: str, name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        download.fetch(name, tmp_path, address)
    assert f"download {address}{name} elsewhere and give its path" in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=r"cannot be fetched \(.*refused.*\); download http://127.0.0.1:9/yolov5l.pt"):
        download.fetch("yolov5l.pt", tmp_path, "http://127.0.0.1:9/")


def test_only_published_names_without_a_folder_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(download, "fetch", lambda name, folder: asked.append(name) or folder / name)
    monkeypatch.chdir(tmp_path)
    for name in ("yolov5s.pt", "yolov5x6.pt"):
        with pytest.raises(UserError, match="no such checkpoint"):
            checkpoint.load_weights(name)
    assert asked == ["yolov5s.pt", "yolov5x6.pt"]
    for name in ("best.pt", "sub/yolov5s.pt", "yolov5s.pth", "yolov5s", "../yolov5s.pt", "yolov5s-seg.pt"):
        with pytest.raises(UserError, match=f"{name}: no such checkpoint; give the path"):
            checkpoint.load_weights(name)
    assert len(asked) == 2
