"""Published weights that are not here: nothing is fetched, and one line says where to get them."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path

import pytest

import hubconf
from utils import checkpoint
from utils.checkpoint import release
from utils.errors import UserError

PLACE = "https://github.com/ultralytics/yolov5/releases/download/v7.0/"
OF_N = f", sha256 {release.SHA256['yolov5n.pt']}"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, where no name of a host is looked up and no connection is made."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize(
    ("weights", "place"),
    [
        ("yolov5n.pt", f"{PLACE}yolov5n.pt{OF_N}"),
        ("sub/yolov5n.pt", f"{PLACE}yolov5n.pt{OF_N}"),
        ("yolov5s.pt", f"{PLACE}yolov5s.pt"),
        ("yolov5x6.pt", f"{PLACE}yolov5x6.pt"),
    ],
)
def test_says_where_to_get_it(weights: str, place: str) -> None:
    with pytest.raises(UserError) as error:
        checkpoint.load_weights(weights)
    assert str(error.value) == f"{weights}: no such file, and none is fetched; download it from {place}"


@pytest.mark.parametrize("weights", ["https://h.org/best.pt", "HTTP://h.org/yolov5n.pt"])
def test_an_address_is_not_fetched(weights: str) -> None:
    with pytest.raises(UserError) as error:
        checkpoint.load_weights(weights)
    assert str(error.value) == f"{weights}: weights are not fetched; download the file and give its path"


@pytest.mark.parametrize("name", ["best.pt", "yolov5s.pth", "yolov5s", "yolov5s-seg.pt", "https/best.pt"])
def test_other_names_are_files_that_are_not_there(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: no such checkpoint; give the path"):
        checkpoint.load_weights(name)


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("train", "--cfg yolov5n"),
        ("train", ""),
        ("val", "--data mask.yaml"),
        ("detect", "--source a.png"),
        ("export", "--include torchscript"),
    ],
)
def test_commands_end_in_that_line(command: str, flags: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.png").touch()
    words = f"--weights yolov5n.pt --device cpu {flags} {'--project out' if command != 'export' else ''}"
    assert importlib.import_module(command).main(words.split()) == 2
    errors = [line for line in "".join(capsys.readouterr()).splitlines() if line.startswith("error: ")]
    found = f"error: yolov5n.pt: no such file, and none is fetched; download it from {PLACE}yolov5n.pt{OF_N}"
    assert errors == [found]
    assert not list(tmp_path.rglob("*.pt"))


def test_the_hub_names_it_as_well() -> None:
    with pytest.raises(UserError, match=f"download it from {PLACE}yolov5m.pt"):
        hubconf.yolov5m()


def test_a_file_that_is_there_is_taken_whatever_its_checksum(tmp_path: Path) -> None:
    """It may be one's own, or saved anew."""
    weights = {"ema": {}, "model": {}, "classes": 1, "names": ["a"], "step": 1}
    checkpoint.save(tmp_path / "yolov5n.pt", weights)
    assert checkpoint.load_weights("yolov5n.pt")["classes"] == 1
