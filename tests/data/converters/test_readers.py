"""What each reader makes of files as the tools write them: shapes, labels, splits, and what is left out and why."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from data.converters import createml, cvat, label_studio, labelme, supervisely, tables, via
from tests.data.converters.layouts import draw, put, shot
from tests.data.converters.reading import boxes, reasons, records
from utils.errors import UserError


def shape(label, *points, kind="rectangle", group=None):
    return {"label": label, "points": [list(p) for p in points], "group_id": group, "shape_type": kind, "flags": {}}


def labelme_file(root: Path, name: str, *shapes, **more) -> None:
    base = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": f"{Path(name).stem}.jpg",
            "imageData": None, "imageHeight": 30, "imageWidth": 40}  # fmt: skip
    put(root / name, base | more)


def test_labelme_shapes(tmp_path):
    labelme_file(
        tmp_path, "train/a.json",
        shape("cat", (20, 25), (4, 6)),
        shape("dog", (1, 1), (9, 2), (5, 8), kind="polygon"),
        shape("sun", (20, 15), (20, 10), kind="circle"),
        shape("eye", (3, 3), kind="point"),
        shape("row", (3, 3), (9, 9), kind="line"),
        shape("way", (3, 3), (9, 9), (1, 2), kind="linestrip"),
        shape("", (3, 3), (9, 9)),
        shape("ape", (3, "x"), (9, 9)),
        shape("bee", (2, 2), (8, 9), kind="mask"),
        shape(7, ("1", "2,5"), (5, 6)),
        None,
        imageWidth="40", imagePath="..\\pics\\a.jpg",
    )  # fmt: skip
    (one,), source = records(labelme, tmp_path)
    assert boxes(one) == [("cat", 4, 6, 20, 25), ("dog", 1, 1, 9, 8), ("sun", 15, 10, 25, 20), ("bee", 2, 2, 8, 9),
                          ("7", 1, 2.5, 5, 6)]  # fmt: skip
    assert reasons(one) == ["shapes[3]: a point has no box", "shapes[4]: a line has no box",
                            "shapes[5]: a linestrip has no box", "shapes[6]: it lacks a label",
                            "shapes[7]: its points are not pairs of numbers", "shapes[10]: is not a shape"]  # fmt: skip
    assert (one.picture, one.size, one.split, one.folders[0]) == (
        "..\\pics\\a.jpg",
        (40, 30),
        "train",
        tmp_path / "train",
    )
    assert source.names is None


def test_labelme_groups_join_polygons_only(tmp_path):
    parts = [shape("cat", (1, 1), (5, 1), (5, 5), kind="polygon", group=3), shape("dog", (2, 2), (9, 9), group=3),
             shape("cat", (20, 20), (22, 20), (22, 25), kind="polygon", group=3),
             shape("cat", (1, 1), (4, 4), group=3), shape("cat", (1, 1), (3, 3), (2, 9), kind="polygon")]  # fmt: skip
    labelme_file(tmp_path, "a.json", *parts)
    (one,), source = records(labelme, tmp_path)
    assert boxes(one) == [("cat", 1, 1, 22, 25), ("dog", 2, 2, 9, 9), ("cat", 1, 1, 4, 4), ("cat", 1, 1, 3, 9)]
    assert source.counts["polygons joined to others of their group_id"] == 1


def test_labelme_files_that_are_broken_are_skipped(tmp_path):
    labelme_file(tmp_path, "a.json", shape("cat", (1, 1), (5, 5)))
    put(tmp_path / "b.json", '{"version": "5", "shapes": [')
    put(tmp_path / "c.json", {"shapes": {}, "imagePath": "c.jpg"})
    put(tmp_path / "other.json", {"name": "no labelme file"})
    found, source = records(labelme, tmp_path)
    assert len(found) == 1
    assert [line.partition(":")[0] for line in source.skipped] == ["b.json", "c.json"]


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><project><name>p</name><labels>
<label><name>dog</name><color>#fff</color><type>any</type></label><label><name>cat</name></label>
<label><name>knee</name><type>points</type><parent>body</parent></label></labels>
<tasks><task><id>3</id><subset>Train</subset></task></tasks></project></meta>
<image id="0" name="sub/a.jpg" subset="Train" task_id="3" width="40" height="30">
<box label="cat" source="manual" occluded="0" xtl="4.00" ytl="6.00" xbr="14.00" ybr="21.00" z_order="0">
<attribute name="age">old</attribute></box>
<box label="dog" occluded="0" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90.0" z_order="0"></box>
<polygon label="dog" points="1.00,2.00;9.00,3.00;5.00,8.00" z_order="0"/>
<ellipse label="cat" cx="20" cy="15" rx="10" ry="5"/>
<mask label="cat" rle="1, 2" left="3" top="4" width="5" height="6"/>
<polyline label="cat" points="1,2;3,4"/><points label="cat" points="1,2"/><tag label="night"/>
<skeleton label="body"><points label="knee" points="1,2"/></skeleton>
<box label="cat" outside="1" xtl="1" ytl="1" xbr="9" ybr="9"/><box label="cat" xtl="x" ytl="1" xbr="9" ybr="9"/></image>
<image id="1" name="b.jpg" subset="Validation" width="40" height="30"></image><image id="2"/></annotations>"""


