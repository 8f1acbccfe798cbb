"""`python -m data.check`: what a set holds, what is there twice, which labels look wrong; it changes nothing there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.check import OURS, main
from data.checks.labels import BLOCK, SAME, iou, sizes, suspects
from data.checks.pictures import duplicates, partners
from data.checks.sheets import choose
from data.index import build_index
from tests.data.pictures import pattern, write_dataset, write_picture


def write_set(root: Path, train: dict[str, str | None], val: dict[str, str | None], names: str = "[cat, dog]") -> Path:
    write_dataset(root, train, "train")
    write_dataset(root, val, "val")
    file = root / "data.yaml"
    file.write_text(f"train: images/train\nval: images/val\nnames: {names}\n")
    return file


def run(capsys: pytest.CaptureFixture, *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    return code, capsys.readouterr().out


def snapshot(root: Path) -> dict[str, str]:
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file() and not file.name.startswith(".anneal-")
    }


def test_counts_by_class_and_size(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_picture(tmp_path / "images/train/large.png", pattern(200, 200, 7))
    (tmp_path / "labels/train").mkdir(parents=True)
    # areas of 31.9^2, 32^2, 95^2, 96^2 pixels: the bounds themselves count upwards
    rows = "".join(f"1 0.5 0.5 {side / 200} {side / 200}\n" for side in (31.9, 32, 95, 96))
    (tmp_path / "labels/train/large.txt").write_text(rows)
    file = write_set(tmp_path, {"a": "0 .5 .5 .5 .5\n", "b": None}, {"c": "1 .5 .5 .5 .5\n"})
    code, out = run(capsys, file, "--out", tmp_path / "out")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["train", "3", "1", "5", "2", "2", "1"] in lines
    assert ["val", "1", "0", "1", "1", "0", "0"] in lines
    assert ["0", "cat", "1", "0", "1", "0", "0"] in lines
    assert ["1", "dog", "4", "1", "2", "2", "1"] in lines
    assert "without a box in val, so cannot be measured: cat" in out
    assert "without a box in train" not in out
    assert "files: .jpg (3), .png (1)" in out


def test_pictures_that_are_there_twice(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    box = "0 .5 .5 .5 .5\n"
    file = write_set(tmp_path, dict.fromkeys("abcde", box), {"v": box})
    pictures = tmp_path / "images/train"
    for name in "bc":
        (pictures / f"{name}.jpg").write_bytes((pictures / "a.jpg").read_bytes())
    (tmp_path / "labels/train/c.txt").write_text("1 .5 .5 .5 .5\n")
    (tmp_path / "images/val/v.jpg").write_bytes((pictures / "d.jpg").read_bytes())
    code, out = run(capsys, file, "--out", tmp_path / "out")
    assert code == 0
    assert "which flatters validation: 1 group\n  train: images/train/d.jpg = val: images/val/v.jpg\n" in out
    assert (
        "within a part: 1 group\n  train: images/train/a.jpg = train: images/train/b.jpg = train: images/train/c" in out
    )
    assert "with different labels: 1 group\n" in out


def test_the_same_folder_as_training_and_validation(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, dict.fromkeys("abc", "0 .5 .5 .5 .5\n"))
    index = build_index([folder], 1, root=tmp_path)
    found = duplicates({"train": index, "val": index})
    assert len(found.across) == 3
    assert not found.within
    assert not found.contradicting


def test_labels_drawn_twice_by_hand_do_not_contradict(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, {"a": "0 .5 .5 .5 .5\n0 .2 .2 .2 .2\n", "b": "0 .2 .2 .2 .21\n0 .5 .5 .5 .48\n"})
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    found = duplicates({"train": build_index([folder], 1, root=tmp_path)})
    assert len(found.within) == 1
    assert not found.contradicting


def test_each_kind_of_label_that_looks_wrong_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = {
        "tiny": "\n0 .5 .5 .002 .5\n",
        "huge": "0 .5 .5 .99 .99\n",
        "thin": "1 .5 .5 .9 .02\n",
        "twice": "0 .5 .5 .5 .5\n0 .5 .5 .5 .501\n",
        "classes": "0 .5 .5 .5 .5\n1 .5 .5 .5 .5\n",
        "outside": "0 .9 .5 .4 .5\n",
    }
    file = write_set(tmp_path, rows, {"v": "0 .5 .5 .5 .5\n"}, names='["{cat}", dog]')
    code, out = run(capsys, file, "--out", tmp_path / "out", "--imgsz", 64)
    assert code == 0
    for name, line, words in (
        ("tiny", 2, "{cat}, 0.1 x 12.0 of 40 x 24 px"),
        ("huge", 1, "{cat}, 39.6 x 23.8 of 40 x 24 px"),
        ("thin", 1, "dog, 36.0 x 0.5 of 40 x 24 px"),
        ("twice", 2, "{cat} and another at IoU 1.00"),
        ("classes", 2, "dog and {cat} at IoU 1.00"),
        ("outside", 1, "{cat}, 12.0 x 12.0 of 40 x 24 px, 10.0 % of the side outside"),
    ):
        assert f"train: images/train/{name}.jpg, line {line}: {words}" in out
    assert Image.open(tmp_path / "out/worst.jpg").size[0] > 900


def test_what_goes_with_nothing_or_with_two(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = write_set(tmp_path, {"a": "0 .5 .5 .5 .5\n"}, {"v": "1 .5 .5 .5 .5\n"})
    write_picture(tmp_path / "images/train/a.png")
    (tmp_path / "images/train/phone.heic").write_bytes(b"not read, but a picture")
    for name in ("gone", "phone", "classes"):
        (tmp_path / f"labels/train/{name}.txt").write_text("0 .5 .5 .5 .5\n")
    code, out = run(capsys, file, "--out", tmp_path / "out")
    assert code == 0
    assert "label files without a picture: 1\n  labels/train/gone.txt\n" in out
    assert "share one label file: 1\n  images/train/a.jpg, images/train/a.png\n" in out


def test_labels_beside_their_pictures_have_partners(tmp_path: Path) -> None:
    for name in "ab":
        write_picture(tmp_path / f"mine/{name}.jpg")
        (tmp_path / f"mine/{name}.txt").write_text("0 .5 .5 .5 .5\n")
    found = partners({"train": build_index([tmp_path / "mine"], 1, root=tmp_path)})
    assert not found.unused
    assert not found.shared


def test_the_folder_holds_text_and_pictures_and_the_set_is_as_before(tmp_path: Path, capsys) -> None:
    file = write_set(tmp_path / "set", {"a": "0 .5 .5 .5 .5\n5 0 0 0 0\n"}, {"v": "0 .5 .5 .002 .5\n"})
    before = snapshot(tmp_path / "set")
    out = tmp_path / "deep/out"
    code, told = run(capsys, file, "--out", out)
    assert code == 0
    assert snapshot(tmp_path / "set") == before
    assert sorted(path.name for path in out.iterdir()) == sorted(OURS)
    assert told.strip() in (out / "check.txt").read_text().strip()
    assert "a.txt:2: class 5 is beyond the 2 names" in (out / "messages.txt").read_text()
    for name in ("labels.png", "samples.jpg", "worst.jpg"):
        assert np.asarray(Image.open(out / name)).std() > 10
    (tmp_path / "set/labels/train/a.txt").write_text("0 .5 .5 .5 .5\n")
    assert run(capsys, file, "--out", out)[0] == 0  # again: what is of no use any more goes
    assert not (out / "messages.txt").exists()


def test_a_folder_with_files_of_others_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = write_set(tmp_path / "set", {"a": "0 .5 .5 .5 .5\n"}, {"v": "0 .5 .5 .5 .5\n"})
    (tmp_path / "run").mkdir()
    (tmp_path / "run/labels.png").write_bytes(b"of a training run")
    code, out = run(capsys, file, "--out", tmp_path / "run")
    assert code == 2
    assert "holds a labels.png, which no earlier check wrote; name another --out" in out
    assert (tmp_path / "run/labels.png").read_bytes() == b"of a training run"


def test_a_missing_test_part_is_said_and_the_rest_checked(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = write_set(tmp_path, {"a": "0 .5 .5 .5 .5\n"}, {"v": "0 .5 .5 .5 .5\n"}, names="[cat]")
    file.write_text(file.read_text() + "test: images/test\n")
    code, out = run(capsys, file, "--out", tmp_path / "out")
    assert code == 0
    assert out.count("images/test, which does not exist: left out") == 1
    assert "1 class," in out


@pytest.mark.parametrize(("words", "said"), [([], "give one data set"), (["a", "b"], "give one data set")])
def test_one_data_set_is_asked_for(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    code, out = run(capsys, *words)
    assert code == 2
    assert said in out


def test_a_set_without_any_label_is_drawn_too(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = write_set(tmp_path, {"a": None}, {"v": None})
    code, out = run(capsys, file, "--out", tmp_path / "out")
    assert code == 0
    assert "no labels at all" in out
    assert (tmp_path / "out/samples.jpg").exists()


rows_of_a_picture = st.lists(
    st.tuples(
        st.integers(0, 1), *[st.sampled_from([0.3, 0.31, 0.5, 0.7])] * 2, *[st.sampled_from([0.2, 0.21, 0.4])] * 2
    ),
    max_size=8,
)


@given(rows_of_a_picture)
def test_iou_of_labels(rows: list[tuple]) -> None:
    """Counted on a fine grid of points, within its error."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    points = (np.arange(200) + 0.5) / 200
    inside = np.abs(points - table[:, 1:3, None]) <= table[:, 3:, None] / 2  # (k, 2, 200)
    masks = (inside[:, 0, None] & inside[:, 1, :, None]).reshape(len(table), points.size**2).astype(float)
    both = masks @ masks.T
    expected = both / (masks.sum(1)[:, None] + masks.sum(1) - both)
    np.testing.assert_allclose(iou(table, table), expected, atol=0.05)


