"""A checkpoint that finds many boxes, pictures, and videos made of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import detect
from models import layout
from tests.network import lively
from utils import checkpoint

NAMES = ("cat", "dog/..", "bird")


def checkpoint_of(path: Path, narrow: Path, names: tuple[str, ...]) -> Path:
    """A best.pt at 64 pixels."""
    facts = {"layout": layout.read(str(narrow)), "classes": len(names), "names": list(names), "imgsz": 64, "data": ""}
    checkpoint.save(path, facts | {"ema": lively(narrow, names).state_dict()})
    return path


@pytest.fixture(scope="session")
def weights(narrow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("weights") / "best.pt", narrow, NAMES)


def noise(seed: int, height: int = 60, width: int = 90) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 255, (height // 10 + 1, width // 10 + 1, 3), np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((10, 10, 1), np.uint8))[:height, :width])


def picture(path: Path, seed: int = 0, height: int = 60, width: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, height, width)).save(path)
    return path


def film(
    path: Path, frames: list[np.ndarray], rate: Fraction = Fraction(30000, 1001), times: list[int] | None = None
) -> Path:
    """A video of lossless frames; times in milliseconds, by default at the rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1" if path.suffix == ".mkv" else "libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0" if path.suffix == ".mkv" else "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.fixture
def run(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Calls detect.py on a source, in an empty folder: its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(source: str, *flags: str) -> tuple[int, str]:
        words = ["--weights", str(weights), "--source", source, "--device", "cpu", "--conf-thres", "0.5"]
        code = detect.main([*words, "--max-det", "5", "--project", "out", *flags])
        return code, capsys.readouterr().out

    return call
