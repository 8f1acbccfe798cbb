"""What a source names, and what each picture and video of it is called."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import cv2
import pytest

from predict.frames import Origin
from predict.names import film_names
from predict.sources import find
from predict.streams import Stream
from tests.predict.conftest import film, noise, picture


def test_a_list_names_folders_and_links_are_followed(run, tmp_path: Path) -> None:
    picture(tmp_path / "x" / "deep" / "a.jpg")
    picture(tmp_path / "b.jpg")
    (tmp_path / "x" / "back").symlink_to(tmp_path / "x", target_is_directory=True)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "link").symlink_to(tmp_path / "x", target_is_directory=True)
    (tmp_path / "list.txt").write_text("y\nb.jpg\n")
    code, _ = run("list.txt")
    assert code == 0
    out = tmp_path / "out/exp"
    assert {str(file.relative_to(out)) for file in out.rglob("*.jpg")} == {"y/link/deep/a.jpg", "b.jpg"}


def test_names_that_differ_by_their_suffix(run, tmp_path: Path) -> None:
    for name in ("a.jpg", "a.jfif", "b_000001.png", "c.png"):
        picture(tmp_path / "in" / name)
    sizes = {"a.avi": 60, "a.mp4": 90, "b.mp4": 60, "c.mkv": 60}
    for name, width in sizes.items():
        film(tmp_path / "in" / name, [noise(number, 60, width) for number in range(3)])
    code, _ = run("in", "--save-txt", "--save-crop")
    assert code == 0
    out = tmp_path / "out/exp"
    films = {"a.avi.mp4": 60, "a.mp4": 90, "b.mp4": 60, "c.mp4": 60}
    assert {file.name for file in out.glob("*.*")} == {
        *films,
        "a.jpg",
        "a.jfif",
        "b_000001.png",
        "c.png",
        "detect.yaml",
    }
    for name, width in films.items():
        assert cv2.VideoCapture(str(out / name)).get(cv2.CAP_PROP_FRAME_WIDTH) == width
    series = {f"{stem}_00000{number}.txt" for stem in ("a", "a.avi", "b.mp4", "c") for number in range(3)}
    labels = {"a.txt", "a.jpg.txt", "b_000001.txt", "c.txt"} | series
    assert {file.name for file in (out / "labels").iterdir()} == labels


@pytest.mark.parametrize("place", ["in", "in/locked"])
def test_a_folder_that_cannot_be_listed(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "locked" / "b.png")
    locked, scandir = str(tmp_path / place), os.scandir

    def scan(folder: object) -> object:  # who runs the tests may list everything
        if os.path.abspath(str(folder)) == locked:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    code, text = run("in", "--save-txt")
    assert f"{place}: cannot be listed" in text
    assert code == (2 if place == "in" else 1)
    assert (tmp_path / "out/exp/labels/a.txt").exists() == (place != "in")


def test_cameras_of_like_names(tmp_path: Path) -> None:
    (tmp_path / "all.streams").write_text("rtsp://x/1_2\nrtsp://x/1\nrtsp://x/1\nrtsp://10.0.0.1\n")
    origins = find(str(tmp_path / "all.streams"))
    names = [str(origin.name) for origin in origins]
    assert names == ["x_1_2", "x_1", "x_1_3", "10.0.0.1"]
    assert [str(name) for name in film_names(origins).values()] == [f"{name}.mp4" for name in names]


def test_a_stream_that_fails_is_said_in_our_words_alone(capfd: pytest.CaptureFixture) -> None:
    stream = Stream(Origin("99", PurePosixPath("webcam99"), "stream"), pauses=[])
    stream._thread.join(20)
    assert stream.ended == "99: cannot be opened; check the number"
    assert capfd.readouterr().err == ""
