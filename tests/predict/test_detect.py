"""detect.py as a user runs it: what it leaves for each source, and that it finds what val.py finds."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import detect
import val
from data.index import build_index
from data.loader import ValLoader
from data.pictures import SUFFIXES
from data.store import ImageStore
from models.load import load_detector
from predict.model import load
from predict.options import Options
from tests.predict.conftest import NAMES, checkpoint_of, film, noise, picture

Run = tuple[int, Path]


@pytest.fixture
def run(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def call(source: object, *flags: object, **options: object) -> Run:
        given = {"weights": weights, "device": "cpu", "conf-thres": 0.5, "max-det": 20, "project": "out"} | options
        words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        code = detect.main(["--source", str(source), *words, *map(str, flags)])
        folders = sorted((tmp_path / "out").glob("exp*"), key=lambda folder: folder.stat().st_mtime_ns)
        return code, folders[-1] if folders else tmp_path

    return call


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_keeps_its_tree(run, tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "b/a.jpg", "b/c/a.png", "b/a.bmp")):
        picture(tmp_path / "in" / name, number)
    code, out = run("in", "--save-txt", "--save-conf", "--save-csv", "--save-json", "--save-crop")
    assert code == 0
    for name in ("a.jpg", "b/a.jpg", "b/c/a.png", "b/a.bmp"):
        with Image.open(out / name) as drawn:
            assert drawn.size == (90, 60)
            assert (
                np.abs(
                    np.asarray(drawn.convert("RGB")).astype(int) - np.asarray(Image.open(tmp_path / "in" / name))
                ).max()
                > 50
            )
    labels = {str(file.relative_to(out / "labels")) for file in (out / "labels").rglob("*.txt")}
    assert labels == {"a.txt", "b/a.txt", "b/a.jpg.txt", "b/c/a.txt"} or labels == {
        "a.txt",
        "b/a.txt",
        "b/a.bmp.txt",
        "b/c/a.txt",
    }
    rows = rows_of(out)
    count = sum(len(file.read_text().splitlines()) for file in (out / "labels").rglob("*.txt"))
    assert len(rows) == count == len(json.loads((out / "predictions.json").read_text())) > 20
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    crops = [file.relative_to(out / "crops") for file in (out / "crops").rglob("*.jpg")]
    assert len(crops) == count
    assert {file.parts[0] for file in crops} <= {"cat", "dog_", "bird"}, "no class name leads out of the folder"


def test_no_two_write_the_same_file(run, tmp_path: Path) -> None:
    """Pictures under every suffix, and pictures called as the frames of a video are."""
    for number, suffix in enumerate(SUFFIXES):
        Image.fromarray(noise(number)).save(tmp_path / f"p{suffix}", "JPEG")
    film(tmp_path / "v.mkv", [noise(number) for number in range(3)])
    film(tmp_path / "w.mkv", [noise(number) for number in range(3)])
    names = [*sorted(f"p{suffix}" for suffix in SUFFIXES), "v_000001.png", "v.mkv", "w.mkv", "w_000002.png"]
    for name in ("v_000001.png", "w_000002.png"):
        picture(tmp_path / name, 9)
    (tmp_path / "list.txt").write_text("\n".join(names))
    code, out = run("list.txt", "--save-txt", "--save-csv", "--save-crop")
    assert code == 0
    assert len([file for file in out.iterdir() if file.suffix in (*SUFFIXES, ".mp4")]) == len(names)
    assert len(list((out / "labels").iterdir())) == len(SUFFIXES) + 2 + 6
    assert len(list((out / "crops").rglob("*.jpg"))) == len(rows_of(out))


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_boxes_are_those_of_validation(run, narrow: Path, tmp_path: Path, batch: int) -> None:
    """With one class, for validation keeps every class of a box and detection the best one."""
    for number, (height, width) in enumerate([(60, 90), (90, 60), (64, 64), (30, 90), (60, 90), (200, 150), (61, 89)]):
        picture(tmp_path / "images" / f"{number}.png", number, height, width)
    weights = checkpoint_of(tmp_path / "one.pt", narrow, ("thing",))
    index = build_index([tmp_path / "images"], 1, root=tmp_path, cache=False)
    loader = ValLoader(index, ImageStore(index, 64, cache="none"), batch_size=4, size=64)
    expected = {}
    for result in val.predictions(load_detector(weights), loader, conf=0.5, iou=0.45, max_det=20):
        expected |= dict(zip(result.batch.indices.tolist(), result.boxes, strict=True))
    code, out = run("images", "--save-csv", weights=weights, **{"batch-size": batch})
    assert code == 0
    found = rows_of(out)
    assert len(found) > 50
    for number, rows in expected.items():
        mine = [row for row in found if row["file"].endswith(f"{number}.png")]
        got = np.array([[float(row[key]) for key in ("x1", "y1", "x2", "y2", "score")] for row in mine])
        np.testing.assert_allclose(got, rows[:, :5].numpy(), atol=0.01)


def test_a_video_keeps_its_rate_length_and_times(run, tmp_path: Path) -> None:
    frames = [noise(number) for number in range(20)]
    film(tmp_path / "in" / "v.mkv", frames)
    picture(tmp_path / "in" / "a.png", 3)
    code, out = run("in", "--save-csv", "--save-txt")
    assert code == 0
    assert (out / "a.png").is_file()
    with av.open(str(out / "v.mp4")) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        times = [frame.time for frame in video.decode(stream)]
    np.testing.assert_allclose(times, np.arange(20) * 1001 / 30000, atol=2e-3)
    assert len(list((out / "labels").glob("v_*.txt"))) == 20
    pictured = [row for row in rows_of(out) if row["file"].endswith("a.png")]
    filmed = [row for row in rows_of(out) if row["frame"] == "3"]
    keys = ("class", "score", "x1", "y1", "x2", "y2")
    assert [[row[key] for key in keys] for row in filmed] == [[row[key] for key in keys] for row in pictured]
    assert filmed[0]["time"] == "0.100"


def test_uneven_times_and_strides(run, tmp_path: Path) -> None:
    film(tmp_path / "v.mkv", [noise(number) for number in range(6)], times=[0, 40, 200, 240, 500, 540])
    _, out = run("v.mkv", "--save-csv", **{"vid-stride": 2})
    assert sorted({float(row["time"]) for row in rows_of(out)}) == [0, 0.2, 0.5]
    with av.open(str(out / "v.mp4")) as video:
        np.testing.assert_allclose([frame.time for frame in video.decode(video=0)], [0, 0.2, 0.5], atol=1e-3)


def test_without_pyav_opencv_writes(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for name in ("v.mp4", "w.mp4"):
        film(tmp_path / name, [noise(number, 60, 90) for number in range(8)], rate=Fraction(10))
    monkeypatch.setattr("predict.films.pyav", lambda: None)
    code, out = run("?.mp4")
    assert code == 0
    assert capsys.readouterr().out.count("PyAV") == 1
    video = cv2.VideoCapture(str(out / "v.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (8, 10)


def test_lists_globs_and_names(run, tmp_path: Path) -> None:
    for name in ("x/a.jpg", "x/b.jpg", "y/a.jpg"):
        picture(tmp_path / name)
    (tmp_path / "x" / "LIST.TXT").write_bytes(b"\xef\xbb\xbfa.jpg\r\n\r\n# one\r\n  # another\r\n ../y/a.jpg \r\n")
    _, out = run("x/LIST.TXT")
    assert {str(file.relative_to(out)) for file in out.rglob("*.jpg")} == {"x/a.jpg", "y/a.jpg"}
    _, out = run("*/a.jpg", "--nosave", "--save-txt")
    assert not list(out.rglob("*.jpg"))
    assert {str(file.relative_to(out)) for file in out.rglob("*.txt")} == {"labels/x/a.txt", "labels/y/a.txt"}


def test_classes_by_name_or_number(run, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    _, out = run("a.png", "--save-csv")
    assert {"cat", "dog/.."} <= {row["class"] for row in rows_of(out)}
    for chosen, names in (
        (["cat"], {"cat"}),
        (["0"], {"cat"}),
        (["0,1"], {"cat", "dog/.."}),
        (["0", "dog/.."], {"cat", "dog/.."}),
        (["cat, 1"], {"cat", "dog/.."}),
    ):
        _, out = run("a.png", "--save-csv", "--classes", *chosen)
        assert {row["class"] for row in rows_of(out)} == names
    for wrong in ("cta", "0,3", "0;1"):
        assert run("a.png", "--classes", wrong)[0] == 2


def test_a_name_with_a_comma_is_a_class() -> None:
    options = Options(classes=["red, round", "blue,red, round", "1,2"])
    assert options.chosen(["red, round", "blue"]) == ["red, round", "blue", "red", "round", 1, 2]


def test_voc_annotations(run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a & b.png")
    _, out = run("in", "--save-txt", "--save-format", "voc", "--save-csv")
    root = ET.parse(out / "labels" / "a & b.xml").getroot()
    assert root.findtext("filename") == "a & b.png"
    assert [root.findtext(f"size/{side}") for side in ("width", "height")] == ["90", "60"]
    boxes = [
        [int(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
        for item in root.iter("object")
    ]
    assert boxes == [[round(float(row[key])) for key in ("x1", "y1", "x2", "y2")] for row in rows_of(out)]


def test_a_folder_used_again_is_written_anew(run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png")
    _, out = run("in", "--save-txt", "--save-csv")
    (out / "mine.txt").write_text("kept")
    (tmp_path / "in" / "b.png").unlink()
    _, again = run("in", "--save-txt", "--save-csv", "--exist-ok")
    assert again == out
    assert [file.name for file in (out / "labels").iterdir()] == ["a.txt"]
    assert {Path(row["file"]).name for row in rows_of(out)} == {"a.png"}
    assert (out / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize("source", ["out/exp", "out/exp/v.mp4", "out/exp/crops"])
def test_sources_in_a_folder_used_again_are_spared(run, tmp_path: Path, capsys, source: str) -> None:
    picture(tmp_path / "in" / "a.png")
    film(tmp_path / "in" / "v.mp4", [noise(number) for number in range(3)])
    _, out = run("in", "--save-crop")
    before = {file: file.read_bytes() for file in out.rglob("*.*")}
    assert run(source, "--exist-ok")[0] == 2
    assert "would be overwritten" in capsys.readouterr().out
    assert before == {file: file.read_bytes() for file in out.rglob("*.*")}


def test_what_cannot_be_read_is_a_line_and_exit_1(run, tmp_path: Path, capsys) -> None:
    picture(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "in" / "cut.mp4").write_bytes(b"\0" * 100)
    code, out = run("in", "--save-csv")
    assert code == 1
    text = capsys.readouterr().out
    assert text.count("bad.jpg: not a picture") == 1
    assert "cut.mp4: " in text
    assert (out / "good.png").is_file()
    assert {Path(row["file"]).name for row in rows_of(out)} == {"good.png"}


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("gone", [], "no such file or folder"),
        ("screen 0", [], "the screen is not read"),
        ("https://youtu.be/abc", [], "YouTube is not read"),
        ("empty", [], "no picture or video there"),
        ("a.png", ["--augment"], "--augment is not offered: test-time"),
        ("a.png", ["--update"], "--update is not offered"),
        ("a.png", ["--save-conf"], "--save-conf goes with --save-txt"),
        ("a.png", ["--save-conf", "--save-format", "yolo"], "--save-conf goes with --save-txt"),
        ("a.png", ["--imgsz", "1", "2", "3"], "give one number, or height and width"),
        ("a.png", ["--imgsz", "64", "100000"], "over 16,384 pixels on a side; give a smaller one"),
        ("a.png", ["--view-img"], "there is no display here"),
        ("notes.md", [], "neither a picture nor a video"),
    ],
)
def test_refused_in_one_line(
    run, tmp_path: Path, capsys, monkeypatch, source: str, flags: list[str], message: str
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    picture(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").touch()
    assert run(source, *flags)[0] == 2
    out = capsys.readouterr().out
    assert message in out
    assert len([line for line in out.splitlines() if line.startswith("error")]) == 1
    assert not (tmp_path / "out").exists()


def test_two_sides_of_the_size(weights: Path) -> None:
    model = load(weights, torch.device("cpu"))
    assert model.prepare(noise(0, 60, 90), (64, 128)).image.shape == (3, 96, 128)
    assert model.prepare(noise(0, 60, 90), 64).image.shape == (3, 64, 96)
    assert model.names == dict(enumerate(NAMES))


def test_no_box_at_all_is_an_empty_table(run, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    code, out = run("a.png", "--save-json", "--save-csv", **{"conf-thres": 1.0})
    assert code == 0
    assert json.loads((out / "predictions.json").read_text()) == rows_of(out) == []
