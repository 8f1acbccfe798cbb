"""Dataclasses as command lines and as mappings from files."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from utils import config
from utils.config import option
from utils.errors import UserError


@dataclass
class Size:
    """How large.

    The rest of the docstring is for programmers.
    """

    image_width: int = option(640, "in pixels, 100 % of it", aliases=("--img",))
    share: float = option(0.5, "of the whole")
    note: str | None = option(None, "any text")
    layers: list[int] = option([], "which")
    quick: bool = option(False, "less care")
    kind: str = option("a", "which one", choices=lambda: ["alpha", "a", "beta"], type=str.lower)
    cache: str = option("auto", "where", choices=("auto", "ram"), const="ram")
    count: int | None = option(None, "how many", low=1, high=9)
    from_: str = option("", "where it comes from")
    depth: int = option(64, "how deep", default_help="chosen elsewhere; {} without")
    hidden: int = option(3, "not a flag", flag=False)


@dataclass
class Words:
    """Words without a flag."""

    words: list[str] = option([], "any words", positional=True)


@dataclass
class Name:
    """What it is called."""

    name: str = option("exp", "the name")


def parse(text: str, **options) -> tuple[list, set[str]]:
    return config.parse([Size, Name], text.split(), prog="prog", description="Does it.", **options)


def test_defaults_and_what_was_given() -> None:
    (size, name), given = parse("")
    assert (size, name, given) == (Size(), Name(), set())
    (size, name), given = parse("--img 64 --share 1e-3 --layers 1 2 --layers 3 --quick --name x --kind BETA --note n")
    assert size == Size(64, 1e-3, "n", [1, 2, 3], True, "beta")
    assert name == Name("x")
    assert given == {"image_width", "share", "layers", "quick", "name", "kind", "note"}
    assert Size().layers is not Size().layers


def test_a_flag_given_at_its_default_counts_as_given() -> None:
    assert parse("--image-width 640")[1] == {"image_width"}


def test_words_without_a_flag() -> None:
    for text in ("a b --share 1", "a --share 1 b", "--share 1 a b"):
        (size, words), given = config.parse([Size, Words], text.split(), prog="prog", description="Does it.")
        assert (size.share, words.words, given) == (1.0, ["a", "b"], {"share", "words"})
    assert config.parse([Words], [], prog="prog", description="") == ([Words()], set())
    with pytest.raises(UserError, match="unknown argument '--wrods'"):
        config.parse([Words], ["--wrods", "a"], prog="prog", description="")


def test_a_name_that_python_reserves() -> None:
    assert parse("--from here")[0][0].from_ == "here"


def test_a_value_that_may_be_left_out() -> None:
    assert parse("--cache --quick")[0][0].cache == "ram"
    assert parse("--cache auto")[0][0].cache == "auto"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--imaeg-width 3", "unknown argument '--imaeg-width'; did you mean '--image-width'?"),
        ("--image 3", "unknown argument '--image'; did you mean"),
        ("--zzz=1", "unknown argument '--zzz=1'; see --help"),
        ("stray", "unknown argument 'stray'; flags start with --"),
        ("--hidden 4", "unknown argument '--hidden'"),
        ("--kind alfa", "argument --kind: unknown value 'alfa'; did you mean 'alpha'? known: a, alpha, beta"),
        ("--cache disk", "argument --cache: unknown value 'disk'; known: auto, ram"),
        ("--image-width 1.5", "argument --image-width/--img: invalid int value: '1.5'"),
        ("--share", "argument --share: expected one argument"),
        ("--count 0", "--count 0: must be at least 1"),
        ("--count 10", "--count 10: must be at most 9"),
    ],
)
def test_mistakes_are_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_flags_that_are_refused_with_a_reason() -> None:
    for text in ("--evolve", "--evolve=3", "--img 3 --evolve 5"):
        with pytest.raises(UserError, match=r"^--evolve is not offered: because$"):
            parse(text, refused={"--evolve": "because"})


def test_help_names_groups_defaults_and_choices(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse("--help")
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("Does it.", "How large:", "What it is called:", "100 % of it (default 640)", "alpha|a|beta", "--img"):
        assert part in text
    assert "how deep (chosen elsewhere; 64 without)" in text
    assert "programmers" not in text


def test_from_a_mapping() -> None:
    made = config.from_mapping(Size, {"image_width": 3, "share": "1e-3", "note": None, "layers": 4, "kind": "a"}, "f")
    assert made == Size(3, 0.001, None, [4], kind="a")
    assert type(config.from_mapping(Size, {"share": 1}, "f").share) is float


def test_an_ignored_key_is_said_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "anneal"):
        assert config.from_mapping(Size, {"old": 1}, "f", ignored={"old": "it is gone"}) == Size()
    assert caplog.messages == ["f: old has no effect: it is gone"]


@pytest.mark.parametrize("values", [{"imag": 1}, {"share": "half"}, {"count": 0}])
def test_a_mistake_names_its_line(values: dict) -> None:
    with pytest.raises(UserError, match=r"^f\.yaml:7: "):
        config.from_mapping(Size, values, "f.yaml", place=lambda key: f"f.yaml:{7 if key in values else 0}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"imag_width": 1}, "f.yaml: unknown key 'imag_width'; did you mean 'image_width'?"),
        ({3: 1}, "f.yaml: unknown key '3'; known: cache"),
        ({"image_width": 1.5}, "f.yaml: image_width is 1.5; it must be of type int"),
        ({"image_width": True}, "f.yaml: image_width is True; it must be of type int"),
        ({"image_width": None}, "f.yaml: image_width is None; it must be of type int"),
        ({"share": "half"}, "f.yaml: share is 'half'; it must be of type float"),
        ({"count": 0}, "f.yaml: count is 0; it must be at least 1"),
        ({"quick": 1}, "f.yaml: quick is 1; it must be of type bool"),
        ({"quick": "no"}, "f.yaml: quick is 'no'; it must be of type bool"),
        ({"layers": ["x"]}, "f.yaml: layers is 'x'; it must be of type int"),
        ({"kind": [1]}, "f.yaml: kind is [1]; it must be of type str"),
    ],
)
def test_mistakes_in_a_mapping_are_one_line(values: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        config.from_mapping(Size, values, "f.yaml")
    assert str(caught.value).startswith(message)
