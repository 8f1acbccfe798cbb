from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import models
import val
from data.index import build_index
from data.loader import ValLoader
from data.store import ImageStore
from models import layout
from models.load import load_ensemble
from models.loss import DetectionLoss, LossGains
from tests.golden import fill
from utils import checkpoint
from utils.metrics.confusion import ConfusionMatrix

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))  # RGB of classes 0, 1, 2
SHAPES = ((60, 100), (100, 60), (200, 200), (33, 150), (64, 64), (120, 90), (50, 50))


class ColourDetector(nn.Module):
    """Finds one rectangle of each pure colour: a detector that is right, to test what is around it."""

    classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        rows = torch.zeros(len(images), 3, 8)
        for i, image in enumerate(images.cpu()):
            for kind, colour in enumerate(COLOURS):
                distance = (image - torch.tensor(colour).view(3, 1, 1) / 255).abs().amax(0)
                ys, xs = (distance < 0.3).nonzero(as_tuple=True)
                if len(ys):
                    low, high = torch.stack((xs.min(), ys.min())), torch.stack((xs.max(), ys.max())) + 1
                    rows[i, kind] = torch.cat(((low + high) / 2, high - low, torch.tensor([0.9]), torch.eye(3)[kind]))
        return rows, []


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Pictures of many shapes, each with a red, a green or a blue rectangle, or two of them, or none."""
    generator = np.random.default_rng(0)
    images, labels = tmp_path / "set" / "images", tmp_path / "set" / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    for i, (height, width) in enumerate(SHAPES):
        picture, lines = np.full((height, width, 3), 114, np.uint8), []
        for kind in range(i % 3):
            x1, y1 = int(width * 0.5 * kind + generator.integers(2, 6)), int(generator.integers(2, height // 3))
            x2, y2 = int(x1 + width * 0.3), int(height - generator.integers(2, 9))
            picture[y1:y2, x1:x2] = COLOURS[kind][::-1]
            box = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            lines.append(" ".join(map(str, (kind, *box))))
        cv2.imwrite(str(images / f"p{i}.png"), picture)
        (labels / f"p{i}.txt").write_text("\n".join(lines))
    yaml = tmp_path / "set.yaml"
    yaml.write_text(f"path: {tmp_path / 'set'}\ntrain: images\nval: images\nnames: [red, green, blue]\n")
    return yaml


def loader_of(dataset: Path, **options) -> ValLoader:
    index = build_index([dataset.with_suffix("") / "images"], 3, root=dataset.parent, cache=False)
    return ValLoader(index, ImageStore(index, 160, cache="none"), **{"batch_size": 3, "size": 160} | options)


def weights_of(path: Path, **changes) -> Path:
    """A checkpoint whose detections are noise, but many."""
    model = models.build("yolov5n", 3)
    state = model.state_dict()
    for name, value in state.items():
        if "anchors" not in name and "num_batches" not in name:
            value.copy_(torch.from_numpy(fill.parameter(name, tuple(value.shape))))
    facts = {"layout": layout.read("yolov5n"), "classes": 3, "names": ["red", "green", "blue"], "imgsz": 160}
    facts["data"] = ""
    checkpoint.save(path, facts | {"ema": state} | changes)
    return path


def table_of(text: str) -> list[float]:
    """The numbers of the line `all`."""
    return [float(word) for word in next(line for line in text.splitlines() if line.startswith("all ")).split()[1:]]


@pytest.fixture(autouse=True)
def _logger():
    logger = logging.getLogger("anneal")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before[0], before[1], before[2]


@pytest.mark.parametrize("options", [{}, {"rect": False}, {"batch_size": 1}, {"workers": 0, "batch_size": 50}])
def test_right_detections_score_one_in_original_pixels(dataset, options):
    metrics = val.evaluate(ColourDetector(), loader_of(dataset, **options))
    assert metrics.map50 == pytest.approx(1.0)
    assert metrics.map > 0.9  # the pictures were resized: half a pixel is lost
    assert (metrics.precision, metrics.recall) == pytest.approx((1.0, 1.0))
    assert (metrics.images, metrics.instances) == (len(SHAPES), 6)
    assert [row.index for row in metrics.per_class] == [0, 1]


def test_predictions_lie_on_the_targets(dataset):
    loader = loader_of(dataset)
    seen = []
    for result in val.predictions(ColourDetector(), loader):
        for i, found, truth in zip(result.batch.indices.tolist(), result.boxes, result.targets, strict=True):
            seen.append(i)
            height, width = SHAPES[i]
            gain = 160 / max(height, width)
            assert torch.equal(found[:, 5].sort().values, truth[:, 0])
            rows = found[found[:, 5].argsort()]
            assert torch.allclose(rows[:, :4], truth[:, 1:], atol=1.5 / min(gain, 1))
    assert sorted(seen) == list(range(len(SHAPES)))


def test_single_class(dataset):
    metrics = val.evaluate(ColourDetector(), loader_of(dataset), single_class=True)
    assert [row.index for row in metrics.per_class] == [0]
    assert metrics.per_class[0].instances == 6
    assert metrics.map50 == pytest.approx(1.0)


def test_the_mode_of_every_module_comes_back(dataset):
    model = models.build("yolov5n", 3).train()
    model.model[0].eval()  # as frozen layers are
    before = [module.training for module in model.modules()]
    stopped = val.predictions(model, loader_of(dataset))
    next(stopped)
    assert not any(module.training for module in model.modules())
    stopped.close()
    assert [module.training for module in model.modules()] == before
    val.evaluate(model, loader_of(dataset))
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()


def test_losses_are_the_mean_over_pictures(dataset):
    model = models.build("yolov5n", 3).eval()
    criterion = DetectionLoss(model, LossGains().scaled(heads=3, classes=3, size=160))
    expected = torch.zeros(3)
    with torch.no_grad():
        for batch in loader_of(dataset):
            heads = model(batch.images.float() / 255)[1]
            expected += criterion(heads, batch.targets)[1] * len(batch.images)
    metrics = val.evaluate(model, loader_of(dataset), criterion=criterion)
    torch.testing.assert_close(metrics.losses, expected / len(SHAPES), rtol=1e-4, atol=1e-6)
    assert val.evaluate(model, loader_of(dataset)).losses is None


def test_out_of_memory_halves_the_batch(dataset, tmp_path, caplog):
    """Memory for two pictures: the same boxes and losses, to what convolutions of other batches round."""
    model = val.load_detector(weights_of(tmp_path / "w.pt"))
    settings = {"criterion": DetectionLoss(model, LossGains()), "max_det": 20}
    expected = list(val.predictions(model, loader_of(dataset, batch_size=7, rect=False), **settings))
    losses = val.evaluate(model, loader_of(dataset, batch_size=7, rect=False), **settings).losses

    def check(_: nn.Module, inputs: tuple) -> None:
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(check)
    found = list(val.predictions(model, loader_of(dataset, batch_size=7, rect=False), **settings))
    assert [len(result.boxes) for result in found] == [2, 2, 2, 1]
    assert caplog.text.count("out of memory in validation with") == 2  # 7, 4: then 2 fit
    for name in ("letterboxed", "boxes", "targets"):
        rows = [row for result in found for row in getattr(result, name)]
        for a, b in zip(rows, getattr(expected[0], name), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
    again = val.evaluate(model, loader_of(dataset, batch_size=7, rect=False), **settings).losses
    torch.testing.assert_close(again, losses, rtol=1e-5, atol=0)


def test_a_model_can_train_after_it_was_evaluated(dataset):
    model = models.build("yolov5n", 3)
    val.evaluate(model, loader_of(dataset))
    sum(head.sum() for head in model.train()(torch.rand(1, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_confusion_matrix_as_an_observer(dataset):
    matrix = ConfusionMatrix(3)
    val.evaluate(ColourDetector(), loader_of(dataset), observers=[matrix])
    assert matrix.matrix.tolist() == [[4, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_command_line_leaves_its_results(dataset, tmp_path, capsys):
    weights = weights_of(tmp_path / "w.pt")
    common = ["--weights", str(weights), "--data", str(dataset), "--device", "cpu", "--project", str(tmp_path / "runs")]
    assert val.main([*common, "--save-txt", "--save-conf", "--save-json", "--imgsz", "150"]) == 0
    text = capsys.readouterr().out
    folder = tmp_path / "runs" / "exp"
    assert "--imgsz 150 is not a multiple of 32; using 160" in text
    for name in ("PR_curve.png", "F1_curve.png", "P_curve.png", "R_curve.png", "confusion_matrix.png"):
        assert (folder / name).is_file()
    assert (folder / "val_batch0_labels.jpg").is_file()
    assert (folder / "val_batch0_pred.jpg").is_file()
    found = json.loads((folder / "predictions.json").read_text())
    lines = [line for file in (folder / "labels").glob("*.txt") for line in file.read_text().splitlines()]
    assert len(found) == len(lines) > 100
    assert all(len(line.split()) == 6 for line in lines)
    assert "Average Precision" in text
    assert "pycocotools with up to 300 a picture: mAP50 " in text
    said = [float(word.strip(",")) for word in text.split("up to 300 a picture:")[1].split()[1:4:2]]
    assert said == pytest.approx(table_of(text)[-2:], abs=0.00051)
    assert val.main([*common, "--noplots"]) == 0
    assert [path.name for path in (tmp_path / "runs" / "exp2").iterdir()] == ["metrics.csv"]
    with open(folder / "metrics.csv", newline="") as file:
        rows = {row.pop("class"): [float(value) for value in row.values()] for row in csv.DictReader(file)}
    assert list(rows) == ["all", "red", "green"]
    assert rows["all"] == pytest.approx(table_of(text), abs=0.00051)


def test_speed_gives_times_and_no_scores(dataset, tmp_path, capsys):
    flags = ["--weights", str(weights_of(tmp_path / "w.pt")), "--data", str(dataset), "--project", str(tmp_path / "r")]
    assert val.main([*flags, "--device", "cpu", "--task", "speed"]) == 0
    text = capsys.readouterr().out
    assert "ms inference" in text
    assert "mAP" not in text
    lines = (tmp_path / "r" / "exp" / "speed.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["part", "load", "inference", "NMS"]
    assert float(lines[2].split(",")[1]) > 0


def test_an_ensemble_pools_the_boxes_of_its_members(dataset, tmp_path):
    one, two = weights_of(tmp_path / "a.pt"), weights_of(tmp_path / "b.pt")
    single = val.load_detector(one)
    assert not single.training
    pair, _ = load_ensemble([one, two])
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(pair(images)[0], torch.cat((single(images)[0],) * 2, 1))
    # a twin adds nothing that the NMS keeps
    assert val.evaluate(pair, loader_of(dataset)).map == val.evaluate(single, loader_of(dataset)).map


def test_mistakes_are_one_line(dataset, tmp_path, capsys):
    weights = str(weights_of(tmp_path / "w.pt"))
    other = str(weights_of(tmp_path / "other.pt", names=["cat", "dog", "cow"]))
    narrow = str(weights_of(tmp_path / "narrow.pt", classes=2, names=["red", "green"]))
    data = ["--data", str(dataset), "--device", "cpu", "--project", str(tmp_path / "runs")]
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(dataset.read_text().replace(", blue", ", blue, white"))
    cases = {
        "--weights is missing": data,
        "no such checkpoint": ["--weights", str(tmp_path / "none.pt"), *data],
        "its classes are not those of": ["--weights", weights, other, *data],
        "do not belong together": ["--weights", narrow, *data],
        "4 classes, but the checkpoint has 3": ["--weights", weights, "--data", str(wrong), *data[2:]],
        "has no 'test:'": ["--weights", weights, *data, "--task", "test"],
        "--augment is not offered": ["--augment"],
        "did you mean '--save-txt'": ["--save-text"],
        "--batch-size 0: must be at least 1": ["--batch-size", "0"],
        "--workers -1: must be at least 0": ["--workers", "-1"],
        "--conf-thres 2.0: must be at most 1": ["--conf-thres", "2"],
        "--iou-thres nan: must be a finite number": ["--iou-thres", "nan"],
        "--imgsz 0: must be at least 1": ["--imgsz", "0"],
        "--max-det 0: must be at least 1": ["--max-det", "0"],
        "--save-conf goes with --save-txt": ["--save-conf"],
        "--conf-thres does nothing with --task speed": ["--task", "speed", "--conf-thres", "0.1"],
        "--iou-thres does nothing with --task speed": ["--task", "speed", "--iou-thres", "0.5"],
    }
    for message, argv in cases.items():
        assert val.main(argv) == 2
        errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert message in errors[0]
    assert not (tmp_path / "runs").exists()
