"""Videos that are whole, though they are not as regular as most."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from predict.films import Film
from tests.predict.conftest import film, noise


def test_a_whole_video_is_not_said_to_be_cut(run, tmp_path: Path) -> None:
    frames = [noise(number) for number in range(8)]
    film(tmp_path / "in" / "late.mkv", frames, times=[5000 + 33 * number for number in range(8)])
    film(tmp_path / "in" / "uneven.mkv", frames, times=[0, 33, 66, 1000, 2000, 2033, 2066, 5000])
    with av.open(str(tmp_path / "in" / "sound.mkv"), "w") as out:
        stream, sound = out.add_stream("libx264", rate=10), out.add_stream("aac", rate=8000)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noise(number, 64, 96), format="rgb24")))
        out.mux(stream.encode())
        for number in range(20):
            part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            part.sample_rate, part.pts = 8000, 1024 * number
            out.mux(sound.encode(part))
        out.mux(sound.encode())
    code, text = run("in", "--save-csv")
    assert code == 0, text
    with (tmp_path / "out/exp/predictions.csv").open() as table:
        times = {line.split(",")[2] for line in table if "late.mkv" in line}
    assert "0.000" in times
    assert max(map(float, times)) < 0.3


def test_a_scene_begins_with_a_frame_that_needs_no_other(tmp_path: Path) -> None:
    """One predicted from another scene is larger and takes longer; within a scene most frames are predicted."""
    first, second = noise(0, 96, 128), 255 - noise(0, 96, 128)
    out = Film(tmp_path / "out.mp4", 10)
    for number, scene in enumerate([first] * 3 + [second] * 4):
        out.write(np.roll(scene, number, 1), number / 10)
    out.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [frame.key_frame for frame in container.decode(video=0)] == [n in (0, 3) for n in range(7)]
