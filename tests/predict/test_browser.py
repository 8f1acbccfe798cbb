"""The video that detect.py leaves plays in a browser, and so does what a killed one leaves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

import detect
from tests.ablation.browser import needs_chromium, open_page
from tests.predict.conftest import film, noise

pytestmark = [needs_chromium, pytest.mark.slow]
PLAY = """
const video = document.querySelector("video"), said = document.documentElement.dataset;
said.can = video.canPlayType('video/mp4; codecs="avc1.640028"');
video.onloadedmetadata = () => { said.duration = video.duration; said.width = video.videoWidth; };
video.ontimeupdate = () => { said.time = video.currentTime; };
video.onerror = () => { said.error = video.error.message; };
video.play();
"""


def played(path: Path, folder: Path) -> dict[str, str]:
    folder.mkdir()
    (folder / "page.html").write_text(
        f'<html><head></head><body><video muted src="{path.resolve().as_uri()}"></video></body></html>'
    )
    flags = ("--autoplay-policy=no-user-gesture-required", "--allow-file-access-from-files")
    said = open_page(folder / "page.html", folder, PLAY, flags=flags).elements["html"]
    if not said["data-can"]:
        pytest.skip("this browser plays no H.264")
    return said


def test_plays_in_a_browser(weights: Path, tmp_path: Path) -> None:
    film(tmp_path / "v.mkv", [noise(number % 9, 120, 160) for number in range(50)], rate=Fraction(10))
    words = ["--weights", weights, "--source", tmp_path / "v.mkv", "--project", tmp_path / "out", "--device", "cpu"]
    assert detect.main([*map(str, words), "--conf-thres", "0.5", "--max-det", "9"]) == 0
    said = played(tmp_path / "out/exp/v.mp4", tmp_path / "whole")
    assert float(said["data-duration"]) == pytest.approx(5, abs=0.11)
    assert said["data-width"] == "160"
    assert float(said["data-time"]) > 1
    assert "data-error" not in said
    data = (tmp_path / "out/exp/v.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    assert float(played(tmp_path / "cut.mp4", tmp_path / "cut")["data-time"]) > 1
