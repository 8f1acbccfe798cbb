"""The index: what it finds, what it leaves out and says, and that it never touches the user's files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.cache import cache_path
from data.files import label_candidates
from data.index import build_index
from data.report import IndexReport
from tests.data.pictures import pattern, write_dataset, write_picture
from utils.errors import UserError

BOX = "0 0.5 0.5 0.2 0.2\n"


def build(*sources: Path, root: Path, classes: int = 3, **options):
    return build_index(sources, classes, root=root, workers=2, **options)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file but the cache."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".anneal-" not in path.name)
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_plain_folder(tmp_path):
    images = write_dataset(tmp_path, {"b": BOX, "a": None, "sub/c é": "1 0.5 0.5 0.1 0.1\n2 0.2 0.2 0.1 0.1", "d": ""})
    index = build(images, root=tmp_path)
    assert [Path(file).name for file in index.files] == ["a.jpg", "b.jpg", "d.jpg", "c é.jpg"]
    assert [len(rows) for rows in index.labels] == [0, 1, 0, 2]
    assert index.shapes.tolist() == [[24, 40]] * 4
    assert index.shapes.dtype == np.int32
    assert index.labels[1].dtype == np.float32
    assert index.labels[-1].tolist() == index.labels[3].tolist()
    with pytest.raises(IndexError):
        index.labels[4]
    with pytest.raises(ValueError, match="read-only"):
        index.labels[1][0, 0] = 5
    report = index.report
    assert (len(index), report.pictures, report.boxes, report.backgrounds, report.messages) == (4, 4, 3, 2, [])


def test_where_labels_are_looked_for():
    assert label_candidates("/x/images/images/a.b.jpg") == ["/x/images/labels/a.b.txt", "/x/images/images/a.b.txt"]
    assert label_candidates("/x/pictures/a.png") == ["/x/pictures/a.txt"]


def test_labels_beside_the_pictures(tmp_path):
    write_picture(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "a.txt").write_text(BOX)
    assert build(tmp_path / "photos", root=tmp_path).report.boxes == 1


def test_lists(tmp_path, caplog):
    write_dataset(tmp_path / "set", {"a": BOX, "b c é": BOX, "c": BOX, "d": BOX})
    write_picture(tmp_path / "outside.jpg")
    (tmp_path / "set/list.txt").write_text(
        "\ufeffimages/train/a.jpg\n./images/train/b c é.jpg\n\n"
        f"{tmp_path}/set/images/train/c.jpg\r\nimages/train/gone.jpg\n../outside.jpg\nnotes.doc\nimages/train/a.jpg\n"
        "images/../images/train/a.jpg\n"
    )
    index = build(tmp_path / "set/list.txt", tmp_path / "set/images/train", root=tmp_path / "set")
    assert [Path(file).stem for file in index.files] == ["outside", "a", "b c é", "c", "d"]
    told = "\n".join(index.report.messages)
    assert "list.txt:5: no such file" in told
    assert "list.txt:6: '../outside.jpg' leads outside" in told
    assert "list.txt:7: 'notes.doc' is not a picture" in told
    assert len(index.report.messages) == 3
    assert index.report.skipped_pictures == 2
    (tmp_path / "set/sub").mkdir()
    (tmp_path / "set/sub/list.txt").write_text("./../images/train/a.jpg\nimages/train/d.jpg\n")
    assert len(build(tmp_path / "set/sub/list.txt", root=tmp_path / "set")) == 2


def test_links_that_lead_in_a_circle(tmp_path):
    images = write_dataset(tmp_path, {"a": BOX})
    (images / "again").symlink_to(images, target_is_directory=True)
    assert len(build(images, root=tmp_path)) == 1


def test_broken_pictures_are_skipped_and_nothing_is_rewritten(tmp_path, caplog):
    images = write_dataset(tmp_path, {"good": BOX, "short": BOX, "rows": BOX + "9 0.5 0.5 0.1 0.1\n0 nan 0 0 0\n"})
    whole = (images / "short.jpg").read_bytes()
    (images / "short.jpg").write_bytes(whole[:-30])
    (images / "empty.png").touch()
    (images / "text.jpg").write_text("hello")
    write_picture(images / "dot.png", pattern(1, 1))
    (images / "moving.gif").write_bytes(b"GIF89a")
    (images / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (images / "folder.jpg").mkdir()
    (images / "._good.jpg").write_text("hidden")
    before = snapshot(tmp_path)
    with caplog.at_level(logging.INFO, "anneal"):
        index = build(images, root=tmp_path, desc="train")
    assert snapshot(tmp_path) == before
    assert [Path(file).stem for file in index.files] == ["good", "rows"]
    report = index.report
    assert (report.skipped_pictures, report.skipped_rows, report.unknown_classes) == (6, 2, 1)
    told = "\n".join(report.messages)
    for part in ("short.jpg: skipped: truncated", "empty.png: skipped: empty file", "text.jpg: skipped: not a picture"):
        assert part in told
    assert "dot.png: skipped: 1 x 1 pixels" in told
    assert "dangling.jpg: skipped: cannot be read" in told
    assert f"{tmp_path}/labels/train/rows.txt:2: class 9 is beyond" in told
    assert f"{tmp_path}/labels/train/rows.txt:3: " in told
    assert all("\n" not in message and ";" in message for message in report.messages)
    assert "train: 2 pictures (0 without boxes), 2 boxes; 6 pictures skipped; 2 label rows skipped" in caplog.text
    assert build(images, root=tmp_path).report == report, "the cache must tell the same"


def test_only_ten_messages_are_shown(tmp_path, caplog):
    images = write_dataset(tmp_path, {"a": "x\n" * 25 + BOX})
    index = build(images, root=tmp_path)
    assert len(index.report.messages) == 25
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 11 + ["INFO"]
    assert "and 15 more" in caplog.text


@pytest.mark.parametrize(("endless", "lines"), [(5, 5), (6, 1), (40, 1)])
def test_a_fault_of_more_than_a_handful_of_pictures_is_one_line(endless, lines, tmp_path, caplog):
    """Told the same from the cache; beside it, others keep a line each, and the report names every picture."""
    images = write_dataset(tmp_path, {f"{i:02}": BOX for i in range(endless + 1)})
    for i in range(endless):
        path = images / f"{i:02}.jpg"
        path.write_bytes(path.read_bytes()[:-2])
    (images / f"{endless:02}.jpg").write_bytes(b"")
    for _ in range(2):
        caplog.clear()
        index = build(images, root=tmp_path, desc="train")
        assert sum("end marker is missing" in message for message in index.report.messages) == endless
        *told, broken = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert broken == f"{images}/{endless:02}.jpg: skipped: empty file; restore the picture or remove it"
        assert len(told) == lines
        if lines == 1:
            names = "00.jpg, 01.jpg, 02.jpg, ..."
            assert told[0].startswith(f"train: {endless} pictures ({names}), of each: its end marker is missing")


def test_counts_of_one_are_singular(caplog):
    one = dict.fromkeys(
        ("pictures", "boxes", "skipped_pictures", "skipped_rows", "polygons", "clipped", "duplicates"), 1
    )
    report = IndexReport(**one, unknown_classes=1, messages=["x"] * 11)
    assert report.summary() == (
        "1 picture (0 without boxes), 1 box; 1 picture skipped; 1 label row skipped; 1 polygon boxed; "
        "1 box clipped to its picture; 1 repeated row dropped; "
        "'names' does not match the labels: 1 row is of a class beyond it"
    )
    assert "1 picture " not in IndexReport(pictures=2, skipped_pictures=1200).summary()
    assert "1,200 pictures skipped" in IndexReport(pictures=2, skipped_pictures=1200).summary()
    report.log("train")
    assert "train: ... and 1 more such message\n" in caplog.text


def test_names_that_do_not_match_are_said(tmp_path, caplog):
    images = write_dataset(tmp_path, {"a": BOX + "1 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.3 0.1"})
    assert "'names' does not match the labels: 2 rows" in build(images, root=tmp_path, classes=1).report.summary()
    assert "'names' does not match" in caplog.text, "a warning, not a remark"
    index = build(images, root=tmp_path, classes=1, single_class=True)
    assert "names" not in index.report.summary()
    assert index.labels[0][:, 0].tolist() == [0, 0, 0]


def test_no_labels_is_a_warning_and_no_pictures_an_error(tmp_path, caplog):
    images = write_dataset(tmp_path, {"a": None, "b": None})
    assert build(images, root=tmp_path).report.backgrounds == 2
    assert "no labels at all" in caplog.text
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"no usable pictures in .*none; give pictures"):
        build(tmp_path / "none", root=tmp_path)
    (tmp_path / "none" / "a.jpg").touch()
    with pytest.raises(UserError, match=r"the first of 1 faults: .*a\.jpg: skipped: empty file"):
        build(tmp_path / "none", root=tmp_path)
    with pytest.raises(UserError, match="gone does not exist"):
        build(tmp_path / "gone", root=tmp_path)
    with pytest.raises(UserError, match="neither a folder nor"):
        build(images / "a.jpg", root=tmp_path)


def test_fingerprint_follows_content_not_place(tmp_path):
    first = build(write_dataset(tmp_path / "one", {"a": BOX, "b": None}), root=tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two words")
    second = build(tmp_path / "two words/images/train", root=tmp_path / "two words")
    assert first.fingerprint == second.fingerprint
    seen = {first.fingerprint}
    (tmp_path / "one/labels/train/a.txt").write_text(BOX.replace("0.2", "0.3"))
    seen.add(build(tmp_path / "one/images/train", root=tmp_path / "one").fingerprint)
    (tmp_path / "one/images/train/b.jpg").rename(tmp_path / "one/images/train/c.jpg")
    seen.add(build(tmp_path / "one/images/train", root=tmp_path / "one").fingerprint)
    write_picture(tmp_path / "one/images/train/c.jpg", pattern(24, 40, seed=9), quality=50)
    seen.add(build(tmp_path / "one/images/train", root=tmp_path / "one").fingerprint)
    assert len(seen) == 4


def test_fingerprint_and_order_stay_where_sources_are_moved_apart(tmp_path):
    """Two sources that sort the other way round once they lie elsewhere; a root that is elsewhere; a list by paths."""
    for name in ("a", "b"):
        write_dataset(tmp_path / name, {f"{name}{i}": BOX for i in range(3)})
    (tmp_path / "a").rename(tmp_path / "z")
    shutil.copytree(tmp_path / "b", tmp_path / "y" / "b")
    shutil.copytree(tmp_path / "z", tmp_path / "x")
    first = build(tmp_path / "z/images/train", tmp_path / "b/images/train", root=tmp_path)
    moved = build(tmp_path / "x/images/train", tmp_path / "y/b/images/train", root=tmp_path / "x")
    assert first.fingerprint == moved.fingerprint
    assert [Path(f).name for f in first.files] == [Path(f).name for f in moved.files]
    lists = []
    for here in ("b", "y/b"):
        lists.append(tmp_path / here / "list.txt")
        lists[-1].write_text("".join(f"{path}\n" for path in (tmp_path / here / "images").rglob("*.jpg")))
    assert build(lists[0], root=tmp_path).fingerprint == build(lists[1], root=tmp_path / "x").fingerprint


def test_fingerprint_sees_a_picture_of_the_same_size_in_bytes(tmp_path):
    images = write_dataset(tmp_path, {"a": BOX})
    picture = next(images.glob("*.jpg"))
    written = []
    for value in (9, 200):
        pixels = np.full((24, 40, 3), value, np.uint8)
        picture.unlink(missing_ok=True)
        Image.fromarray(pixels).save(images / "a.bmp")
        written.append(((images / "a.bmp").stat().st_size, build(images, root=tmp_path).fingerprint))
        assert build(images, root=tmp_path).fingerprint == written[-1][1]  # as the cache has it
    assert written[0][0] == written[1][0]
    assert written[0][1] != written[1][1]


def test_paths_that_are_no_text(tmp_path, caplog):
    images = write_dataset(tmp_path, {"a": BOX})
    odd = images / "bad\udcff.jpg"
    try:
        odd.touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    for _ in range(2):
        index = build(images, root=tmp_path)
        assert index.report.messages[0].encode().endswith(b"empty file; restore the picture or remove it")
    assert cache_path([images]).is_file()


@pytest.mark.parametrize("name", ["A.txt", "a.jpg.txt", "a.TXT", "b.txt"])
def test_label_files_of_no_picture_are_said(tmp_path, name):
    images = write_dataset(tmp_path, {"a": None, "c": BOX, "d": BOX})
    (tmp_path / "labels/train" / name).write_text(BOX)
    (tmp_path / "labels/train/classes.txt").write_text("a\n")
    messages = build(images, root=tmp_path).report.messages
    place = tmp_path / "labels/train" / name
    assert messages == [f"1 label file is without a picture, such as {place}; name it as its picture, or remove it"]


def test_pictures_of_one_name_are_said_once(tmp_path):
    images = write_dataset(tmp_path, dict.fromkeys("abc", BOX))
    for name in "ab":
        write_picture(images / f"{name}.png", pattern())
    write_picture(images / "free.png", pattern())
    write_picture(images / "free.jpg", pattern())
    told = build(images, root=tmp_path).report.messages
    assert told == [f"2 pictures have the label file of another: {images}/a.jpg and a.png; rename one"]


def test_poses_are_boxes_with_more_behind(tmp_path):
    images = write_dataset(tmp_path, {"a": "0 0.5 0.5 0.2 0.2" + " 0.1 0.1" * 4 + "\n"})
    assert build(images, root=tmp_path, poses=True).labels[0].tolist() == np.float32([[0, 0.5, 0.5, 0.2, 0.2]]).tolist()
    assert build(images, root=tmp_path).report.polygons == 1  # and the cache tells the two apart


def test_a_set_of_which_no_row_is_left_is_refused(tmp_path):
    images = write_dataset(tmp_path, {"a": "0 320 240 64 64\n", "b": "7 0.5 0.5 0.1 0.1\n", "c": None})
    with pytest.raises(UserError, match="val: no box is left: 2 label rows were skipped, for the reasons above"):
        build(images, root=tmp_path, allow_background=False, desc="val")
    assert build(images, root=tmp_path).report.skipped_rows == 2
