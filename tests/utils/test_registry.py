"""Names, facts, options, and the ways a plug-in comes in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from utils.errors import UserError, nearest
from utils.registry import Registry, import_plugin, import_siblings


@pytest.fixture
def colours() -> Registry:
    registry = Registry("colour")

    @registry.register("red", hue=0)
    def red(shade: int = 1, *, bright: bool = False) -> tuple:
        return "red", shade, bright

    @registry.register("green")
    def green(**options: int) -> dict:
        return options

    return registry


def test_names_facts_and_building(colours: Registry) -> None:
    assert colours.names() == ["green", "red"]
    assert colours.facts("red") == {"hue": 0}
    assert colours.build("red", 3, bright=True) == ("red", 3, True)
    assert colours.build("green", anything=1) == {"anything": 1}
    colours.facts("red")["hue"] = 9
    assert colours.facts("red") == {"hue": 0}


def test_a_name_is_taken_once(colours: Registry) -> None:
    with pytest.raises(UserError, match=rf"^colour 'red' is already registered by {__name__}; choose another name$"):
        colours.register("red")(dict)
    assert colours.build("red") == ("red", 1, False)


@pytest.mark.parametrize("ask", ["get", "facts", "build"])
def test_an_unknown_name_lists_those_there_are(colours: Registry, ask: str) -> None:
    with pytest.raises(UserError, match=r"^unknown colour 'rad'; did you mean 'red'\? known: green, red$"):
        getattr(colours, ask)("rad")


def test_an_unknown_option_lists_those_there_are(colours: Registry) -> None:
    with pytest.raises(UserError, match=r"^colour 'red' has no option 'brigth'; did you mean 'bright'\? known: bright"):
        colours.build("red", brigth=True)


def test_nearest() -> None:
    assert nearest("zzz", ["clr", "sgdr"]) == "known: clr, sgdr"
    assert nearest("x", []) == "known: none"


def test_a_folder_registers_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_package"
    package.mkdir()
    (package / "__init__.py").write_text("seen = []\n")
    for name in ("one", "two", "_private", "skipped"):
        (package / f"{name}.py").write_text(f"import a_package\na_package.seen.append('{name}')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_siblings("a_package", [str(package)], skip=("skipped",))
    assert sys.modules["a_package"].seen == ["one", "two"]
    (package / "broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(
        UserError, match=r"^plug-in 'a_package.broken' failed to import: ModuleNotFoundError: No module"
    ):
        import_siblings("a_package", [str(package)])


def test_a_plugin_that_exits_is_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "syntax_plugin.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"^plug-in 'syntax_plugin' failed to import: SyntaxError: ") as caught:
        import_plugin("syntax_plugin")
    assert "\n" not in str(caught.value)