def test_pairs_are_found_across_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"0 {x:.6f} {y:.6f} .001 .001" for x, y in rng.uniform(0.01, 0.99, (BLOCK + 20, 2))]
    rows += [rows[3].replace(".001 .001", ".001 .00101")]
    folder = write_dataset(tmp_path, {"many": "\n".join(rows)})
    index = build_index([folder], 1, root=tmp_path)
    kinds = {kind.title: kind for kind in suspects("train", index, ["cat"], 64, keep=5)}
    twice = kinds["one object twice in the same class"]
    overlap = iou(index.labels[0], index.labels[0])
    assert twice.count == int((np.triu(overlap, 1) >= SAME).sum())
    assert any(each.line == BLOCK + 21 for each in twice.worst)


def test_only_the_worst_are_kept_and_all_counted(tmp_path: Path) -> None:
    rows = "".join(f"0 .5 .5 {0.951 + k / 1000} 1\n" for k in range(40))
    index = build_index([write_dataset(tmp_path, {"a": rows})], 1, root=tmp_path)
    kinds = {kind.title: kind for kind in suspects("train", index, ["cat"], 640, keep=3)}
    huge = kinds["over 95 % of the picture"]
    assert huge.count == 40
    assert [each.line for each in huge.worst] == [40, 39, 38]
    assert sizes(index).tolist() == [0] * 40  # of 40 x 24 pixels


def test_samples_show_every_class(tmp_path: Path) -> None:
    labels = {f"p{k:02}": "0 .5 .5 .5 .5\n" for k in range(40)} | {"rare": "7 .5 .5 .5 .5\n", "none": None}
    index = build_index([write_dataset(tmp_path, labels)], 8, root=tmp_path)
    chosen = choose(index, 8, 16)
    names = [Path(index.files[i]).stem for i in chosen]
    assert len(set(names)) == 16
    assert "rare" in names
    assert "none" not in names


def test_the_set_as_other_commands_name_it(tmp_path, capsys):
    file = write_set(tmp_path / "set", {"a": "0 .5 .5 .4 .4\n"}, {"b": "1 .5 .5 .4 .4\n"})
    assert run(capsys, "--data", file, "--out", tmp_path / "out")[0] == 0
    assert run(capsys, file, "--data", file)[0] == 2
