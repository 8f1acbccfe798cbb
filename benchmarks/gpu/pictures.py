"""The pictures that the parts train on: those of a data set, or drawn; and more of them, as links."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import yaml

from benchmarks.gpu.setting import Setting
from data.datasets import load_dataset
from data.index import Index, build_index
from data.sample import render
from data.sample_faces import CLASSES


def draw(folder: Path, train: int, val: int) -> Path:
    """Draw a data set; its YAML."""
    render(folder / "drawn", train=train, val=val)
    return _write(folder / "drawn.yaml", folder / "drawn", CLASSES)


def pinned(folder: Path, data: str) -> tuple[Path, bool]:
    """A YAML of the same pictures that is good from any folder, and whether they are the drawn sample."""
    given = load_dataset(data)
    train, val = ([str(path) for path in part] for part in (given.train, given.val))
    return _write(folder / "given.yaml", given.root, given.names, val, train), given.sample


def training_index(setting: Setting) -> Index:
    """The pictures to train on."""
    dataset = load_dataset(setting.data)
    return build_index(dataset.train, dataset.classes, root=dataset.root)


def enlarged(setting: Setting, count: int) -> Path:
    """The YAML of a data set of `count` pictures for training, those of the data given over and over, and its own for
    validation. More pictures make longer epochs, which are measured the better."""
    dataset, source = load_dataset(setting.data), training_index(setting)
    folder = Path(setting.folder) / f"pictures-{count}"
    if not folder.exists():
        partial = Path(tempfile.mkdtemp(dir=setting.folder))  # a part may be ended meanwhile
        for kind in ("images", "labels"):
            (partial / kind / "train").mkdir(parents=True)
        for number in range(count):
            picture, labels = Path(source.files[number % len(source)]), source.labels[number % len(source)]
            _link(picture, partial / "images" / "train" / f"{number:06}{picture.suffix}")
            np.savetxt(partial / "labels" / "train" / f"{number:06}.txt", labels, fmt="%.6g")
        partial.rename(folder)
    return _write(folder.with_suffix(".yaml"), folder, dataset.names, [str(path) for path in dataset.val])


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _write(
    file: Path,
    root: Path,
    names: tuple[str, ...],
    val: list[str] | str = "images/val",
    train: list[str] | str = "images/train",
) -> Path:
    content = {"path": str(root), "train": train, "val": val, "names": list(names)}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file
