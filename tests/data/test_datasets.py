"""The data YAML: where things are looked for, what is refused, and when the built-in sample steps in."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from data import datasets
from data.datasets import load_dataset
from utils.errors import UserError

GOOD = {"path": "set", "train": "images/train", "val": "images/val", "names": "[mask, bare]"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with an empty data set in `set`."""
    for part in ("train", "val"):
        (tmp_path / "set" / "images" / part).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(file: Path, /, **changes: str | None) -> Path:
    keys = {**GOOD, **changes}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{key}: {value}\n" for key, value in keys.items() if value is not None))
    return file


def refused(path: Path | str, *patterns: str) -> None:
    with pytest.raises(UserError) as error:
        load_dataset(path)
    message = str(error.value)
    assert "\n" not in message
    for pattern in patterns:
        assert re.search(pattern, message), message


def test_a_plain_data_set(folder):
    config = load_dataset(write(folder / "my data.yaml"))
    assert config.file == folder / "my data.yaml"
    assert config.root == folder / "set"
    assert (config.names, config.classes) == (("mask", "bare"), 2)
    assert config.train == (folder / "set/images/train",)
    assert config.val == (folder / "set/images/val",)
    assert config.test == ()
    assert not config.sample


def test_sources_may_be_lists_and_several(folder):
    (folder / "set/more.txt").touch()
    write(folder / "a.yaml", train="[images/train, more.txt]", val=str(folder / "set/more.txt"), test="not/there")
    config = load_dataset("a.yaml")
    assert config.train == (folder / "set/images/train", folder / "set/more.txt")
    assert config.val == (folder / "set/more.txt",)
    assert config.test == (folder / "set/not/there",)


def test_path_is_taken_from_here_then_from_the_yaml(folder):
    elsewhere = write(folder / "elsewhere/a.yaml")
    assert load_dataset(elsewhere).root == folder / "set"
    (folder / "set").rename(folder / "elsewhere/set")
    assert load_dataset(elsewhere).root == folder / "elsewhere/set"
    assert load_dataset(write(folder / "elsewhere/set/a.yaml", path=None)).root == folder / "elsewhere/set"
    assert load_dataset(write(folder / "elsewhere/set/b.yaml", path=".")).root == folder / "elsewhere/set"
    assert load_dataset(write(folder / "b.yaml", path=str(folder / "elsewhere/set"))).root == folder / "elsewhere/set"


def test_paths_written_from_a_folder_below(folder):
    config = load_dataset(write(folder / "set/a.yaml", path=None, train="../images/train", val="../images/val"))
    assert config.train == (folder / "set/images/train",)


def test_looked_up_in_the_package(folder, monkeypatch):
    package = folder / "package"
    write(package / "known.yaml")
    monkeypatch.setattr(datasets, "PACKAGE", package)
    assert load_dataset("known.yaml").file == package / "known.yaml"
    write(folder / "known.yaml", names="[here]")
    assert load_dataset("known.yaml").names == ("here",), "the current folder comes first"
    refused("knwon.yaml", f"looked in {folder} and {package}", "did you mean 'known.yaml'")
    refused("set", "is a folder")
    refused("x" * 5000, "no data set file")
    refused(write(folder / "long.yaml", train="x" * 5000), "does not exist")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("{0: a, 1: b}", ("a", "b")),
        ("{1: b, 0: a}", ("a", "b")),
        ("['no', 7]", ("no", "7")),
        ("[007, 12:30, 1e3, 1_000, 0x1F, .5, +3]", ("007", "12:30", "1e3", "1_000", "0x1F", ".5", "+3")),
        ("{0: 007, 1: '8'}", ("007", "8")),
        ("{'1': b, '0': a}", ("a", "b")),
        ("&n [1, *one]".replace("*one", "2"), ("1", "2")),
        ("[één hond, маска]", ("één hond", "маска")),
    ],
)
def test_names(folder, names, expected):
    assert load_dataset(write(folder / "a.yaml", names=names)).names == expected