def test_cvat_images(tmp_path):
    put(tmp_path / "annotations.xml", CVAT)
    (one, other), source = records(cvat, tmp_path)
    assert source.names == ("dog", "cat")
    assert boxes(one) == [("cat", 4, 6, 14, 21), ("dog", 15, 5, 25, 25), ("dog", 1, 2, 9, 8), ("cat", 10, 10, 30, 20),
                          ("cat", 3, 4, 8, 10)]  # fmt: skip
    assert [reason.partition(": ")[2] for reason in reasons(one)] == [
        "a polyline has no box", "a points has no box", "a skeleton has no box",
        "a box with a coordinate that is missing or no number"]  # fmt: skip
    assert (one.picture, one.size, one.split, other.split, other.items) == ("sub/a.jpg", (40, 30), "train", "val", ())
    assert tmp_path / "images" / "Train" in one.folders
    assert source.counts["tags of whole pictures, left out"] == 1
    assert source.counts["boxes marked as outside the picture, left out"] == 1
    assert source.skipped == ["annotations.xml: image 2: it names no picture"]


def video(tracks: str) -> str:
    size = "<original_size><width>40</width><height>30</height></original_size>"
    return f"<annotations><version>1.1</version><meta><task>{size}</task></meta>{tracks}</annotations>"


def track(label: str, *frames: int, more: str = "") -> str:
    rows = "".join(
        f'<box frame="{n}" outside="{int(n == 9)}" occluded="0" keyframe="1" xtl="{n}" ytl="1" xbr="{n + 5}" ybr="9"/>'
        for n in frames
    )
    return f'<track id="0" label="{label}" source="manual"{more}>{rows}</track>'


def test_cvat_video(tmp_path):
    draw(tmp_path, [shot(f"images/frame_00000{n}.PNG") for n in (0, 1, 7, 9)])
    put(tmp_path / "annotations.xml", video(track("cat", 0, 1, 5, 9) + track("dog", 1)))
    (first, second), source = records(cvat, tmp_path)
    assert (first.picture, boxes(first), first.size) == ("images/frame_000000.PNG", [("cat", 0, 1, 5, 9)], (40, 30))
    assert boxes(second) == [("cat", 1, 1, 6, 9), ("dog", 1, 1, 6, 9)]
    assert source.skipped == ["annotations.xml: frame 5: 1 boxes left out, no picture is called frame_000005"]
    assert source.counts["boxes marked as outside the picture, left out"] == 1


@pytest.mark.parametrize("meta", ["", "<meta><task><size>3</size></task></meta>"])
def test_frames_numbered_from_one_are_refused(tmp_path, meta):
    draw(tmp_path, [shot(f"images/frame_00000{n}.png") for n in (1, 2, 3)])
    put(tmp_path / "annotations.xml", f"<annotations>{meta}{track('cat', 1 if meta else 0, 2)}</annotations>")
    with pytest.raises(UserError, match="no frame_000000"):
        records(cvat, tmp_path)


