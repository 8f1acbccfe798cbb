"""A model in Python: what it takes, what it gives, with and without the hub."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import exporters
from exporters.formats import Export
from models import Detector
from predict.model import Model, load
from predict.results import Results
from tests.network import lively
from utils.errors import UserError

NAMES = ("cat", "dog/..", "bird")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def detector(narrow: Path) -> Detector:
    return lively(narrow, NAMES)


@pytest.fixture
def model(detector: Detector) -> Model:
    return Model(detector, NAMES, 64)


@pytest.fixture
def results() -> Results:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (40, 60, 3), np.uint8), rng.integers(0, 255, (30, 20, 3), np.uint8)]
    boxes = [torch.tensor([[6.0, 4, 36, 20, 0.9, 1], [0, 0, 60, 40, 0.5, 0]]), torch.zeros(0, 6)]
    return Results(pictures, boxes, NAMES, ["in/a.png", "out/a.png"], {"load": 1.0})


def photo(path: Path, height: int = 48, width: int = 80, seed: int = 0) -> np.ndarray:
    """Write a lossless picture; its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_every_kind_of_picture_gives_the_same_boxes(model: Model, tmp_path: Path) -> None:
    pixels = photo(tmp_path / "a.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = model(pixels).xyxy[0]
    assert len(expected)
    kinds = [str(tmp_path / "a.png"), tmp_path / "a.png", str(tmp_path / "*.png"), tmp_path]
    kinds += [Image.open(tmp_path / "a.png"), tensor, tensor / 255, tensor[None]]
    for kind in kinds:
        (found,) = model(kind).xyxy
        assert torch.equal(found, expected)
    assert model(tmp_path).files == [str(tmp_path / "a.png")]


def test_a_list_of_mixed_sizes_is_the_pictures_one_by_one(model: Model, tmp_path: Path) -> None:
    pixels = [photo(tmp_path / f"{i}.png", 20 + 11 * i, 90 - 9 * i, i) for i in range(7)]
    mixed = [pixels[0], str(tmp_path / "1.png"), Image.fromarray(pixels[2]), *pixels[3:]]
    together = model(mixed, batch_size=3)
    assert len(together) == 7
    for found, alone in zip(together.xyxy, pixels, strict=True):
        torch.testing.assert_close(found, model(alone).xyxy[0], atol=1e-3, rtol=0)
        assert (found[:, [0, 2]] <= alone.shape[1]).all()
        assert (found[:, [1, 3]] <= alone.shape[0]).all()


def test_attributes_choose(model: Model) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    model.conf = 0.01
    every = model(pixels).xyxy[0]
    assert set(every[:, 5].tolist()) > {0.0}
    model.classes = "bird"
    assert set(model(pixels).xyxy[0][:, 5].tolist()) == {2.0}
    model.classes = [0, "bird"]
    assert set(model(pixels).xyxy[0][:, 5].tolist()) == {0.0, 2.0}
    model.classes, model.max_det = None, 2
    assert torch.equal(model(pixels).xyxy[0], every[:2])
    model.max_det, model.agnostic = 1000, True
    assert len(model(pixels).xyxy[0]) < len(every)
    model.agnostic, model.conf = False, 1.0
    assert len(model(pixels).xyxy[0]) == 0
    model.classes = ["birb"]
    with pytest.raises(UserError, match="did you mean 'bird'"):
        model(pixels)


def test_forms(results: Results) -> None:
    assert results.xywh[0][0].tolist() == pytest.approx([21, 12, 30, 16, 0.9, 1])
    assert results.xyxyn[0][0].tolist() == pytest.approx([0.1, 0.1, 0.6, 0.5, 0.9, 1])
    assert results.xywhn[0][0].tolist() == pytest.approx([0.35, 0.3, 0.5, 0.4, 0.9, 1])
    assert [rows.shape for rows in results.xywhn] == [(2, 6), (0, 6)]
    assert len(results) == len(list(results)) == 2
    assert results[1].files == ["out/a.png"]
    assert results.pred is results.xyxy
    first, second = json.loads(results.to_json())
    assert (first["file"], first["width"], first["height"]) == ("in/a.png", 60, 40)
    assert first["boxes"][1] == {"class": 0, "name": "cat", "x1": 0, "y1": 0, "x2": 60, "y2": 40, "score": 0.5}
    assert second["boxes"] == []


def test_pandas(results: Results) -> None:
    pandas = pytest.importorskip("pandas")
    tables = results.pandas()
    assert list(tables.xyxy[0].columns) == ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    assert list(tables.xywhn[1].columns) == ["xcenter", "ycenter", "width", "height", "confidence", "class", "name"]
    assert tables.xyxy[0]["name"].tolist() == ["dog/..", "cat"]
    assert tables.xyxy[0]["class"].tolist() == [1, 0]
    assert isinstance(tables.xywh[1], pandas.DataFrame)
    assert (pandas.concat(tables.xyxy).dtypes == tables.xyxy[0].dtypes).all()  # one without boxes changes no column


def test_supervision(results: Results) -> None:
    pytest.importorskip("supervision")
    first, second = results.to_supervision()
    assert first.xyxy.tolist() == [[6, 4, 36, 20], [0, 0, 60, 40]]
    assert first.class_id.tolist() == [1, 0]
    assert list(first["class_name"]) == ["dog/..", "cat"]
    assert len(second) == 0


def test_packages_that_are_not_there_are_named(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="needs pandas; pip install pandas"):
        results.pandas()
    with pytest.raises(UserError, match="needs supervision; pip install supervision"):
        results.to_supervision()


def test_print(results: Results, capsys: pytest.CaptureFixture) -> None:
    results.print()
    assert capsys.readouterr().out.splitlines() == [
        "picture 1/2 in/a.png: 60x40, 1 cat, 1 dog/..",
        "picture 2/2 out/a.png: 20x30, nothing found",
        "1.0 ms load per picture",
    ]


def test_drawn_saved_and_cut_out(results: Results, tmp_path: Path) -> None:
    before = [picture.copy() for picture in results.pictures]
    drawn = results.render()
    assert all((a == b).all() for a, b in zip(before, results.pictures, strict=True))
    assert (drawn[0] != before[0]).any()
    assert (drawn[1] == before[1]).all()
    folder = results.save(tmp_path / "exp")
    assert sorted(os.listdir(folder)) == ["a_000000.jpg", "a_000001.jpg"]
    assert results.save(tmp_path / "exp").name == "exp2"
    assert results.save(tmp_path / "exp", exist_ok=True) == folder
    crops = results.crop(save_dir=tmp_path / "cut")
    assert [(crop["label"], crop["cls"], crop["im"].shape) for crop in crops] == [
        ("dog/..", 1, (16, 30, 3)),
        ("cat", 0, (40, 60, 3)),
    ]
    assert (crops[0]["im"] == before[0][4:20, 6:36]).all()
    files = sorted(str(file.relative_to(tmp_path / "cut")) for file in (tmp_path / "cut").rglob("*.jpg"))
    assert files == ["crops/cat/a_000000_1.jpg", "crops/dog_../a_000000_0.jpg"]
    assert len(results.crop(save=False)) == 2


def test_a_notebook_shows_the_pictures(results: Results) -> None:
    shown = cv2.imdecode(np.frombuffer(results._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (40 + 4 + 30 + 4, 60, 3)
    assert Results([], [], NAMES, [])._repr_png_() is None


NO_PICTURES = {
    "nothing there": ("none/*.jpg", "no picture there"),
    "text file": (__file__, "not a picture in a known format"),
    "number": (3, "a int is not a picture"),
    "floats": (np.zeros((5, 5, 3)), "an array of float64"),
    "shape": (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\)"),
    "small": (np.zeros((1, 5, 3), np.uint8), "5 x 1 pixels"),
    "tensor": (torch.zeros(5, 5, 3), r"a tensor of shape \(5, 5, 3\)"),
    "bright": (torch.full((3, 8, 8), 1.5), "float from 0 to 1"),
    "nan": (torch.full((3, 8, 8), float("nan")), "float from 0 to 1"),
}


@pytest.mark.parametrize("kind", NO_PICTURES)
def test_what_is_no_picture(kind: str, model: Model) -> None:
    source, message = NO_PICTURES[kind]
    with pytest.raises(UserError, match=message):
        model(source)


def test_no_pictures_at_all(model: Model) -> None:
    assert len(model([])) == 0


def test_grey_alpha_and_sixteen_bits(model: Model, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)
    three = np.repeat(grey[..., None], 3, 2)
    expected = model(three).xyxy[0]
    deep = Image.fromarray((grey.astype(np.uint16) << 8) + 7)
    for kind in (grey, grey[..., None], np.dstack((three, grey)), Image.fromarray(grey), deep):
        assert torch.equal(model(kind).xyxy[0], expected)


def test_turned_as_exif_says(model: Model, tmp_path: Path) -> None:
    pixels = photo(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    turned = model(Image.open(tmp_path / "turned.png"))
    assert (turned.pictures[0] == np.rot90(pixels, -1)).all()


@pytest.mark.parametrize("size", [0, -32, 64.5, "64", (64,), (64, 0), (64, 64, 64)])
def test_what_is_no_size(size: object, model: Model) -> None:
    with pytest.raises(UserError, match="give the pixels of the longer side"):
        model(np.zeros((60, 90, 3), np.uint8), size=size)


def test_numbers_of_numpy(model: Model) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    model.classes = np.array([1])
    assert set(model(pixels, size=np.int64(64)).xyxy[0][:, 5].tolist()) <= {1}


def test_an_exported_file_is_a_model_too(detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    for nms in (False, True):
        facts = exporters.Metadata(NAMES, 32, (64, 64), 1, dynamic=True, nms=nms)
        exporters.get("torchscript").write(Export(detector, facts, torch.device("cpu")), tmp_path / "a.torchscript")
        model, expected = load(tmp_path / "a.torchscript"), Model(detector, NAMES, 64)
        found, rows = model(pixels).xyxy[0], expected(pixels).xyxy[0]
        assert len(rows)
        torch.testing.assert_close(found, rows, atol=1e-3, rtol=0)
        caplog.clear()
        model.network.warn(0.25, 0.45)
        assert not caplog.text
        model.network.warn(0.001, 0.6)
        assert ("its built-in NMS runs first" in caplog.text) == nms
    facts = exporters.Metadata(NAMES, 32, (64, 96), 2)
    exporters.get("torchscript").write(Export(detector, facts, torch.device("cpu")), tmp_path / "b.torchscript")
    fixed = load(tmp_path / "b.torchscript")
    assert len(fixed([pixels, pixels, pixels[:, :30]])) == 3
    assert fixed.to("cpu") is fixed.cpu() is fixed.eval() is fixed.float() is fixed
    fixed.device = torch.device("cuda", 0)  # as if
    with pytest.raises(UserError, match="stays where it was loaded"):
        fixed.to("cpu")
    assert expected.to("cpu") is expected
    with pytest.raises(UserError, match="takes 64 x 96 pixels alone"):
        fixed(pixels, size=64)