@pytest.mark.parametrize(
    ("changes", "patterns"),
    [
        ({"names": None}, ["a.yaml: no 'names'; add"]),
        ({"train": None}, ["no 'train'"]),
        ({"val": ""}, ["no 'val'"]),
        ({"names": "[]"}, ["no 'names'"]),
        ({"names": "mask"}, ["a.yaml:4: 'names' must be a list"]),
        ({"names": "{1: a, 2: b}"}, ["a.yaml:4: .* must be 0 to 1"]),
        ({"names": "{a: 0, b: 1}"}, ["must be 0 to 1"]),
        ({"names": "{false: a, true: b}"}, ["must be 0 to 1"]),
        ({"names": "[yes, no]"}, ["name 0 is True, not text; put it in quotes"]),
        ({"names": r'[a, "b\e[31m"]'}, [r"a.yaml:4: name 1 is 'b\\x1b\[31m', which cannot be printed"]),
        ({"names": r'["a\nerror: b"]'}, ["cannot be printed in a line; rename it"]),
        ({"names": "[a, ]\nnc: 2"}, ["a.yaml:5: nc is 2, but there is 1 name;"]),
        ({"names": "[a, 2020-01-01]"}, ["name 1 is .*2020, 1, 1.*put it in quotes"]),
        ({"names": "[a, ~]"}, ["name 1 is None, not text; put it in quotes"]),
        ({"names": "{'0': a, '2': b}"}, ["must be 0 to 1"]),
        ({"vals": "images/val"}, ["a.yaml:5: unknown key 'vals'; did you mean 'val'"]),
        ({"Names": "[a]"}, ["a.yaml:5: unknown key 'Names'; did you mean 'names'"]),
        ({"val": None, "valid": "images/val"}, ["no 'val'; rename 'valid' to 'val'"]),
        ({"nc": "two"}, ["a.yaml:5: nc is two"]),
        ({"trian": "images"}, ["a.yaml:5: unknown key 'trian'; did you mean 'train'"]),
        (
            {"train": "images/trian"},
            ["a.yaml:2: 'train' names .*images/trian, which does not exist; correct it"],
        ),
        ({"val": "[images/val, gone.txt]"}, ["a.yaml:3: .*gone.txt"]),
        ({"val": "../a.yaml"}, ["a.yaml:3: .*neither a folder nor a .txt list"]),
        ({"val": "{a: b}"}, ["a.yaml:3: 'val' holds"]),
        ({"val": "[3]"}, ["a.yaml:3: 'val' holds 3"]),
        ({"path": "3"}, ["a.yaml:1: 'path' is 3"]),
        ({"path": "nowhere", "train": "images/gone"}, ["nowhere/images/gone, which does not exist"]),
        ({"sample": "facess"}, ["a.yaml:5: sample 'facess' is unknown; did you mean 'faces'"]),
    ],
)
def test_refused(folder, changes, patterns):
    refused(write(folder / "a.yaml", **changes), *patterns)


def test_download_is_never_run(folder, caplog):
    command = f"touch {folder / 'canary'}"
    with caplog.at_level(logging.INFO, "anneal"):
        load_dataset(write(folder / "a.yaml", download=command, roboflow="{project: x}", license="CC0"))
    assert not (folder / "canary").exists()
    assert "a.yaml:5: 'download' is ignored" in caplog.text
    assert "keys of other tools, ignored: roboflow, license" in caplog.text


def test_keys_of_other_tools_are_one_warning(folder, caplog):
    keys = {"colors": "[[1, 2, 3]]", "channels": "3", "train_labels": "x", "kpt_shape": "[17, 3]", "names_en": "[a]"}
    assert load_dataset(write(folder / "a.yaml", **keys)).classes
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().endswith("ignored: colors, channels, train_labels, kpt_shape, names_en")


@pytest.mark.parametrize("path", ["/content/datasets/set", "C:\\\\data\\\\set", "gone/set"])
@pytest.mark.parametrize("place", ["a.yaml", "set/a.yaml"])
def test_the_path_of_another_machine(folder, caplog, path, place):
    data = load_dataset(write(folder / place, path=f'"{path}"'))
    assert data.train == (folder / "set" / "images" / "train",)
    assert "does not exist; using" in caplog.text


def test_the_sample_stands_in_for_a_missing_folder(folder, monkeypatch, caplog):
    drawn = []

    def draw(root: Path) -> None:  # the drawing itself has its own tests, and takes seconds
        drawn.append(root)
        for part in ("train", "val"):
            (root / "images" / part).mkdir(parents=True)
        (root / "SAMPLE.txt").touch()

    monkeypatch.setattr(datasets, "render", draw)
    path = write(folder / "a.yaml", path="sets/mask", sample="faces")
    with pytest.raises(UserError, match="does not exist"):
        load_dataset(path, render_sample=False)
    assert drawn == []
    assert load_dataset(path).sample
    assert drawn == [folder / "sets/mask"]
    assert "python -m data.convert voc PATH/TO/face-mask-detection --out sets/mask --val 0.15 --seed 0" in caplog.text
    assert "remove" not in caplog.text  # converting replaces the sample by itself
    caplog.clear()
    assert load_dataset(path, render_sample=False).sample
    assert len(drawn) == 1
    assert "holds the built-in sample" in caplog.text


def test_the_sample_never_covers_for_a_wrong_path(folder, monkeypatch):
    monkeypatch.setattr(datasets, "render", lambda root: pytest.fail("drawn over an existing folder"))
    refused(write(folder / "a.yaml", sample="faces", train="images/typo"), "images/typo")
    assert not load_dataset(write(folder / "a.yaml", sample="faces")).sample


def test_a_whole_path_is_not_taken_for_a_misspelt_set_of_ours(tmp_path):
    with pytest.raises(UserError) as caught:
        load_dataset(tmp_path / "gone" / "data.yaml")
    assert "mask.yaml" not in str(caught.value)
    assert str(caught.value).endswith("give --data with the set's YAML")
    with pytest.raises(UserError, match=r"did you mean 'mask\.yaml'"):
        load_dataset("maks.yaml")