def test_two_pictures_of_one_name_are_told_apart_by_nothing(tmp_path):
    twins = (
        '<image id="0" name="x.jpg" task_id="1"/><image id="1" name="x.jpg" task_id="2"/><image id="2" name="y.jpg"/>'
    )
    put(tmp_path / "c" / "a.xml", f"<annotations><version>1.1</version>{twins}</annotations>")
    found, source = records(cvat, tmp_path / "c")
    assert ([one.picture for one in found], len(source.skipped)) == (["y.jpg"], 2)
    both = '<image id="0" name="x.jpg" subset="Train"/><image id="1" name="x.jpg" subset="Test"/>'
    put(tmp_path / "s" / "a.xml", f"<annotations><version>1.1</version>{both}</annotations>")
    assert [one.picture for one in records(cvat, tmp_path / "s")[0]] == ["Train/x.jpg", "Test/x.jpg"]
    entries = {f"{name}{size}": {"filename": name, "size": size, "regions": []}
               for name, size in (("x.jpg", 1), ("x.jpg", 2), ("y.jpg", 3))}  # fmt: skip
    put(tmp_path / "v" / "via.json", {"_via_img_metadata": entries, "_via_settings": {}})
    found, source = records(via, tmp_path / "v")
    assert ([one.picture for one in found], len(source.skipped)) == (["y.jpg"], 2)


def test_frames_of_two_videos_are_never_mixed(tmp_path):
    put(tmp_path / "a.xml", video(track("cat", 0, more=' task_id="1"') + track("dog", 0, more=' task_id="2"')))
    with pytest.raises(UserError, match="2 videos"):
        cvat.read(tmp_path, None)
    for name in ("a.xml", "b.xml"):
        put(tmp_path / name, video(track("cat", 0)))
    with pytest.raises(UserError, match="several videos"):
        cvat.read(tmp_path, None)
    for name in ("a", "b"):
        (tmp_path / f"{name}.xml").unlink()
        put(tmp_path / name / "annotations.xml", video(track("cat", 0)))
    draw(tmp_path, [shot("a/images/frame_000000.png")])
    found, source = records(cvat, tmp_path)
    assert [(one.where, one.folders) for one in found] == [("a/annotations.xml: frame 0", (tmp_path / "a",))]
    assert "b/annotations.xml: frame 0" in source.skipped[0]


def test_via_shapes(tmp_path):
    def one(label, **attributes):
        return {"shape_attributes": attributes, "region_attributes": {"type": label, "note": "x"}}

    regions = [one("cat", name="rect", x=1, y=2, width=3, height=4), one("cat", name="circle", cx=9, cy=9, r=2),
               one("dog", name="polygon", all_points_x=[1, 5, 3], all_points_y=[2, 2, 9]),
               one("cat", name="point", cx=1, cy=1),
               one({"cat": True, "dog": False}, name="ellipse", cx=9, cy=9, rx=2, ry=4, theta=math.pi / 2),
               one("", name="rect", x=1, y=2, width=3, height=4),
               one("cat", name="polygon", all_points_x=[1])]  # fmt: skip
    put(tmp_path / "val.json", {"a.jpg12": {"filename": "a.jpg", "size": 12, "regions": dict(enumerate(regions))}})
    (found,), _ = records(via, tmp_path)
    assert boxes(found) == [("cat", 1, 2, 4, 6), ("cat", 7, 7, 11, 11), ("dog", 1, 2, 5, 9), ("cat", 5, 7, 13, 11)]
    assert [reason.partition(": ")[2] for reason in reasons(found)] == [
        "a point has no box", "it lacks the attribute 'type', its class", "its points are broken"]  # fmt: skip
    assert found.split == "val"


def test_via_asks_which_attribute_is_the_class(tmp_path):
    regions = [{"shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4},
                "region_attributes": {"breed": "x", "age": "y"}}]  # fmt: skip
    put(tmp_path / "via.json", {"a": {"filename": "a.jpg", "regions": regions}})
    with pytest.raises(UserError, match="age, breed"):
        via.read(tmp_path, None)


def test_tables(tmp_path):
    put(tmp_path / "train_labels.csv",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,30,cat,1,2,3,4\na.jpg,40,30,dog,x,2,3,4\n,,,cat,1,1,2,2\n"
        "b.jpg,40,30,cat,1,1,9,9\n")  # fmt: skip
    put(
        tmp_path / "test_labels.csv", "FileName;Cell Type;XMin;XMax;YMin;YMax\nc.jpg;cat;1,5;9;2;8\nb.jpg;cat;1;9;1;9\n"
    )
    found, source = records(tables, tmp_path)
    seen = {(one.picture, one.split): (boxes(one), one.size) for one in found}
    assert seen == {
        ("a.jpg", "train"): ([("cat", 1, 2, 3, 4)], (40, 30)),
        ("b.jpg", "train"): ([("cat", 1, 1, 9, 9)], (40, 30)),
        ("b.jpg", "test"): ([("cat", 1, 1, 9, 9)], None),
        ("c.jpg", "test"): ([("cat", 1.5, 2, 9, 8)], None),
    }
    assert source.skipped == ["train_labels.csv:4: it names no picture"]


