"""Sources that break off, change, or never end; disks that fill; kills: what was done stays, and the rest is told."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import detect
from predict import streams
from predict.frames import Origin
from tests.predict.conftest import film, noise, picture

ROOT = Path(__file__).resolve().parents[2]
# a shell that starts things in the background has them ignore Ctrl-C
START = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
START += "import detect; sys.exit(detect.main(sys.argv[1:]))"


@pytest.fixture
def run(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(source: object, *flags: str) -> tuple[int, str]:
        words = ["--weights", str(weights), "--source", str(source), "--device", "cpu", "--conf-thres", "0.5"]
        code = detect.main([*words, "--max-det", "5", "--project", "out", *flags])
        return code, capsys.readouterr().out

    return call


def frames_of(path: Path) -> int:
    """Frames that a player shows: all up to where a kill left a part unfinished."""
    count = 0
    with av.open(str(path)) as video, contextlib.suppress(av.error.InvalidDataError):
        for _ in video.decode(video=0):
            count += 1
    return count


def test_a_video_cut_in_the_middle(run, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mkv", [noise(number) for number in range(60)])
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    code, text = run("cut.mkv", "--save-csv")
    assert code == 1
    assert "cut.mkv: ends after " in text
    assert 20 < frames_of(tmp_path / "out/exp/cut.mp4") < 40


def test_a_video_without_frames(run, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.start_encoding()
    code, text = run("none.mp4")
    assert code == 1
    assert "none.mp4: " in text
    assert not (tmp_path / "out/exp/none.mp4").exists()


def test_frames_that_change_their_size_and_times_that_start_again(run, tmp_path: Path) -> None:
    """Two films joined, as recorders do it."""
    first = film(tmp_path / "first.ts", [noise(number, 60, 90) for number in range(30)], rate=Fraction(25))
    second = film(tmp_path / "second.ts", [noise(number, 40, 120) for number in range(20)], rate=Fraction(25))
    (tmp_path / "v.ts").write_bytes(first.read_bytes() + second.read_bytes())
    code, _ = run("v.ts", "--save-csv")
    assert code == 0
    with av.open(str(tmp_path / "out/exp/v.mp4")) as video:
        frames = list(video.decode(video=0))
    assert {(frame.height, frame.width) for frame in frames} == {(60, 90)}
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(50) / 25, atol=1e-3)


def test_broken_frames_in_the_middle_are_left_out(run, tmp_path: Path) -> None:
    data = bytearray(film(tmp_path / "v.mp4", [noise(number, 120, 160) for number in range(60)]).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()
    (tmp_path / "v.mp4").write_bytes(data)
    code, text = run("v.mp4", "--save-csv")
    assert code == 1
    assert "of its 60 frames are broken and were skipped" in text
    with av.open(str(tmp_path / "out/exp/v.mp4")) as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert 40 < len(times) < 60
    assert times[-1] == pytest.approx(59 * 1001 / 30000, abs=2e-3), "those after the hole have their own times"


def test_rare_frames_are_no_end(run, tmp_path: Path) -> None:
    """At the rate of its start this film would have thousands of frames."""
    film(
        tmp_path / "v.mkv",
        [noise(0)] * 70,
        times=[33 * each for each in range(60)] + [3000 * each for each in range(1, 11)],
    )
    assert run("v.mkv")[0] == 0


def test_a_pipe_is_not_waited_for(run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "v.mp4")
    os.mkfifo(tmp_path / "in" / "w.jpg")
    code, text = run("in")
    assert code == 1
    assert "v.mp4: is not a file" in text
    assert "w.jpg: not a regular file" in text


def test_an_error_while_reading_ends_the_run(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is: a reader that died in silence would be waited for without end."""
    film(tmp_path / "v.mkv", [noise(0)])

    def failing(*_: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr("predict.films._pixels", failing)
    with pytest.raises(MemoryError, match="none left"):
        run("v.mkv")


def test_odd_shapes_and_names(run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "wide.png", 0, 10, 60_000)
    picture(tmp_path / "in" / "two\nlines, \x1b[31m.png", 1)
    picture(tmp_path / "in" / "-rf.png", 2)
    code, text = run("in", "--save-txt", "--save-csv", "--save-crop")
    assert code == 0
    assert "\x1b" not in text
    assert {file.name for file in (tmp_path / "out/exp").glob("*.png")} == {
        "wide.png",
        "two\nlines, \x1b[31m.png",
        "-rf.png",
    }


@pytest.mark.slow
def test_a_folder_of_thousands(run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    data = cv2.imencode(".jpg", noise(0, 16, 16))[1].tobytes()
    for number in range(2000):
        (tmp_path / "in" / f"{number:05d}.jpg").write_bytes(data)
    code, text = run("in", "--nosave", "--save-csv", "--batch-size", "64")
    assert code == 0
    assert "2000 pictures" in text


def test_files_that_cannot_be_written_are_counted(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for the first, one for the others, and the rest is done."""
    for number in range(40):
        picture(tmp_path / "in" / f"{number:02d}.png", number)
    whole = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".png" and path.name > "02":
            raise OSError(28, "No space left on device")  # as a write raises it, without a name
        return whole(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    code, text = run("in", "--save-csv")
    assert code == 1
    assert re.search(r"0[2-9]\.png: cannot be written \(No space left on device\)", text), "one of the first"
    assert text.count("No space left on device") == 2
    assert "37 more files cannot be written (No space left on device)" in text
    assert "38 of the sources or files failed" in text
    assert len(list((tmp_path / "out/exp").glob("*.png"))) == 2
    assert (tmp_path / "out/exp/predictions.csv").read_text().count("39.png") == 5


@pytest.mark.slow
@pytest.mark.parametrize("limit", [3_000, 40_000])
def test_a_full_disk(weights: Path, tmp_path: Path, limit: int) -> None:
    """A limit on the size of files fails as a full disk does."""
    film(tmp_path / "in" / "v.mkv", [noise(number, 120, 160) for number in range(40)])
    for number in range(4):
        picture(tmp_path / "in" / f"{number}.png", number, 120, 160)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "import detect; sys.exit(detect.main(sys.argv[1:]))"
    )
    command = ["--weights", weights, "--source", tmp_path / "in", "--device", "cpu", "--conf-thres", "0.5", "--project"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command), str(tmp_path / "out"), "--save-csv", "--max-det", "300"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "cannot be written" in done.stdout
    assert done.stdout.count("cannot be written (File too large)") <= 3, "not a line a file"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stop_in_the_middle_of_a_video(weights: Path, tmp_path: Path, number: int, code: int) -> None:
    film(tmp_path / "v.mkv", [noise(index % 7, 240, 320) for index in range(1500)])
    command = ["--weights", weights, "--source", tmp_path / "v.mkv", "--device", "cpu", "--conf-thres", "0.5"]
    process = subprocess.Popen(
        [sys.executable, "-c", START, *map(str, command), "--project", str(tmp_path / "out"), "--save-csv"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    written, patience = tmp_path / "out/exp/v.mp4", time.monotonic() + 90
    while time.monotonic() < patience and not (written.exists() and written.stat().st_size > 60_000):
        time.sleep(0.02)
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == code, text
    shown = frames_of(written)
    assert 0 < shown < 1500
    rows = (tmp_path / "out/exp/predictions.csv").read_text().splitlines()
    assert int(rows[-1].split(",")[1]) >= shown - 1, "a row is there as soon as its frame"


def test_an_address_without_a_stream(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PAUSES", (0.05, 0.05))
    monkeypatch.setattr(streams.Stream.__init__, "__defaults__", ((0.05, 0.05),))
    code, text = run("http://127.0.0.1:9/none.mjpg", "--nosave")
    assert code == 1
    assert "http://127.0.0.1:9/none.mjpg: cannot be opened; check the address" in text


@pytest.mark.slow
def test_memory_stays_flat_over_a_long_video(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from predict import pipeline
    from predict.frames import Frame

    seen: list[int] = []

    def long(origin: Origin, stride: int) -> Iterator[Frame]:
        for number in range(3000):
            if number in (500, 2999):
                seen.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
            yield Frame(origin, noise(0, 240, 320), number, number / 30)

    film(tmp_path / "v.mkv", [noise(0)])
    monkeypatch.setattr(pipeline, "read", long)
    assert run("v.mkv", "--save-csv", "--nosave")[0] == 0
    assert seen[1] - seen[0] < 30e6
    assert os.path.getsize(tmp_path / "out/exp/predictions.csv") > 0
