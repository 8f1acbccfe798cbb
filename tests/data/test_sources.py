"""Where a data YAML's pictures are: as written, or where a set that was brought here has them, which is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.datasets import load_dataset
from data.files import find_pictures
from tests.data.pictures import write_picture
from utils.errors import UserError


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set as two kinds of tools lay it out, seen from elsewhere."""
    for folder in ("images/train", "images/val", "train/images", "valid/images"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
    for name in ("train.txt", "val.txt"):
        (tmp_path / "mine" / name).write_text("images/train/a.jpg\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "mine"


def write(mine: Path, train: str, val: str, more: str = "") -> Path:
    file = mine / "data.yaml"
    file.write_text(f"train: {train}\nval: {val}\nnames: [a]\n{more}")
    return file


@pytest.mark.parametrize(
    ("train", "val", "found", "said"),
    [
        ("images/train", "./images/val/", ("images/train", "images/val"), 0),
        ("../train/images", "../valid/images", ("train/images", "valid/images"), 0),
        ("images\\train", "images\\val", ("images/train", "images/val"), 0),
        ("/content/old/images/train", "/content/old/images/val", ("images/train", "images/val"), 2),
        ("C:\\old\\images\\train", "D:/images/val", ("images/train", "images/val"), 2),
        ("~/nowhere/train/images", "~/nowhere/valid/images", ("train/images", "valid/images"), 2),
        ("mine/train/images", "mine/valid/images", ("train/images", "valid/images"), 2),
        ("/home/bob/train.txt", "/home/bob/val.txt", ("train.txt", "val.txt"), 2),
        ("[/home/bob/train.txt, images/train]", "val.txt", ("train.txt", "images/train", "val.txt"), 1),
    ],
)
def test_sources_of_another_machine(
    mine: Path, caplog, train: str, val: str, found: tuple[str, ...], said: int
) -> None:
    data = load_dataset(write(mine, train, val))
    assert data.train + data.val == tuple(mine / each for each in found)
    assert caplog.text.count("does not exist; using ") == said


@pytest.mark.parametrize(
    "train", ["image/train", "/old/images/trian", "other/images/train", "../../images/train", "/images", "C:\\", "$(x)"]
)
def test_what_is_not_there_is_an_error_and_never_a_guess(mine: Path, train: str) -> None:
    (mine / "images/images").mkdir()
    with pytest.raises(UserError, match=r"data\.yaml:1: 'train' names .* which does not exist; correct it or 'path'"):
        load_dataset(write(mine, train, "images/val"))


@pytest.mark.parametrize("path", ["/home/bob/mine", "C:\\Users\\bob\\mine", "../sets/mine", "~/sets/other", "/tmp"])
def test_a_path_of_another_machine(mine: Path, caplog, path: str) -> None:
    data = load_dataset(write(mine, "images/train", "../valid/images", f"path: {path}\n"))
    assert data.root == mine
    assert data.train + data.val == (mine / "images/train", mine / "valid/images")
    assert f"; using {mine}" in caplog.text


def test_a_folder_that_is_everywhere_proves_nothing(mine: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_dataset(write(mine, ".", ".", "path: /home/bob/mine\n"))


def test_a_missing_test_part_is_said_and_stops_nothing(mine: Path, caplog) -> None:
    data = load_dataset(write(mine, "images/train", "images/val", "test: ../test/images\n"))
    assert not data.test[0].exists()
    assert "data.yaml:4: 'test' names" in caplog.text
    assert "which does not exist: left out" in caplog.text


NUMBERS = st.one_of(
    st.from_regex(
        r"0[0-9]{1,3}|[1-9][0-9]?:[0-5][0-9]|[1-9]e[0-9]|[0-9]\.[0-9]{1,3}|[1-9]_000|0x[0-9A-F]{2}", fullmatch=True
    ),
    st.integers(-9, 99).map(str),
)
WORDS = st.from_regex(r"[a-zA-Zéß猫][a-zA-Z0-9 _-]{0,8}[a-z0-9]", fullmatch=True)
WORDS = WORDS.filter(lambda word: word.lower() not in {"yes", "no", "on", "off", "true", "false", "null"})
STYLES = {
    "list": lambda names: "[" + ", ".join(names) + "]",
    "lines": lambda names: "".join(f"\n- {name}" for name in names),
    "numbered": lambda names: "".join(f"\n  {i}: {name}" for i, name in enumerate(names)),
    "numbered by text": lambda names: "{" + ", ".join(f"'{i}': {name}" for i, name in enumerate(names)) + "}",
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(NUMBERS, WORDS), min_size=1, max_size=6), st.sampled_from(list(STYLES)), st.booleans())
def test_names_are_what_is_written(mine: Path, names: list[str], style: str, as_text: bool) -> None:
    nc = f"'{len(names)}'" if as_text else len(names)
    file = mine / "names.yaml"
    file.write_text(
        f"train: images/train\nval: images/val\nnames: {STYLES[style](names)}\nnc: {nc}\n", encoding="utf-8"
    )
    assert load_dataset(file).names == tuple(names)


@pytest.mark.parametrize("name", ["yes", "No", "off", "true", "null", "~", "2024-01-31", "!!set {a}", "[a]", "{a: b}"])
def test_names_that_yaml_reads_as_something_else_are_refused(mine: Path, name: str) -> None:
    file = write(mine, "images/train", "images/val")
    file.write_text(file.read_text().replace("[a]", f"[cat, {name}]"))
    with pytest.raises(UserError, match=r"name 1 is .*, not text; put it in quotes"):
        load_dataset(file)


def test_two_classes_of_one_name_are_said(mine: Path, caplog) -> None:
    file = write(mine, "images/train", "images/val")
    file.write_text(file.read_text().replace("[a]", "[cat, dog, cat]"))
    assert load_dataset(file).names == ("cat", "dog", "cat")
    assert "classes 0 and 2 are both called 'cat'" in caplog.text


def test_an_empty_nc_is_none(mine: Path) -> None:
    assert load_dataset(write(mine, "images/train", "images/val", "nc:\n")).classes == 1


@pytest.mark.parametrize(
    ("start", "said"),
    [("", 0), ("./", 0), ("images\\", 0), ("/content/darknet/data/", 1), ("C:\\sets\\mine\\", 1), ("data/", 1)],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_another_machine(mine: Path, start: str, said: int, encoding: str) -> None:
    """One beginning of the paths stands for one folder here."""
    inside = "" if start == "images\\" else "images\\" if "\\" in start else "images/"
    for name in ("a", "b"):
        write_picture(mine / f"images/train/{name}.jpg")
    ends = [f"train/{name}.jpg".replace("/", "\\" if "\\" in start else "/") for name in ("a", "b", "gone")]
    (mine / "list.txt").write_text("".join(f'"{start}{inside}{end}"\r\n' for end in ends), encoding=encoding)
    found = find_pictures([mine / "list.txt"], mine)
    assert found.files == [str(mine / f"images/train/{name}.jpg") for name in ("a", "b")]
    assert found.skipped == 1
    assert sum("not here as written" in message for message in found.messages) == said


def test_a_misspelt_path_in_a_list_finds_no_other_picture(mine: Path) -> None:
    write_picture(mine / "a.jpg")
    (mine / "list.txt").write_text("trian/a.jpg\nimages/trian/a.jpg\n../other/a.jpg\n")
    found = find_pictures([mine / "list.txt"], mine)
    assert not found.files
    assert found.skipped == 3