def test_tables_of_retinanet_and_open_images(tmp_path):
    put(tmp_path / "r" / "annotations.csv", "a/1.jpg,1,2,3,4,cow\na/2.jpg,,,,,\n")
    found, _ = records(tables, tmp_path / "r")
    assert [(one.picture, boxes(one)) for one in found] == [("a/1.jpg", [("cow", 1, 2, 3, 4)]), ("a/2.jpg", [])]
    put(tmp_path / "o" / "class-descriptions-boxable.csv", "/m/01,Cat\n/m/02,Dog\n")
    put(tmp_path / "o" / "validation-annotations-bbox.csv",
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n0a1b,xclick,/m/02,1,0.1,0.5,0.2,0.6\n")  # fmt: skip
    (one,), _ = records(tables, tmp_path / "o")
    assert (one.picture, boxes(one), one.normalised, one.split) == ("0a1b", [("Dog", 0.1, 0.2, 0.5, 0.6)], True, "val")


def test_tables_of_makesense_and_spreadsheets(tmp_path):
    put(tmp_path / "a" / "labels.csv", "cat,4,6,10,15,a.jpg,40,30\n")
    head = "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\n"
    put(tmp_path / "b" / "labels.csv", head +
        "cat,4,6,10,15,a.jpg,40,30\n")  # fmt: skip
    text = "filename\tclass\txmin\tymin\txmax\tymax\na.jpg\tKäse\t4\t6\t14\t21\n"
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "labels.csv").write_bytes(text.encode("utf-16"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "labels.csv").write_bytes(text.replace("\t", ";").encode("cp1252"))
    for folder, label, size in (
        ("a", "cat", (40, 30)),
        ("b", "cat", (40, 30)),
        ("c", "Käse", None),
        ("d", "Käse", None),
    ):
        (one,), _ = records(tables, tmp_path / folder)
        assert (one.picture, boxes(one), one.size) == ("a.jpg", [(label, 4, 6, 14, 21)], size)


def test_createml_and_supervisely(tmp_path):
    place = {"x": 10, "y": 8, "width": "6", "height": 4}
    entry = {"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": place},
                                               {"label": "cat", "coordinates": {"x": 10}}]}  # fmt: skip
    put(tmp_path / "c" / "valid" / "_annotations.createml.json", [entry, {"annotations": []}])
    (one,), source = records(createml, tmp_path / "c")
    assert (boxes(one), one.split, len(reasons(one)), len(source.skipped)) == ([("cat", 7, 6, 13, 10)], "val", 1, 1)
    outline = {"exterior": [[9, 8], [1, 2], [3, 1]], "interior": []}
    objects = [{"classTitle": "cat", "geometryType": kind, "points": outline}
               for kind in ("polygon", "point")]  # fmt: skip
    put(
        tmp_path / "s" / "ds" / "ann" / "a.b.jpg.json",
        {"tags": [], "size": {"width": 40, "height": 30}, "objects": objects},
    )
    put(tmp_path / "s" / "ds" / "ann" / "c.jpg.json", {"tags": [], "size": 3, "objects": objects})
    (one,), source = records(supervisely, tmp_path / "s")
    assert (one.picture, one.folders[0], boxes(one)) == (
        "a.b.jpg",
        tmp_path / "s" / "ds" / "img",
        [("cat", 1, 1, 9, 8)],
    )
    assert len(source.skipped) == len(reasons(one)) == 1


@pytest.mark.parametrize("module", [createml, cvat, label_studio, labelme, supervisely, tables, via])
def test_nothing_of_the_layout_is_one_line(module, tmp_path):
    put(tmp_path / "notes.json", json.dumps({"a": [1, 2]}))
    put(tmp_path / "notes.xml", "<annotation/>")
    put(tmp_path / "notes.csv", "a,b,c\n1,2,3\n")
    assert module.recognise(tmp_path) is None
    with pytest.raises(UserError, match="holds no"):
        module.read(tmp_path, None)
