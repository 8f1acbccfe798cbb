"""Conversion from COCO JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data.test_convert import picture, run, tree

CATEGORIES = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 17, "name": "emu"}]


def content(boxes: list[dict[str, Any]], images: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    listed = [{"id": n, "file_name": f"p{n}.jpg", "width": 40, "height": 30} for n in range(4)]
    return {"images": listed if images is None else images, "annotations": boxes, "categories": CATEGORIES}


def box(image: Any = 0, category: Any = 3, bbox: Any = (4, 6, 10, 15), **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(bbox) if isinstance(bbox, tuple) else bbox, **more}


@pytest.fixture
def coco(tmp_path):
    for number in range(4):
        picture(tmp_path / "src" / "images" / "all2017" / f"p{number}.jpg")
    (tmp_path / "src" / "annotations").mkdir()
    return tmp_path / "src"


def save(root: Path, what: Any, name: str = "instances.json") -> Path:
    (root / "annotations" / name).write_text(json.dumps(what), encoding="utf-8")
    return root / "annotations" / name


@pytest.mark.parametrize("as_file", [True, False])
def test_ids_with_gaps_boxes_and_crowds(coco, tmp_path, capsys, as_file):
    file = save(coco, content([box(0, 90), box(1, 3), box(2, 17), box(2, 17, iscrowd=1)]))
    code, text, _ = run(capsys, "coco", file if as_file else coco, "--out", tmp_path / "dst")
    assert code == 0
    made = tree(tmp_path / "dst")
    assert yaml.safe_load(made["data.yaml"])["names"] == {0: "cat", 1: "emu", 2: "dog"}
    rows = {Path(name).stem: data for name, data in made.items() if name.endswith(".txt")}
    assert rows == {
        "p0": b"2 0.225000 0.450000 0.250000 0.500000\n",
        "p1": b"0 0.225000 0.450000 0.250000 0.500000\n",
        "p2": b"1 0.225000 0.450000 0.250000 0.500000\n",
        "p3": b"",
    }
    assert "crowd annotations, left out: 1\n" in text
    assert "kept as background: 1\n" in text


def test_skips_are_said(coco, tmp_path, capsys):
    boxes = [box(0), box(0, 4), box(0, 3, (1, 2)), box(0, 3, (1, 1, 0, 5)), box(0, 3, (1, 1, float("nan"), 5)),
             box(0, [3]), box(0, 3, None), box(77), {"category_id": 3}, box(1, 3, (-5, 0, 10, 10))]  # fmt: skip
    images = [
        *content([])["images"],
        {"id": 5, "file_name": "../../secret.jpg"},
        {"id": 6, "file_name": "gone.jpg"},
        {"id": 7, "file_name": "p1.jpg"},
        {"id": 8},
        {"id": 9, "file_name": "x" * 5000},
        {"id": 10, "file_name": "\ud800.jpg"},
        {"id": 11, "file_name": "p2.jpg", "width": 41, "height": 30},
    ]
    save(coco, content(boxes, images))
    save(coco, {"images": [], "annotations": [{"caption": "a cat"}]}, "captions.json")
    code, text, _ = run(capsys, "coco", coco, "--out", tmp_path / "dst")
    assert code == 0
    for line in ("captions.json: holds no boxes", "annotations[1]: it lacks a class", "annotations[2]: it lacks",
                 "annotations[3]: its box has no area", "annotations[4]: a coordinate", "annotations[5]: it lacks",
                 "annotations[6]: it lacks", "1 box of image 77, which is not listed", "annotations[8]: names no",
                 "image 5: its picture '../../secret.jpg' lies outside", "image 6: its picture 'gone.jpg' is missing",
                 "image 7: p1.jpg has an annotation already", "image 8: it names no picture", "image 9: ", "image 10: ",
                 "image 11: made for 41x30 pixels, but p2.jpg has 40x30", "4 pictures: 3 train, 1 val",
                 "boxes clipped to their picture: 1\n"):  # fmt: skip
        assert line in text, line


def test_same_stem_keeps_both_pictures(coco, tmp_path, capsys):
    names = ["a/1.jpg", "a/1.png", "a_1.jpg"]
    for name in names:
        picture(coco / "images" / name)
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    save(coco, content([box(n, 3, (n, 0, 5, 5)) for n in range(3)], images))
    code, _, _ = run(capsys, "coco", coco, "--out", tmp_path / "dst")
    assert code == 0
    labels = [Path(name).stem for name in tree(tmp_path / "dst") if name.startswith("labels")]
    assert sorted(labels) == ["a_1", "a_1_2", "a_1_3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n\n oops", ":3: broken JSON"),
        ("[]", "holds a list"),
        ("[" * 100_000, "not a COCO JSON file"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "needs an id"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "\\ud800"}]}', "needs an id"),
        ('{"images": [], "annotations": [], "categories": []}', "no annotation names a class"),
    ],
)
def test_unusable_files_are_one_line(coco, tmp_path, capsys, text, message):
    (coco / "annotations" / "a.json").write_text(text, encoding="utf-8")
    code, _, error = run(capsys, "coco", coco, "--out", tmp_path / "dst")
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "dst").exists()


def test_files_that_disagree_on_classes(coco, tmp_path, capsys):
    save(coco, content([box()]))
    save(coco, content([box()]) | {"categories": [{"id": 3, "name": "cow"}]}, "more.json")
    code, _, error = run(capsys, "coco", coco, "--out", tmp_path / "dst")
    assert code == 2
    assert "category 3 is 'cow', elsewhere 'cat'" in error
