"""Memory of detect.py over a long video: resident bytes at every tenth of its frames, which are simulated.

python -m benchmarks.long_video --weights best.pt --pictures path/to/images --out long_video.json
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

import detect
from benchmarks import machine
from data.pictures import SUFFIXES, decode
from predict import pipeline
from predict.frames import Frame, Origin

WIDTH, HEIGHT, RATE = 320, 240, 30
FEW = 50  # pictures that come again and again
FLAGS = "--imgsz 64 --batch-size 32 --conf-thres 0.05 --device cpu --save-csv --save-json --exist-ok"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--pictures", required=True, help="folder")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--out", required=True)
    options = parser.parse_args(argv)
    files = sorted(file for file in Path(options.pictures).iterdir() if file.suffix.lower() in SUFFIXES)[:FEW]
    if not files:
        parser.error(f"{options.pictures}: no pictures in it")
    pictures = [cv2.resize(decode(file), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for file in files]
    megabytes: dict[int, float] = {}

    def long(origin: Origin, stride: int) -> Iterator[Frame]:
        for number, picture in zip(range(options.frames), itertools.cycle(pictures), strict=False):
            yield Frame(origin, picture, number, number / RATE)
            if (number + 1) % (options.frames // 10) == 0:
                megabytes[number + 1] = round(resident() / 1e6, 1)
                print(f"{number + 1:,} frames: {megabytes[number + 1]} MB", flush=True)

    pipeline.read = long
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "long.mp4")
        source.touch()
        words = ["--weights", options.weights, "--source", str(source), "--project", folder, "--name", "out"]
        code = detect.main([*words, *FLAGS.split()])
        sizes = {file.name: file.stat().st_size for file in sorted(Path(folder, "out").iterdir())}
    results = {"exit_code": code, "resident_megabytes": megabytes, "bytes_written": sizes}
    machine.write(Path(options.out), results)


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
