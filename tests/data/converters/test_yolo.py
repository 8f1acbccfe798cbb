"""YOLO trees: which label file is of which picture, names, the published split, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from data.converters import yolo
from data.converters.source import Box
from tests.data.converters.layouts import Shot, draw, put, shot, write_darknet, write_yolo
from utils.errors import UserError

PICTURES = [shot("train/images/a.jpg", ("cat", 4, 6, 14, 21), ("dog", 1, 1, 9, 9)), shot("train/images/b.jpg"),
            shot("valid/images/a.jpg", ("dog", 2, 2, 30, 20))]  # fmt: skip


def read(root: Path, images: Path | None = None) -> tuple[dict[str, tuple], yolo.Source]:
    source = yolo.read(root, images)
    found = {
        one.picture: (one.split, [(i.label, *i.corners) for _, i in one.items if isinstance(i, Box)])
        for one in source.records
    }
    return found, source


def check(found: dict[str, tuple], shots: list[Shot], splits: dict[str, str | None]) -> None:
    assert set(found) == {one.path for one in shots}
    for one in shots:
        split, boxes = found[one.path]
        assert split == splits[one.path]
        want = sorted((label, x1 / 40, y1 / 30, x2 / 40, y2 / 30) for label, (x1, y1, x2, y2) in one.boxes)
        assert [box[0] for box in sorted(boxes)] == [box[0] for box in want]
        for got, box in zip(sorted(boxes), want, strict=True):
            assert got[1:] == pytest.approx(box[1:], abs=2e-6)


def swap(old: str, new: str):
    return lambda path: PurePosixPath(*(new if part == old else part for part in path.parts))


ROBOFLOW = """train: ../train/images
val: ../valid/images
test: ../test/images

