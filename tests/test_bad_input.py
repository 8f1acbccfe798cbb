"""Bad input to train.py: one clear line and exit code 2, or a warning and a run; nothing of the user's is touched."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import train
from tests.trainer import Runs, rows
from utils import checkpoint


@pytest.fixture
def copied(runs: Runs, tmp_path: Path) -> Runs:
    """Runs on a data set of its own, in a folder whose name has a space and letters beyond ASCII."""
    root = tmp_path / "Bilder und größer 面"
    shutil.copytree(runs.faces.parent / "faces", root / "faces", ignore=shutil.ignore_patterns("*.cache*", "*.npz"))
    yaml = root / "données.yaml"
    yaml.write_text("path: faces\ntrain: images/train\nval: images/val\nnames: [bare, masked, wrong]\n")
    return Runs(yaml, runs.narrow, runs.folder)


def refused(capsys: pytest.CaptureFixture, code: int, *parts: str) -> str:
    """The run ended with code 2 and one line of error, which holds `parts`; it left no folder. Returns the line."""
    shown = capsys.readouterr()
    assert code == 2, shown.out
    errors = [line for line in shown.out.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert shown.out.splitlines()[-1] == errors[0]
    assert "Traceback" not in shown.out + shown.err
    assert not Path("runs").exists()
    for part in parts:
        assert part in errors[0]
    return errors[0]


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ("--lr-polcy sgdr", ["unknown argument '--lr-polcy'; did you mean '--lr-policy'?"]),
        ("stray", ["unknown argument 'stray'"]),
        ("--lr-policy sgrd", ["--lr-policy", "'sgrd'", "did you mean 'sgdr'?"]),
        ("--optimizer addamw", ["--optim", "'addamw'", "did you mean 'adamw'?"]),
        ("--lr-arg lfr=0.1", ["policy 'linear' has no option 'lfr'; did you mean 'lrf'?"]),
        ("--lr-arg lrf", ["--lr-arg lrf: give key=value"]),
        ("--lr-arg lrf=2", ["lrf=2", "at most 1"]),
        ("--lr-policy sgdr --lr-arg t0=1 cycles=2", ["t0 and cycles both set the length"]),
        ("--optim-arg nestrov=true", ["optimizer 'sgd' has no option 'nestrov'; did you mean 'nesterov'?"]),
        ("--wd-norm 0.1", ["--wd-norm needs --optim sgdw or adamw"]),
        ("--cos-lr --lr-policy sgdr", ["--cos-lr and --lr-policy sgdr contradict"]),
        (
            "--lr-policy onecycle --warmup-epochs 1",
            ["--warmup-epochs would do nothing: policy 'onecycle' ramps up by itself"],
        ),
        ("--lr-policy clr --lrf 0.1", ["--lrf would do nothing: policy 'clr' has no such option"]),
        ("--plugin no_such_module", ["plug-in 'no_such_module' failed to import"]),
        ("--plugin", ["--plugin", "expected at least one argument"]),
        ("--epochs ten", ["--epochs", "'ten'"]),
        ("--lr0 fast", ["'fast' is neither a number nor 'find'"]),
        ("--lr0 nan", ["lr0 is nan"]),
        ("--lr0 1e39", ["lr0 is 1e+39; it must be at most 1e+30"]),
        ("--lr0 0", ["lr0 is 0, which trains nothing"]),
        ("--momentum 1", ["momentum is 1.0; it must be under 1"]),
        ("--mosaic 2", ["mosaic=2"]),
        ("--epochs 0", ["--epochs 0: must be at least 1"]),
        ("--imgsz 16416", ["--imgsz 16416: must be at most 16384"]),
        ("--batch-size -2", ["--batch-size -2: must be at least 1"]),
        ("--imgsz 32 --batch-size 11 --parts 6", ["batches of 11, each in 6 parts, one is alone"]),
        ("--imgsz 32", ["--imgsz 32: of 11 pictures in batches of 2 one is alone", "give --imgsz 64"]),
        ("--imgsz 32 --batch-size 1 --multi-scale", ["--imgsz 32: of 11 pictures in batches of 1"]),
        ("--seed -1", ["--seed -1: must be at least 0"]),
        (f"--seed {1 << 63}", ["--seed", "must be at most"]),
        (f"--nbs {10**400}", ["--nbs", "must be at most"]),
        ("--workers -1", ["--workers -1: must be at least 0"]),
        ("--patience -5", ["--patience -5: must be at least 0"]),
        ("--clip-grad nan", ["--clip-grad nan: must be at least 0"]),
        ("--freeze -1", ["--freeze -1: layers are numbered from 0"]),
        ("--freeze 99", ["--freeze", "has layers 0 to 24"]),
        ("--freeze 25", ["nothing is left to train"]),
        ("--device cuda:63", ["--device cuda:63", "use --device auto or cpu"]),
        ("--device gpu", ["--device gpu: unknown; use auto, cpu, mps or cuda:N"]),
        ("--device 98,99", ["--device 98", "use --device auto or cpu"]),
        ("--device cpu --dtype fp16", ["--dtype fp16 needs a GPU"]),
        ("--cfg yolov5z", ["--cfg yolov5z: not a file", "did you mean 'yolov5x'?"]),
        ("--weights none.pt", ["none.pt"]),
        ("--hyp hihg.yaml", ["--hyp hihg.yaml: no such file", "did you mean 'high.yaml'?"]),
        ("--evolve", ["--evolve is not offered"]),
        ("--image-weights", ["--image-weights is not offered"]),
        ("--force", ["--force would do nothing: it goes with --resume"]),
        ("--cache disc", ["--cache", "'disc'"]),
    ],
)
def test_bad_flags(runs: Runs, capsys, flags: str, parts: list[str]) -> None:
    refused(capsys, runs(flags), *parts)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--resume", "none.pt"], ["--resume none.pt: no such checkpoint; give the path of a run's weights/last.pt"]),
        (["--resume"], ["there is no run under runs/train"]),
        (["--resume", "junk.pt"], ["junk.pt"]),
        (["--resume", "best.pt"], ["best.pt: holds only weights; resume from the run's weights/last.pt"]),
        (["--resume", "future.pt"], ["future.pt: checkpoint version 999, newer than", "update the program"]),
    ],
)
def test_bad_checkpoints(runs: Runs, capsys, words: list[str], parts: list[str]) -> None:
    Path("junk.pt").write_bytes(b"junk" * 100)
    checkpoint.save("best.pt", {"kind": "weights", "ema": {}})
    torch.save({"format": "anneal", "version": 999}, "future.pt")
    refused(capsys, train.main(words), *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (None, ["no data set file 'bad.yaml'"]),
        ("", ["bad.yaml: no 'train'"]),
        ("path: {root}\ntrain: images/train\nval: images/val\n", ["bad.yaml: no 'names'"]),
        ("path: {root}\ntrian: images/train\nval: a\nnames: [a]\n", ["bad.yaml:2", "'trian'", "'train'"]),
        ("path: {root}\ntrain: nowhere\nval: images/val\nnames: [a]\n", ["bad.yaml:2", "nowhere"]),
        ("path: {root}\ntrain: labels\nval: images/val\nnames: [a]\n", ["no usable pictures in", "labels"]),
        ("path: {root}\ntrain: images/train\nval: images/val\nnames: [a]\nnc: 3\n", ["bad.yaml:5: nc is 3"]),
        ("path: [\n", ["bad.yaml:"]),
        ("train: !!python/object/apply:os.system [true]\n", ["bad.yaml:1"]),
    ],
)
def test_bad_data_yaml(runs: Runs, capsys, text: str | None, parts: list[str]) -> None:
    if text is not None:
        Path("bad.yaml").write_text(text.replace("{root}", str(runs.faces.parent / "faces")))
    refused(capsys, runs(data="bad.yaml"), *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lr0: 0.01\nmosiac: 1.0\n", ["hyp.yaml:2: unknown key 'mosiac'; did you mean 'mosaic'?"]),
        ("lr0: fast\n", ["hyp.yaml", "lr0", "'fast'"]),
        ("box: [1]\n", ["hyp.yaml:1: box is [1]; it must be of type float"]),
        ("- 1\n", ["hyp.yaml"]),
    ],
)
def test_bad_hyper_parameters(runs: Runs, capsys, text: str, parts: list[str]) -> None:
    Path("hyp.yaml").write_text(text)
    refused(capsys, runs(hyp="hyp.yaml"), *parts)


def digests(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*.*") if path.is_file()}


def odd_pictures(images: Path) -> None:
    """Pictures that can be used, if with care, over the files 0000 to 0003; and four that cannot."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (60, 80), np.uint8)
    cv2.imencode(".png", grey)[1].tofile(images / "0000.png")
    cv2.imencode(".png", grey.astype(np.uint16) * 256)[1].tofile(images / "0001.png")
    Image.fromarray(np.dstack([grey] * 4), "CMYK").save(images / "0002.jpg")
    rotated = Image.fromarray(np.dstack([grey] * 3))
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(images / "0003.jpg", exif=exif)
    Image.fromarray(np.dstack([grey] * 4), "RGBA").save(images / "0004.png")
    for stem in ("0000", "0001", "0004"):
        (images / f"{stem}.jpg").unlink()
    whole = (images / "0005.jpg").read_bytes()
    (images / "0005.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "0006.jpg").write_bytes(b"")
    Image.fromarray(grey[:1, :1]).save(images / "0007.jpg")
    (images / "0008.jpg").write_bytes(b"no picture at all")


def test_odd_and_broken_pictures(copied: Runs, capsys) -> None:
    images = copied.faces.parent / "faces" / "images" / "train"
    odd_pictures(images)
    before = digests(images.parents[1])
    assert copied(epochs=1) == 0
    out = capsys.readouterr().out
    for name in ("0005.jpg", "0006.jpg", "0007.jpg", "0008.jpg"):
        lines = [line for line in out.splitlines() if f"{images / name}: " in line]
        assert len(lines) == 1, name
        assert lines[0].startswith("warning: ")
        assert "skipped" in lines[0]
    assert "train: 7 pictures" in out
    assert "4 pictures skipped" in out
    assert before.items() <= digests(images.parents[1]).items()
    assert len(rows(copied.run() / "results.csv")) == 1


BAD_ROWS = [
    ("0 0.5 0.5 0.2", "4 columns"),
    ("0 0.5 nan 0.2 0.2", "not finite"),
    ("0 1.5 0.5 0.2 0.2", "outside [0, 1]"),
    ("0 0.5 0.5 -0.2 0.2", "zero or less"),
    ("7 0.5 0.5 0.2 0.2", "class 7 is beyond the 3 names (0 to 2)"),
    ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is not a whole number"),
    ("one 0.5 0.5 0.2 0.2", "not numbers"),
    ("0 0.4 0.4 0.2 0.2", ""),
    ("0 0.4 0.4 0.2 0.2", "repeats"),
    ("1 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3", ""),  # a polygon: boxed
]


def test_bad_label_rows(copied: Runs, capsys) -> None:
    labels = copied.faces.parent / "faces" / "labels" / "train" / "0000.txt"
    labels.write_text("".join(f"{row}\n" for row, _ in BAD_ROWS))
    before = digests(labels.parents[2])
    assert copied(epochs=1) == 0
    out = capsys.readouterr().out
    for number, (_, part) in enumerate(BAD_ROWS, 1):
        told = [line for line in out.splitlines() if f"{labels}:{number}: " in line]
        assert len(told) == bool(part), number
        assert not part or (part in told[0] and told[0].startswith("warning: ")), number
    for part in ("7 label rows skipped", "1 polygon boxed", "1 repeated row dropped"):
        assert part in out
    assert before.items() <= digests(labels.parents[2]).items()


def test_no_labels_at_all(copied: Runs, capsys) -> None:
    shutil.rmtree(copied.faces.parent / "faces" / "labels")
    assert copied(epochs=1) == 2
    assert "error: train: no picture has a label file (looked for " in capsys.readouterr().out
    assert copied(epochs=1, allow_background=True) == 0
    out = capsys.readouterr().out
    assert "warning: train: no labels at all: every picture is background" in out
    assert "11 pictures (11 without boxes), 0 boxes" in out


def test_too_large_a_batch_and_an_odd_size(runs: Runs, capsys) -> None:
    assert runs(epochs=1, batch_size=64, imgsz=50) == 0
    out = capsys.readouterr().out
    assert "warning: --imgsz 50 is not a multiple of 32; using 64" in out
    assert "warning: --batch-size 64 is more than the 11 pictures; using 11" in out
    run = checkpoint.load(runs.run() / "weights" / "last.pt")["options"]["run"]
    assert (run["imgsz"], run["batch_size"]) == (64, 11)


def test_a_project_that_cannot_be_made(runs: Runs, capsys) -> None:
    Path("file").write_text("")
    refused(capsys, runs("--project file/runs"), "file/runs/exp: cannot make the folder", "choose another --project")
