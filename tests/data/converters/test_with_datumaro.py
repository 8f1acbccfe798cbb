"""Layouts read through Datumaro: what it writes, we read back; and the error where it is not installed."""

from __future__ import annotations

import importlib.util
import sys

import cv2
import numpy as np
import pytest

from data.convert import main
from tests.data.converters.layouts import converted, same

needs_datumaro = pytest.mark.skipif(importlib.util.find_spec("datumaro") is None, reason="datumaro is not installed")


def test_without_the_library(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "datumaro", None)
    (tmp_path / "src").mkdir()
    assert main([str(tmp_path / "src"), "--with", "datumaro", "--out", str(tmp_path / "dst")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install -r requirements-datumaro.txt" in error


@needs_datumaro
@pytest.mark.parametrize(("layout", "named"), [("kitti", "kitti_detection"), ("wider_face", None), ("mot_seq_gt", None),
                                               ("voc", "voc"), ("datumaro", None)])  # fmt: skip
def test_what_it_writes_is_read_back(tmp_path, capsys, layout, named):
    library = importlib.import_module("datumaro")
    items, wanted = [], []
    for number in range(6):
        x, y = number + 1, number
        box = library.Bbox(x, y, 10, 15, label=number % 2, id=number, group=number, attributes={"occluded": False})
        media = library.Image.from_numpy(np.full((30, 40, 3), 40 * number, np.uint8))
        items.append(library.DatasetItem(f"p{number}", subset="val" if number > 3 else "train", media=media,
                                         annotations=[box]))  # fmt: skip
        wanted.append((("cat", "dog")[number % 2], (x, y, x + 10, y + 15)))
    library.Dataset.from_iterable(items, categories=["cat", "dog"]).export(
        str(tmp_path / "src"), layout, save_media=True
    )
    words = [*([named] if named else []), str(tmp_path / "src"), "--with", "datumaro", "--out", str(tmp_path / "dst")]
    assert main(words) == 0, capsys.readouterr()
    made = converted(tmp_path / "dst")
    assert len(made) == 6
    for data, (_, boxes) in made.items():
        shade = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).mean()
        assert same(boxes, (wanted[round(shade / 40)],))


@needs_datumaro
def test_a_layout_that_could_be_several_is_asked_for(tmp_path, capsys):
    library = importlib.import_module("datumaro")
    item = library.DatasetItem("a", media=library.Image.from_numpy(np.zeros((9, 9, 3), np.uint8)),
                               annotations=[library.Bbox(1, 1, 5, 5, label=0)])  # fmt: skip
    library.Dataset.from_iterable([item], categories=["cat"]).export(str(tmp_path / "src"), "voc", save_media=True)
    assert main([str(tmp_path / "src"), "--with", "datumaro", "--out", str(tmp_path / "dst")]) == 2
    assert "could be voc" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), "--with", "datumaro", "--out", str(tmp_path / "dst")]) == 2
    assert "no layout that Datumaro knows" in capsys.readouterr().err
