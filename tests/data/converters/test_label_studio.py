"""Label Studio: regions in percent, annotators, cancelled annotations, and the names that uploads get."""

from __future__ import annotations

from pathlib import Path

from data.converters import label_studio
from tests.data.converters.layouts import draw, put, shot
from tests.data.converters.reading import boxes, reasons, records


def region(kind: str, label: str, index: str = "r", **value) -> dict:
    names = {} if label is None else {f"{kind}labels": [label]}
    return {"id": index, "type": f"{kind}labels", "original_width": 200, "original_height": 100, "image_rotation": 0,
            "from_name": "label", "to_name": "image", "value": value | names}  # fmt: skip


def task(picture: str, *results, number: int = 1, **more) -> dict:
    annotations = [
        {"id": n, "was_cancelled": False, "result": result} | extra for n, (result, extra) in enumerate(results)
    ]
    return {"id": number, "annotations": annotations, "predictions": [], "data": {"image": picture}} | more


def test_label_studio_regions(tmp_path):
    regions = [
        region("rectangle", "cat", x=10, y=20, width=30, height=40, rotation=0),
        region("rectangle", "dog", x=50, y=50, width=20, height=20, rotation=90),
        region("polygon", "cat", points=[[10, 10], [20, 15], [15, 30]], closed=True),
        region("ellipse", "sun", x=50, y=50, radiusX=10, radiusY=10, rotation=0),
        region("brush", "cat", format="rle", rle=[1, 2]),
        region("keypoint", "cat", x=1, y=1, width=0.5),
        region("rectangle", None, x=1, y=2, width=3, height=4, index="q"),
        region("rectangle", "cat", x=1, y=2, width=3, height=4) | {"image_rotation": 90},
        {"type": "choices", "value": {"choices": ["night"]}, "from_name": "c", "to_name": "image"},
    ]
    put(tmp_path / "export.json", [task("/data/local-files/?d=in%20side/a.jpg", (regions, {}))])
    (one,), _ = records(label_studio, tmp_path)
    assert (one.picture, one.size, one.normalised) == ("in%20side/a.jpg", (200, 100), True)
    assert boxes(one) == [("cat", 0.1, 0.2, 0.4, 0.6), ("dog", 0.4, 0.5, 0.5, 0.9), ("cat", 0.1, 0.1, 0.2, 0.3),
                          ("sun", 0.4, 0.4, 0.6, 0.6)]  # fmt: skip
    assert [reason.partition(": ")[2] for reason in reasons(one)] == [
        "a brush has no box", "a key point has no box", "it lacks a label",
        "its picture was rotated in the tool, which is not supported"]  # fmt: skip


def test_label_studio_annotators(tmp_path):
    def only(label, **extra):
        return [region("rectangle", label, x=0, y=0, width=50, height=50)], extra

    put(tmp_path / "export.json", [
        task("s3://bucket/x/a.jpg", only("old", updated_at="2024-01-01"), only("new", updated_at="2024-02-01"),
             only("none", updated_at="2025-01-01", was_cancelled=True)),
        task("https://h.org/b.jpg?X-Amz-Date=1", only("true", ground_truth=True), only("new", updated_at="2024"),
             number=2),
        task("c.jpg", number=3, predictions=[{"result": only("guess")[0]}]),
        task("d.jpg", ([], {}), number=4),
        {"id": 5, "annotations": [], "data": {"text": "no picture"}},
    ])  # fmt: skip
    found, source = records(label_studio, tmp_path)
    assert [(one.picture, [box[0] for box in boxes(one)]) for one in found] == [
        ("x/a.jpg", ["new"]), ("b.jpg", ["true"]), ("d.jpg", [])]  # fmt: skip
    assert source.counts["other or earlier annotations of a picture, left out"] == 2
    assert source.counts["annotations that were cancelled, left out"] == 1
    assert source.counts["tasks without an annotation, left out"] == 1
    assert source.skipped == ["export.json: task 5: it names no picture"]


def test_label_studio_uploads(tmp_path):
    draw(tmp_path, [shot(name) for name in ("1a2b3c4d-a.jpg", "b.jpg", "c.jpg")])
    names = ("1a2b3c4d-a.jpg", "aaaaaaaa-b.jpg", "bbbbbbbb-c.jpg", "cccccccc-c.jpg")
    put(tmp_path / "export.json", [
        task(f"/data/upload/1/{name}", ([region("rectangle", "cat", x=0, y=0, width=9, height=9)], {}), number=n)
        for n, name in enumerate(names)
    ])  # fmt: skip
    found, source = records(label_studio, tmp_path)
    assert [Path(one.picture).name for one in found] == ["1a2b3c4d-a.jpg", "b.jpg"]
    assert len([line for line in source.skipped if "uploaded more than once" in line]) == 2


def test_label_studio_addresses_that_differ_in_the_host_alone(tmp_path):
    only = [region("rectangle", "cat", x=0, y=0, width=9, height=9)], {}
    addresses = ("https://a.org/x.jpg", "https://b.org/x.jpg", "https://a.org/y.jpg?v=1", "https://a.org/y.jpg?v=2",
                 "data:image/png;base64,iVBORw0KGgo=")  # fmt: skip
    put(tmp_path / "export.json", [task(address, only, number=n) for n, address in enumerate(addresses)])
    found, source = records(label_studio, tmp_path)
    assert [one.picture for one in found] == ["y.jpg"]
    assert source.reasons == {"its address ends like another one": 2, "it names no picture": 1}


def test_label_studio_min(tmp_path):
    value = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["cat", "pet"],
             "original_width": 200, "original_height": 100}  # fmt: skip
    base = {"image": "/data/upload/1/a.jpg", "id": 1, "annotation_id": 1, "updated_at": "2024-01-01"}
    put(tmp_path / "min.json", [
        base | {"annotator": 1, "label": [value]},
        base | {"annotator": 2, "annotation_id": 2, "label": [value, value | {"x": 50}], "updated_at": "2024-01-02"},
    ])  # fmt: skip
    (one,), source = records(label_studio, tmp_path)
    assert boxes(one) == [("cat", 0.1, 0.2, 0.4, 0.6), ("pet", 0.1, 0.2, 0.4, 0.6), ("cat", 0.5, 0.2, 0.8, 0.6),
                          ("pet", 0.5, 0.2, 0.8, 0.6)]  # fmt: skip
    assert source.counts["regions of several labels, a box for each"] == 2
    assert source.counts["other or earlier annotations of a picture, left out"] == 1
