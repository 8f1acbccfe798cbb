"""Single oddities of published VOC and COCO sets: what is read, what is told, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.convert import main
from tests.data.converters.layouts import converted
from tests.data.converters.published import put
from tests.data.converters.test_published import run


def pictures(folder: Path, *names: str) -> dict[bytes, str]:
    """Pictures of noise, 64 x 48, unlike any other; their names by their content."""
    made = {}
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        seed = np.random.default_rng(list(str(file).encode()))
        Image.fromarray(seed.integers(0, 255, (48, 64, 3), np.uint8)).save(file)
        made[file.read_bytes()] = name
    return made


def coco(names: Sequence[str], ids: Sequence[Any] = (), **changes: Any) -> dict[str, Any]:
    """Image k has the box (4 + k, 5, 24 + k, 25) of class a."""
    ids = ids or range(1, len(names) + 1)
    images = [{"id": key, "file_name": name, "width": 64, "height": 48} for key, name in zip(ids, names, strict=True)]
    annotations = [{"image_id": key, "category_id": 1, "bbox": [4 + k, 5, 20, 20]} for k, key in enumerate(ids)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]} | changes


def voc(name: str, k: int = 0) -> str:
    corners = f"<xmin>{4 + k}</xmin><ymin>5</ymin><xmax>{24 + k}</xmax><ymax>25</ymax>"
    return (
        f"<annotation><filename>{name}</filename><object><name>a</name><bndbox>{corners}</bndbox></object></annotation>"
    )


def read(root: Path, made: dict[bytes, str]) -> tuple[int, str, dict[str, tuple[str, list[int]]]]:
    """The exit code, the text, and of each picture its part and the left sides of its boxes."""
    code, told = run(root / "src", root / "dst")
    found = {} if code else converted(root / "dst")
    return code, told, {made[d]: (part, [round(c[0]) for _, c in boxes]) for d, (part, boxes) in found.items()}


def lefts(found: dict[str, tuple[str, list[int]]]) -> dict[str, list[int]]:
    return {name: boxes for name, (_, boxes) in found.items()}


def test_frames_of_one_name(tmp_path):
    names = [f"{cam}/{k}.png" for cam in ("cam1", "cam2") for k in range(2)]
    made = pictures(tmp_path / "src" / "images", *names)
    put(tmp_path / "src" / "annotations" / "all.json", coco(names))
    assert lefts(read(tmp_path, made)[2]) == dict(zip(names, ([4], [5], [6], [7]), strict=True))
    put(tmp_path / "src" / "annotations" / "all.json", coco([name[5:] for name in names]))
    shutil.rmtree(tmp_path / "dst")
    code, told, _ = read(tmp_path, made)
    assert code == 2
    assert "cam1/0.png, " in told
    assert "cam2/0.png" in told
    (tmp_path / "src" / "images" / "cam2" / "1.png").unlink()
    put(tmp_path / "src" / "annotations" / "all.json", coco(names))
    code, told, found = read(tmp_path, made)
    assert lefts(found) == dict(zip(names[:3], ([4], [5], [6]), strict=True))
    assert "its picture is missing: 1" in told


IDS = {
    "text": (["1", "2", "3"], [1, 2, 3], ""),
    "fractions": ([1.0, 2.0, "3.0"], [1, "2", 3], ""),
    "large": ([2**53, 2**53 + 1, 2**53 + 2], [str(2**53), 2**53 + 1, 2**53 + 2], ""),
    "one id twice": ([1, "01", 3], [1, 1, 3], "have one id"),
    "a truth": ([1, 2, 3], [True, 2, 3], "image True, which is not listed"),
    "not exact": ([2**53, 2**53 + 1, 3], [float(2**53), 2**53 + 1, 3], "which is not listed"),
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_by_value(kind, tmp_path):
    ids, refer, fault = IDS[kind]
    made = pictures(tmp_path / "src", "p0.png", "p1.png", "p2.png")
    content = coco(["p0.png", "p1.png", "p2.png"], ids)
    for item, key in zip(content["annotations"], refer, strict=True):
        item["image_id"] = key
    put(tmp_path / "src" / "set.json", content)
    code, told, found = read(tmp_path, made)
    assert fault in told
    assert fault or lefts(found) == {"p0.png": [4], "p1.png": [5], "p2.png": [6]}
    assert code == (2 if kind == "one id twice" else 0)
    assert found.get("p0.png", ("", []))[1] in ([], [4])


@pytest.mark.parametrize("fault", ["fractions", "no categories", "no pictures", "no images"])
def test_a_set_of_which_nothing_is_left_says_why(fault, tmp_path):
    made = pictures(tmp_path / "src", "p0.png", "p1.png")
    content = coco(["p0.png", "p1.png"])
    if fault == "fractions":
        content["annotations"] = [item | {"bbox": [0.1, 0.2, 0.3, 0.4]} for item in content["annotations"]]
    content |= {"no categories": {"categories": []}, "no images": {"images": []}}.get(fault, {})
    for file in tmp_path.rglob("*.png") if fault == "no pictures" else ():
        file.unlink()
    put(tmp_path / "src" / "set.json", content)
    code, told, _ = read(tmp_path, made)
    reasons = {
        "fractions": "fractions of the picture where pixels are expected (2)",
        "no images": "is not listed (2)",
        "no categories": "it lacks a class or a corner (2)",
        "no pictures": "its picture is missing (2)",
    }
    assert code == 2
    assert reasons[fault] in told.splitlines()[-1]


def test_other_files_beside_instances(tmp_path):
    root, made = tmp_path / "src", {}
    for part in ("train2017", "val2017"):
        made |= pictures(root, f"{part}/0.png", f"{part}/1.png")
        for kind in ("instances", "person_keypoints"):
            put(root / "annotations" / f"{kind}_{part}.json", coco(["0.png", "1.png"]))
        put(root / "annotations" / f"captions_{part}.json", {"images": [], "annotations": [{"caption": "a cat"}]})
        segments = {"annotations": [{"image_id": 1, "segments_info": []}], "images": []}
        put(root / "annotations" / f"panoptic_{part}.json", segments | {"categories": []})
    code, told, found = read(tmp_path, made)
    assert code == 0, told
    assert {name: part for name, (part, _) in found.items()} == {name: name.split("2017")[0] for name in made.values()}
    assert lefts(found) == {name: [4 + int(name[-5])] for name in made.values()}
    assert "a JSON file of panoptic segments: 2" in told


@pytest.mark.parametrize("names", ["copied", "rotated"])
def test_file_names_that_are_wrong(names, tmp_path):
    root = tmp_path / "src"
    made = pictures(root / "images", *(f"p{k}.png" for k in range(3)))
    for k in range(3):
        put(root / "annotations" / f"p{k}.xml", voc("p0.png" if names == "copied" else f"p{(k + 1) % 3}.png", k))
    code, told, found = read(tmp_path, made)
    if names == "copied":
        assert lefts(found) == {"p0.png": [4], "p1.png": [5], "p2.png": [6]}
        assert "pictures found by their base name alone: 2" in told
    else:
        assert code == 2
        assert "it names one picture and has the name of another (3)" in told


def test_an_annotation_finds_no_mask_of_its_name(tmp_path):
    root = tmp_path / "src"
    made = pictures(root, *(f"{folder}/{k}.png" for folder in ("JPEGImages", "SegmentationClass") for k in range(4)))
    for k in range(4):
        put(root / "Annotations" / f"{k}.xml", voc(str(k), k))
    (root / "JPEGImages" / "3.png").unlink()
    assert lefts(read(tmp_path, made)[2]) == {f"JPEGImages/{k}.png": [4 + k] for k in range(3)}


def test_lists(tmp_path):
    root = tmp_path / "src"
    made = pictures(root / "JPEGImages", *(f"my {k}.png" for k in range(7)))
    for k in range(7):
        put(root / "Annotations" / f"my {k}.xml", voc(f"my {k}.png", k))
    lists = {"trainval": [0, 1, 2, 3], "val": [3], "test": [4, 5], "cat_train": [6]}
    for name, members in lists.items():
        put(root / "ImageSets" / "Main" / f"{name}.txt", "".join(f"my {k}\n" for k in members))
    put(root / "ImageSets" / "Main" / "train.txt", "my 0\nmy 1\nlost\n")
    code, told, found = read(tmp_path, made)
    assert code == 0
    assert [found[f"my {k}.png"][0] for k in range(7)] == [*["train"] * 3, "val", "test", "test", "train"]
    assert "names in ImageSets without an annotation: 1" in told
    assert "1 outside its parts used for training" in told


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "shift_jis"])
def test_encodings(encoding, tmp_path):
    name = "絵.png" if encoding == "shift_jis" else "é.png"
    made = pictures(tmp_path / "src", name, "b.png")
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig").removesuffix("-be")}"?>\n{voc(name)}'
    put(tmp_path / "src" / "anything.XML", ("\ufeff" if encoding == "utf-16-be" else "") + text, encoding)
    put(tmp_path / "src" / "b.xml", voc("b.png", 1))
    _, told, found = read(tmp_path, made)
    assert lefts(found) == {name: [4], "b.png": [5]}, told


def test_boxes_by_corners_are_warned_of(tmp_path):
    made = pictures(tmp_path / "src", "p0.png", "p1.png")
    content = coco(["p0.png", "p1.png"])
    content["annotations"] = [item | {"bbox": [40, 30, 60, 45]} for item in content["annotations"]]
    put(tmp_path / "src" / "set.json", content)
    assert "warning: most boxes reach out of their pictures" in read(tmp_path, made)[1]


def test_lists_that_name_folders(tmp_path):
    names = [f"cam{cam}/{k:04}.png" for cam in (1, 2, 3) for k in (1, 2)]
    made = pictures(tmp_path / "src" / "JPEGImages", *names)
    for number, name in enumerate(names):
        put(tmp_path / "src" / "Annotations" / name.replace(".png", ".xml"), voc(name[5:], number))
    put(tmp_path / "src" / "ImageSets" / "Main" / "train.txt", "cam1/0001\ncam1/0002\ncam2/0001\ncam9/0001\n")
    put(tmp_path / "src" / "ImageSets" / "Main" / "val.txt", "./x/cam2/0002.png\ncam3/0001\ncam3/0002\n")
    code, told, found = read(tmp_path, made)
    assert code == 0
    assert "names in ImageSets without an annotation: 1" in told
    parts = ("train", "train", "train", "val", "val", "val")
    assert found == {name: (part, [4 + k]) for k, (name, part) in enumerate(zip(names, parts, strict=True))}


def test_pictures_of_one_part_named_for_both(tmp_path, capsys):
    """--images of the training pictures: the same names in the validation list are of other pictures."""
    made = pictures(tmp_path / "src", "train2017/0.png", "train2017/1.png", "train2017/2.png", "val2017/0.png")
    put(tmp_path / "src" / "annotations" / "instances_train2017.json", coco(["0.png", "1.png"]))
    put(tmp_path / "src" / "annotations" / "instances_val2017.json", coco(["0.png", "2.png"]))
    folders = [tmp_path / "src", "--out", tmp_path / "dst", "--images", tmp_path / "src" / "train2017"]
    assert main([str(folder) for folder in folders]) == 0
    assert "its picture is missing: 2" in capsys.readouterr().out
    found = {made[d]: [round(c[0]) for _, c in boxes] for d, (_, boxes) in converted(tmp_path / "dst").items()}
    assert found == {"train2017/0.png": [4], "train2017/1.png": [5]}


def test_one_picture_that_two_parts_say_different_things_of(tmp_path):
    made = pictures(tmp_path / "src" / "images", "0.png", "1.png", "2.png")
    put(tmp_path / "src" / "annotations" / "instances_train.json", coco(["0.png", "1.png"]))
    put(tmp_path / "src" / "annotations" / "instances_val.json", coco(["2.png", "0.png"]))
    code, told, found = read(tmp_path, made)
    assert code == 0
    assert "its picture is claimed by several annotations: 2" in told
    assert found == {"1.png": ("train", [5]), "2.png": ("val", [4])}


def test_pictures_that_are_not_read_are_counted(tmp_path):
    made = pictures(tmp_path / "src", "a.png", "b.png", "c.png")
    for k, name in enumerate("abc"):
        put(tmp_path / "src" / f"{name}.xml", voc(f"{name}.png", k))
    (tmp_path / "src" / "c.png").rename(tmp_path / "src" / "c.HEIC")
    code, told, found = read(tmp_path, made)
    assert code == 0
    assert "pictures in .heic, which is not read: convert them to JPEG or PNG: 1" in told
    assert lefts(found) == {"a.png": [4], "b.png": [5]}
    (tmp_path / "src" / "b.png").unlink()
    assert "error: 1 usable picture: training and validation" in run(tmp_path / "src", tmp_path / "dst2")[1]


def test_a_part_without_boxes_is_told(tmp_path):
    pictures(tmp_path / "src", "train/images/a.png", "valid/images/b.png")
    put(tmp_path / "src" / "train" / "labels" / "a.txt", "0 0.5 0.5 0.2 0.2\n")
    code, told = run(tmp_path / "src", tmp_path / "dst")
    assert code == 0
    assert "warning: no picture of val has a box" in told
    assert "no picture of train" not in told


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_in_any_encoding(tmp_path, encoding):
    made = pictures(tmp_path / "src" / "JPEGImages", "a.png", "b.png", "ä.png")
    for k, name in enumerate("abä"):
        put(tmp_path / "src" / "Annotations" / f"{name}.xml", voc(f"{name}.png", k))
    put(tmp_path / "src" / "ImageSets" / "Main" / "train.txt", "a\r\nä\r\n", encoding)
    put(tmp_path / "src" / "ImageSets" / "Main" / "val.txt", "b\r\n", encoding)
    code, told, found = read(tmp_path, made)
    assert (code, "split as published" in told) == (0, True)
    assert found == {"a.png": ("train", [4]), "b.png": ("val", [5]), "ä.png": ("train", [6])}


def test_tables_of_two_parts_with_the_same_names(tmp_path, capsys):
    """Each has its own pictures; with those of one part alone the rows of the other have none."""
    made = pictures(tmp_path / "src", "train/0.png", "train/1.png", "val/0.png")
    rows = {"train": "0.png,4,5,24,25,a\n1.png,5,5,25,25,a\n", "val": "0.png,6,5,26,25,a\n"}
    for part, text in rows.items():
        put(tmp_path / "src" / f"{part}.csv", "filename,xmin,ymin,xmax,ymax,class\n" + text)
    code, _, found = read(tmp_path, made)
    assert code == 0
    assert found == {"train/0.png": ("train", [4]), "train/1.png": ("train", [5]), "val/0.png": ("val", [6])}
    folders = [tmp_path / "src", "--out", tmp_path / "dst2", "--images", tmp_path / "src" / "train"]
    assert main([str(folder) for folder in folders]) == 0
    assert "its picture is missing: 1" in capsys.readouterr().out
    left = {made[d]: [round(c[0]) for _, c in boxes] for d, (_, boxes) in converted(tmp_path / "dst2").items()}
    assert left == {"train/0.png": [4], "train/1.png": [5]}
