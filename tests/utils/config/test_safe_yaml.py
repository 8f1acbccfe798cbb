"""YAML files of strangers: plain values come through, everything else is one line naming file and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.config.safe_yaml import MAX_BYTES, load_yaml, place
from utils.errors import UserError


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "some file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, text: str | bytes, pattern: str) -> str:
    path = write(folder, text)
    with pytest.raises(UserError) as error:
        load_yaml(path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert re.search(pattern, message), message
    return message


def test_plain_values(tmp_path):
    text = "\ufeffa: 1\nb: [x, 'y', 1.5]\nc: {0: mask, 1: nose}\nd: &d {lr0: 1e-3}\ne: *d\nf: é\n"
    assert load_yaml(write(tmp_path, text)) == {
        "a": 1, "b": ["x", "y", 1.5], "c": {0: "mask", 1: "nose"}, "d": {"lr0": 1e-3}, "e": {"lr0": 1e-3}, "f": "é",
    }  # fmt: skip
    assert load_yaml(write(tmp_path, "")) == {}
    assert load_yaml(write(tmp_path, "# only a comment\n")) == {}


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("1E5", 1e5), ("-2.5e3", -2500.0), ("1e", "1e")])
def test_exponents_are_numbers(tmp_path, text, value):
    loaded = load_yaml(write(tmp_path, f"k: {text}"))["k"]
    assert loaded == value
    assert type(loaded) is type(value)


text = st.characters(codec="utf-8", exclude_categories=["Nd"])  # PyYAML writes the text "1e5" without quotes
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(text),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc=<é", max_size=4), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(content=st.dictionaries(st.text("abc ", min_size=1, max_size=5), values, max_size=4))
def test_what_is_dumped_is_read_back(tmp_path_factory, content):
    path = write(tmp_path_factory.getbasetemp(), yaml.safe_dump(content))
    assert load_yaml(path) == content


def test_duplicate_key_names_its_line(tmp_path):
    assert ":3:" in refused(tmp_path, "a: 1\nb: 2\na: 3\n", "'a' is given twice")
    refused(tmp_path, "a:\n  x: 1\n  x: 2\n", "'x' is given twice")
    refused(tmp_path, "names: {0: a, 0: b}", "'0' is given twice")


def test_merge_keys_may_be_overridden(tmp_path):
    text = "base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nagain: {<<: *b}\n"
    assert load_yaml(write(tmp_path, text))["use"] == {"x": 1, "y": 3}


def test_nothing_is_executed(tmp_path):
    canary = tmp_path / "canary"
    for tag in ("!!python/object/apply:os.system", "!!python/object/new:subprocess.Popen", "!!python/name:os.system"):
        refused(tmp_path, f'a: {tag} ["touch {canary}"]', "constructor")
    assert not canary.exists()


def test_explosions_are_refused_quickly(tmp_path):
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    assert ":5:" in refused(tmp_path, laughs, "over 100,000 values")
    merges = "m0: &m0 {x: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 40))
    refused(tmp_path, merges, "over 100,000 values")
    refused(tmp_path, "a: &a [*a]", "alias inside its own anchor")
    refused(tmp_path, "a: *nowhere", "nowhere")
    refused(tmp_path, "a: " + "[" * 500_000, "nested over 32")
    refused(tmp_path, "a: " + "{a: " * 40 + "1" + "}" * 40, "nested over 32")
    refused(tmp_path, b"#" * (MAX_BYTES + 1), "too large")


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("a: 1\nb: [1, 2\nc: 3", r":\d: .*; correct that line"),
        ("a: 1\n\tb: 2", ":2: "),
        (b"a: \xff\n", ":1: not UTF-8"),
        (b"\x00\x01\x02", "not a usable YAML"),
        ("- 1\n- 2", "holds a list"),
        ("just text", "holds a str"),
        ("a: 1\n---\nb: 2", ":2: "),
        ("a: " + "9" * 10_000, "not a usable YAML"),
        ("d: 2020-13-45", "not a usable YAML"),
        ("? [1, 2]\n: 3\n", "unhashable"),
        ("<<: 3", "merging"),
    ],
)
def test_broken_files(tmp_path, text, pattern):
    refused(tmp_path, text, pattern)


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from("ab01:,-[]{}&*!<>?|#'\"%@\n\t \\.~="), max_size=40))
def test_any_text_gives_a_mapping_or_one_line(tmp_path_factory, text):
    path = write(tmp_path_factory.getbasetemp(), text)
    try:
        outcome = load_yaml(path)
    except UserError as error:
        outcome = str(error)
    assert isinstance(outcome, dict) or "\n" not in outcome


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="no such file"):
        load_yaml(tmp_path)


def test_place(tmp_path):
    path = write(tmp_path, "a: 1\n'b c': 2\n  d: 3\n")
    assert place(path, "a") == f"{path}:1"
    assert place(path, "b c") == f"{path}:2"
    assert place(path, "d") == str(path)