nc: 2
names: ['cat', 'dog']
roboflow: {workspace: w, project: p, version: 1, license: CC BY 4.0}
"""
SPLITS = {"train/images/a.jpg": "train", "train/images/b.jpg": "train", "valid/images/a.jpg": "val"}


def test_roboflow(tmp_path):
    draw(tmp_path, PICTURES)
    write_yolo(tmp_path, PICTURES, swap("images", "labels"))
    put(tmp_path / "data.yaml", ROBOFLOW)
    put(tmp_path / "README.dataset.txt", "# a set\n")
    for source in (tmp_path, tmp_path / "data.yaml"):
        assert yolo.recognise(source)
        found, what = read(source)
        check(found, PICTURES, SPLITS)
        assert what.names == ("cat", "dog")
        assert what.skipped == ["data.yaml: it names '../test/images' for test, which is not there"]
    (tmp_path / "data.yaml").unlink()
    found, what = read(tmp_path)
    check(found, PICTURES, SPLITS)
    assert not what.skipped


@pytest.mark.parametrize(
    ("pictures", "place"),
    [
        (["images/train/a.jpg", "images/val/a.jpg"], swap("images", "labels")),
        (["Images/train/a.JPG", "Images/val/a.JPG"], swap("Images", "Labels")),
        (["JPEGImages/a.jpg", "JPEGImages/b.jpg"], swap("JPEGImages", "labels")),
        (["train/a.jpg", "val/a.jpg"], lambda path: path.parent / "labels" / path.name),
        (["train/a.jpg", "val/a.jpg"], lambda path: "labels" / path),
        (["train/a.jpg", "val/a.jpg"], None),
        (["a.jpg", "b.png"], None),
        (["obj_train_data/a.jpg", "obj_Validation_data/a.jpg"], None),
        (["train_images/a.jpg", "val_images/a.jpg"], lambda path: PurePosixPath(str(path).replace("images", "labels"))),
        (["images/a.jpg", "images/images/a.jpg"], lambda path: path.parent.parent / "labels" / "a.txt"),
        (["pics/one/a.jpg", "pics/two/b.jpg"], lambda path: PurePosixPath("texts") / path.name),
    ],
)  # fmt: skip
def test_where_labels_lie(tmp_path, pictures, place):
    shots = [shot(path, ("cat", n, n, n + 9, n + 8), ("dog", 1, 1, 5, 5)) for n, path in enumerate(pictures)]
    draw(tmp_path, shots)
    write_yolo(tmp_path, shots, place)
    found, source = read(tmp_path)
    train = any("train" in path for path in pictures) and "obj" not in pictures[0]
    check(found, shots, dict(zip(pictures, ("train", "val") if train else (None, None), strict=True)))
    assert not source.skipped
    assert source.counts["label files found by the name of their picture alone"] == 2 * (
        pictures[0] == "pics/one/a.jpg"
    )


def test_pictures_elsewhere(tmp_path):
    shots = [shot("train/a.jpg", ("cat", 1, 1, 9, 9)), shot("val/a.jpg", ("cat", 2, 2, 8, 8))]
    draw(tmp_path / "pictures", shots)
    write_yolo(tmp_path / "labels", shots)
    found, _ = read(tmp_path / "labels", tmp_path / "pictures")
    check(found, shots, {"train/a.jpg": "train", "val/a.jpg": "val"})


def test_a_label_file_that_could_be_of_several_pictures_is_of_none(tmp_path):
    shots = [
        shot("one/a.jpg", ("cat", 1, 1, 9, 9)),
        shot("two/a.jpg"),
        shot("two/b.jpg", ("cat", 2, 2, 9, 9)),
        shot("c.jpg"),
        shot("c.png"),
    ]
    draw(tmp_path, shots)
    for text in ("texts/a.txt", "two/b.txt", "old/b.txt", "c.txt", "gone.txt"):
        put(tmp_path / text, "0 0.5 0.5 0.2 0.2\n")
    found, source = read(tmp_path)
    assert set(found) == {"two/b.jpg"}
    assert source.skipped == [
        "c.txt: c.jpg, c.png could each be meant",
        "gone.txt: no picture has its name",
        "old/b.txt: two/b.jpg has another label file",
        "texts/a.txt: one/a.jpg, two/a.jpg could each be meant",
        "c.jpg: its label file could also belong to another picture",
        "c.png: its label file could also belong to another picture",
        "one/a.jpg: its label file could also belong to another picture",
        "two/a.jpg: its label file could also belong to another picture",
    ]


def test_a_label_file_whose_picture_is_lost_goes_to_no_other(tmp_path):
    shots = [shot("train/images/a.jpg", ("cat", 1, 1, 9, 9)), shot("train/images/b.jpg", ("cat", 2, 2, 9, 9)),
             shot("val/images/a.jpg"), shot("more/c.jpg")]  # fmt: skip
    draw(tmp_path, shots)
    write_yolo(tmp_path, shots[:2], swap("images", "labels"))
    (tmp_path / "train/images/a.jpg").unlink()
    put(tmp_path / "train" / "other" / "c.txt", "0 0.5 0.5 0.2 0.2\n")
    put(tmp_path / "train" / "other" / "a.txt", "0 0.5 0.5 0.2 0.2\n")
    found, source = read(tmp_path)
    assert found["val/images/a.jpg"] == ("val", [])
    assert len(found["more/c.jpg"][1]) == 1
    assert source.skipped == [
        "train/labels/a.txt: no picture has its name",
        "train/other/a.txt: no picture has its name",
    ]


def test_two_label_files_that_say_different_things(tmp_path):
    draw(tmp_path, [shot("images/a.jpg"), shot("images/b.jpg")])
    for name, text in (("labels/a", "0 .5 .5 .2 .2"), ("yolo/a", "0 .5 .5 .3 .3"), ("labels/b", "0 .5 .5 .2 .2"),
                       ("yolo/b", "0 .5  .5 .2 .2\r\n")):  # fmt: skip
        put(tmp_path / f"{name}.txt", text)
    found, source = read(tmp_path)
    assert set(found) == {"images/b.jpg"}
    assert source.reasons["its label file could also belong to another picture"] == 1


def test_labels_as_other_tools_write_them(tmp_path):
    draw(tmp_path, [shot(name) for name in ("a.jpg", "classes.jpg", "c.jpg", "d.png", "e.jpg")])
    row = "0 0.5 0.5 0.25 0.5"
    put(tmp_path / "a.jpg.txt", row)
    put(tmp_path / "classes.txt", row)
    put(tmp_path / "c.txt", row.replace(".", ","))
    put(tmp_path / "d.TXT", "\ufeff" + row.replace(" ", ",") + "\r\n")
    put(tmp_path / "e.txt", f"{row} 0.93\n")
    found, source = read(tmp_path)
    assert len(found) == 5
    for _, boxes in found.values():
        assert boxes == [("0", 0.375, 0.25, 0.625, 0.75)]
    assert source.counts["label files with commas for points or between columns"] == 2
    assert source.counts["rows with more columns read as a box with a score"] == 1
    assert not source.skipped


def test_darknet(tmp_path):
    shots = [
        shot("obj_train_data/a.jpg", ("dog", 1, 1, 9, 9), split="train"),
        shot("obj_train_data/sub/a.jpg", ("cat", 3, 3, 9, 9), split="val"),
    ]
    draw(tmp_path, shots)
    write_darknet(tmp_path, shots)
    for source in (tmp_path, tmp_path / "obj.data"):
        found, what = read(source)
        check(found, shots, {one.path: one.split for one in shots})
        assert what.names == ("cat", "dog")
        assert not what.skipped
    put(tmp_path / "train.txt", "C:\\data\\obj_train_data\\a.jpg\n/content/data/obj_train_data/gone.jpg\n")
    found, what = read(tmp_path)
    assert found["obj_train_data/a.jpg"][0] == "train"
    assert what.skipped == ["train.txt: 1 listed pictures are not there"]


def test_cvat_ultralytics(tmp_path):
    shots = [shot("images/Train/a.jpg", ("dog", 1, 1, 9, 9)), shot("images/Train/b.jpg", ("cat", 1, 1, 9, 9))]
    draw(tmp_path, shots)
    write_yolo(tmp_path, shots, swap("images", "labels"))
    (tmp_path / "classes.txt").unlink()
    put(
        tmp_path / "data.yaml",
        "names:\n  0: cat\n  1: dog\npath: .\nTrain: Train.txt\ntrain: train.txt\nval: val.txt\n",
    )
    put(tmp_path / "train.txt", "data/images/Train/a.jpg\n")
    put(tmp_path / "val.txt", "data/images/Train/b.jpg\n")
    found, _ = read(tmp_path)
    check(found, shots, {"images/Train/a.jpg": "train", "images/Train/b.jpg": "val"})


def test_names(tmp_path):
    shots = [shot("a.jpg", ("cat", 1, 1, 9, 9), ("dog", 2, 2, 9, 9))]
    draw(tmp_path, shots)
    write_yolo(tmp_path, shots)
    (tmp_path / "classes.txt").unlink()
    _, source = read(tmp_path)
    assert source.names == ("0", "1")
    assert source.counts["classes without a name, called by their number"] == 2
    put(tmp_path / "data.yaml", "names: [007, yes]\nnc: '3'\n")
    found, source = read(tmp_path)
    assert [box[0] for box in found["a.jpg"][1]] == ["007", "yes"]
    assert source.counts["data.yaml states nc 3 but 2 names; the names are used"] == 1
    put(tmp_path / "classes.txt", "dog\ncat\n")
    assert "class lists that differ from data.yaml, whose names are used" in yolo.read(tmp_path, None).counts
    put(tmp_path / "other.yaml", "names: [x]\n")
    with pytest.raises(UserError, match="different names"):
        yolo.read(tmp_path, None)
    (tmp_path / "other.yaml").unlink()
    put(tmp_path / "data.yaml", "names: {0: a, x: b}\n")
    with pytest.raises(UserError, match="class numbers"):
        yolo.read(tmp_path, None)


def test_rows(tmp_path):
    draw(tmp_path, [shot("a.jpg"), shot("b.jpg")])
    put(tmp_path / "a.txt", "0 .1 .1 .5 .1 .5 .7\n5 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 nan 1 1 1\n")
    put(tmp_path / "b.txt", "")
    put(tmp_path / "data.yaml", "names: [cat, dog]\ntrain: .\nval: .\n")
    source = yolo.read(tmp_path, None)
    one, other = source.records
    assert [what for what, item in one.items if isinstance(item, str)] == ["line 2", "line 4"]
    assert source.counts["polygons that became boxes"] == 1
    assert (one.split, other.split, other.items) == (None, None, ())
    assert source.counts["pictures that two parts of the split name, which is not a split"] == 2
    put(tmp_path / "data.yaml", "names: [cat]\nkpt_shape: [3, 2]\n")
    put(tmp_path / "a.txt", "0 .5 .5 .2 .2 .1 .1 .2 .2 .9 .9\n")
    found, _ = read(tmp_path)
    assert found["a.jpg"][1][0][1:] == pytest.approx((0.4, 0.4, 0.6, 0.6))


def test_no_labels_is_one_line(tmp_path):
    draw(tmp_path, [shot("a.jpg")])
    put(tmp_path / "notes.txt", "hello\n")
    put(tmp_path / "list.txt", "a.jpg\n")
    assert yolo.recognise(tmp_path) is None
    with pytest.raises(UserError, match="holds no YOLO labels"):
        yolo.read(tmp_path, None)


def test_a_picture_in_two_lists_validates(tmp_path):
    shots = [shot(f"obj_train_data/{k}.jpg", ("cat", k, 6, 14, 21)) for k in range(3)]
    draw(tmp_path, shots)
    write_darknet(tmp_path, shots)
    (tmp_path / "obj.data").write_text("classes = 1\ntrain = train.txt\nvalid = valid.txt\nnames = obj.names\n")
    (tmp_path / "train.txt").write_text("obj_train_data/0.jpg\nobj_train_data/1.jpg\n")
    (tmp_path / "valid.txt").write_text("obj_train_data/1.jpg\nobj_train_data/2.jpg\n")
    found, source = read(tmp_path)
    check(found, shots, dict(zip((one.path for one in shots), ("train", "val", "val"), strict=True)))
    assert source.counts["pictures that two parts of the split name, kept for validation or test"] == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_in_any_encoding(tmp_path, encoding):
    shots = [shot(f"{k}.jpg", ("cat", k, 6, 14, 21), split="val" if k == 2 else "train") for k in range(3)]
    draw(tmp_path, shots)
    write_yolo(tmp_path, shots)
    (tmp_path / "train.txt").write_bytes("C:\\x\\0.jpg\r\nC:\\x\\1.jpg\r\n".encode(encoding))
    (tmp_path / "val.txt").write_bytes("C:\\x\\2.jpg\r\n".encode(encoding))
    (tmp_path / "classes.txt").write_bytes("cat\r\n".encode(encoding))
    found, source = read(tmp_path)
    check(found, shots, {one.path: one.split for one in shots})
    assert source.names == ("cat",)
