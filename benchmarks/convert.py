"""How long it takes to convert 100,000 annotations, as PASCAL VOC and as COCO.

    python -m benchmarks.convert [--boxes 100000] [--per-picture 7]

The pictures are 640 x 480 JPEG scenes of the drawn sample, no two files alike, with as many boxes each as COCO has on
average. The figure is what a user waits for: the whole command, `python -m data.convert SRC --out DST`, as a process
of its own, pictures checked and copied.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from benchmarks import machine
from utils.console.log import progress

OUT = Path(__file__).parent / "results" / "convert.json"
SIZE = (640, 480)
SCENES = 32  # different encoded scenes; each file has a comment of its own besides
Boxes = list[tuple[str, tuple[int, int, int, int]]]


def scenes(rng: np.random.Generator) -> list[bytes]:
    """Encoded pictures about as heavy as COCO's: smooth shapes with some noise."""
    made = []
    for _ in range(SCENES):
        coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(pixels + rng.normal(0, 12, pixels.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=80)
        made.append(file.getvalue())
    return made


def draw(folder: Path, number: int, encoded: Sequence[bytes]) -> str:
    """Write picture `number` and return its name; a comment makes its bytes unlike any other's."""
    data, note = encoded[number % len(encoded)], f"{number:08d}".encode()
    name = f"{number:08d}.jpg"
    (folder / name).write_bytes(data[:2] + b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note + data[2:])
    return name


def boxes(rng: Random, count: int) -> Boxes:
    """Random boxes of the picture."""
    made = []
    for _ in range(count):
        x, y = rng.randrange(SIZE[0] - 40), rng.randrange(SIZE[1] - 40)
        corners = (x, y, x + rng.randrange(8, SIZE[0] - x), y + rng.randrange(8, SIZE[1] - y))
        made.append((f"class{rng.randrange(20)}", corners))
    return made


def as_voc(root: Path, pictures: dict[str, Boxes]) -> None:
    """Annotations/*.xml."""
    (root / "Annotations").mkdir()
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    for name, found in pictures.items():
        objects = "".join(
            f"<object>\n<name>{label}</name>\n<pose>Unspecified</pose>\n<truncated>0</truncated>\n<difficult>0</difficult>\n"
            f"<bndbox>\n<xmin>{x1}</xmin>\n<ymin>{y1}</ymin>\n<xmax>{x2}</xmax>\n<ymax>{y2}</ymax>\n</bndbox>\n</object>\n"
            for label, (x1, y1, x2, y2) in found
        )
        text = f"<annotation>\n<filename>{name}</filename>\n{size}\n{objects}</annotation>\n"
        (root / "Annotations" / name).with_suffix(".xml").write_text(text)


def as_coco(root: Path, pictures: dict[str, Boxes]) -> None:
    """annotations/instances.json."""
    images, annotations = [], []
    for number, (name, found) in enumerate(pictures.items(), 1):
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        for label, (x1, y1, x2, y2) in found:
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": int(label[5:]) + 1,
                                "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})  # fmt: skip
    categories = [{"id": number + 1, "name": f"class{number}"} for number in range(20)]
    (root / "annotations").mkdir()
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances.json").write_text(json.dumps(content))


LAYOUTS: dict[str, Callable[[Path, dict[str, Boxes]], None]] = {"voc": as_voc, "coco": as_coco}


def measure(name: str, folder: Path, count: int, per_picture: int) -> dict[str, float]:
    """Draw the set, convert it, and say how long that took."""
    rng, encoded, root = Random(0), scenes(np.random.default_rng(0)), folder / name
    images = root / "JPEGImages"
    images.mkdir(parents=True)
    numbers = range(-(-count // per_picture))
    pictures = {draw(images, n, encoded): boxes(rng, per_picture) for n in progress(numbers, desc=f"drawing {name}")}
    LAYOUTS[name](root, pictures)
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "data.convert", str(root), "--out", str(folder / f"{name}-yolo")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    written = sum(len(file.read_text().splitlines()) for file in (folder / f"{name}-yolo" / "labels").rglob("*.txt"))
    megabytes = sum(file.stat().st_size for file in images.iterdir()) / 1e6
    shutil.rmtree(root)
    shutil.rmtree(folder / f"{name}-yolo")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"annotations": written, "pictures": len(pictures), "megabytes": round(megabytes, 1),
            "seconds": round(seconds, 2), "processor_seconds": round(processor, 2)}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convert", description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=100_000)
    parser.add_argument("--per-picture", type=int, default=7)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(argv)
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in LAYOUTS:
            figures[name] = measure(name, Path(folder), given.boxes, given.per_picture)
            print(f"{name}: {figures[name]}")
    machine.write(given.out, figures)


if __name__ == "__main__":
    main()
