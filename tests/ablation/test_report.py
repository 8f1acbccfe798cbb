"""report.html and report.md of made-up studies: what they say, that nothing escapes, that no file breaks them."""

from __future__ import annotations

import doctest
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablation import report
from ablation.report import figures, markdown
from ablation.report.curves import read_table, thin
from ablation.report.page import embed
from ablation.view import FAILED, RUNNING, WAITING, RunView, StudyView
from tests.ablation.synthetic import changed, grid, run, study, with_curves

VOID = {"meta", "input", "br", "img", "link", "hr"}
HOSTILE = '</script><script>alert("1")</script> | `a` *b* <!-- & $x$ \n line'


class Page(HTMLParser):
    """Elements that are not closed in order, ids used twice, addresses outside the page, and the text of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.scripts = 0
        self.feed(text)
        self.faults += self.open + [name for name in set(self.ids) if self.ids.count(name) > 1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.open += [tag] if tag not in VOID else []
        self.ids += [values["id"]] if "id" in values else []
        self.scripts += tag == "script"
        self.faults += [f"{k}={v}" for k, v in values.items() if k in ("src", "href") and not v.startswith("#")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("line", "circle")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def written(made: StudyView) -> tuple[Page, str, str]:
    """The page, its text and the Markdown of a study; both are whole."""
    report.write(made)
    html = (made.folder / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.faults == []
    assert page.scripts == 1 + page.ids.count("chart-data")
    return page, html, (made.folder / "report.md").read_text(encoding="utf-8")


def row(page: Page, first: str, columns: int) -> list[str]:
    return next(cells for cells in page.rows if cells[0] == first and len(cells) == columns)


def test_a_small_study_by_hand(tmp_path: Path) -> None:
    """adam is 0.4, 0.42, 0.44; sgd 0.3, 0.31, 0.35: differences -0.1, -0.11, -0.09; noise 0.0071: four decimals."""
    scores = {"adam": (0.4, 0.42, 0.44), "sgd": (0.3, 0.31, 0.35)}
    runs = [
        run(tmp_path, v, lr_policy="clr", optim=o, seed=s) for o, each in scores.items() for s, v in enumerate(each)
    ]
    page, html, text = written(study(tmp_path, runs))
    best, other = row(page, "clr · adam", 9), row(page, "clr · sgd", 9)
    assert best == ["clr · adam", "1", "0.4200", "0.0200", "0.4000 to 0.4400", "3 of 3", "-", "-", "best"]
    assert other[1:8] == ["2", "0.3200", "0.0265", "0.3000 to 0.3500", "3 of 3", "-0.1000", "-0.1100 to -0.0900"]
    assert other[8] == "lower"  # Student: -0.1 ± 4.303 * 0.01 / sqrt 3; margin: 6.085 * 0.00707 / sqrt 3 = 0.025
    assert row(page, "clr · sgd", 7)[2:] == ["0.2543 to 0.3857", "3", "-0.1000", "-0.1248 to -0.0752", "0.0248"]
    assert "Highest: clr · adam with a mean mAP50-95 of 0.4200 over 3 seeds (0, 1, 2)" in html
    assert (
        "| clr · sgd | 2 | 0.3200 | 0.0265 | 0.3000 to 0.3500 | 3 of 3 | -0.1000 | -0.1100 to -0.0900 | lower |" in text
    )


def test_scores_that_are_low_keep_two_digits_of_their_noise(tmp_path: Path) -> None:
    """A thousandth of the study above: nothing rounds to zero."""
    scores = {"adam": (0.4, 0.42, 0.44), "sgd": (0.3, 0.31, 0.35)}
    runs = [
        run(tmp_path, v / 1000, lr_policy="clr", optim=o, seed=s)
        for o, each in scores.items()
        for s, v in enumerate(each)
    ]
    page, html, _ = written(study(tmp_path, runs))
    other = row(page, "clr · sgd", 9)
    assert other[2:5] == ["0.0003200", "0.0000265", "0.0003000 to 0.0003500"]
    assert other[6:] == ["-0.0001000", "-0.0001100 to -0.0000900", "lower"]
    assert "mean mAP50-95 of 0.0004200 over 3 seeds" in html
    _, html, _ = written(study(tmp_path, runs[:1]))
    assert "mean mAP50-95 of 0.00040 over 1 seed" in html
    assert "The 1 run finished." in html
    assert "winner" not in html


def test_verdicts_without_evidence(tmp_path: Path) -> None:
    """Differences that straddle zero, a single pair, no pair: none is evidence."""
    scores = {"a": {0: 0.4, 1: 0.44}, "b": {0: 0.41, 1: 0.42}, "c": {0: 0.1}, "d": {2: 0.1}}
    runs = [run(tmp_path, v, lr_policy=p, optim="sgd", seed=s) for p, each in scores.items() for s, v in each.items()]
    page, html, _ = written(study(tmp_path, runs))
    assert [row(page, f"{p} · sgd", 9)[8] for p in "bcd"] == ["no evidence of a difference"] * 3
    assert [row(page, f"{p} · sgd", 9)[7] for p in "bcd"] == ["-0.020 to +0.010", "one pair", "no pair"]
    assert "The study does not say which cell is best." in html


def test_one_lucky_run_does_not_set_the_mark(tmp_path: Path) -> None:
    runs = [run(tmp_path, v, lr_policy="clr", optim="sgd", seed=s) for s, v in enumerate((0.3, 0.32))]
    runs += [run(tmp_path, 0.4, lr_policy="clr", optim="adam", seed=0)]
    page, html, _ = written(study(tmp_path, runs))
    assert row(page, "clr · adam", 9)[1] == "1"
    assert row(page, "clr · sgd", 9)[8] == "best"
    assert "Highest of the cells with two finished seeds or more: clr · sgd" in html


def test_the_order_of_runs_changes_no_number(tmp_path: Path) -> None:
    runs = grid(tmp_path)
    first, second = (written(study(tmp_path, order))[0] for order in (runs, runs[::-1]))
    cells = {cells[0] for cells in first.rows if len(cells) == 9}
    assert len(cells) == 21
    assert all(row(first, name, 9) == row(second, name, 9) for name in cells)


@pytest.mark.parametrize(
    ("status", "said"),
    [(WAITING, "No run has finished yet"), (RUNNING, "The study is not complete"), (FAILED, "5 runs of 5 failed")],
)
def test_nothing_finished(status: str, said: str, tmp_path: Path) -> None:
    runs = changed(grid(tmp_path, 1, optimizers=["sgd"]), lambda r: True, status=status, metrics={}, error="lost")
    _, html, text = written(study(tmp_path, runs))
    assert said in html
    assert said in text
    assert "Ranking" not in html
    assert "<canvas" not in html


def test_a_single_seed_says_so(tmp_path: Path) -> None:
    page, html, _ = written(study(tmp_path, grid(tmp_path, 1)))
    assert "no interval can be given" in html
    assert "How sure: not at all." in html
    assert all(cells[4] == "one seed" for cells in page.rows if len(cells) == 9 and cells[0] != "cell")


def test_heat_maps_and_marginal_means(tmp_path: Path) -> None:
    """A map for each momentum; a level's mean counts each of its cells once."""
    runs = grid(tmp_path, 2, 0, ["linear", "clr"], ["sgd", "adam"], {"momentum": [0.9, 0.95]})
    page, html, _ = written(study(tmp_path, runs))
    assert html.count("Mean mAP50-95 of each cell: momentum = ") == 2 * 2  # a caption and its label each
    assert [cells for cells in page.rows if cells[0] == "linear" and len(cells) == 3] == [
        ["linear", "0.360", "0.400"]
    ] * 2
    assert row(page, "sgd", 4)[1:] == ["0.360", "0.360 to 0.360", "4 of 4"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    runs = with_curves(grid(tmp_path, 2, policies=["clr", "sgdr"], optimizers=["sgd"]), 4)
    runs = [replace(r, settings=r.settings | {"optim": HOSTILE, HOSTILE: HOSTILE}, command=HOSTILE) for r in runs]
    runs = changed(runs, lambda r: r.settings["seed"] == 1, status=FAILED, error=HOSTILE, name=HOSTILE)
    texts = {"name": HOSTILE, "command": HOSTILE, "data": HOSTILE, "notes": (HOSTILE,)}
    tables = {name: {HOSTILE: HOSTILE} for name in ("common", "fingerprint", "machine")}
    page, html, text = written(study(tmp_path, runs, **texts, **tables))
    assert page.scripts == 2
    assert "<script>alert" not in html
    outside = re.sub(r"(?ms)^(`{3,})\n.*?^\1$", "", text)
    assert not re.search(r"(?<!\\)<", outside)
    tables = re.findall(r"(?m)(?:^\|.*\n)+", outside)
    assert len(tables) > 5
    for table in tables:  # as many cells in every row
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


@given(st.text())
def test_data_survives_embedding(text: str) -> None:
    shown = embed({"text": text})
    assert "<" not in shown
    assert json.loads(shown) == {"text": text}


@given(st.text(alphabet="ab`~\n"))
def test_a_fence_holds_any_code(text: str) -> None:
    fence, *lines, last = markdown._code(text).split("\n")
    assert fence == last
    assert not any(line.startswith(fence) for line in lines)


def test_every_command_is_there(tmp_path: Path) -> None:
    runs = grid(tmp_path, 2)
    _, html, text = written(study(tmp_path, runs))
    assert all(html.count(f"{r.command}\n") + html.count(f"{r.command}<") >= 2 for r in runs)
    assert all(r.command in text for r in runs)


def chart(folder: Path) -> dict:
    html = (folder / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'(?s)id="chart-data">(.*?)</script>', html)[1])


def break_file(made: RunView, how: str) -> None:
    paths = [made.folder / name for name in ("results.csv", "lr.csv")]
    for path in paths:
        text = path.read_text()
        content = {"empty": "", "header": text.splitlines()[0] + "\n", "words": "epoch,step\na,b\n", "binary": "\0\1"}
        if how == "missing":
            path.unlink()
        elif how == "half":
            path.write_text(text[:-7])  # as while its last row is being written
        else:
            path.write_text(content[how])


@pytest.mark.parametrize("how", ["missing", "empty", "header", "words", "binary", "half"])
def test_a_broken_file_costs_one_curve_at_most(how: str, tmp_path: Path) -> None:
    runs = with_curves(grid(tmp_path, 1, optimizers=["sgd"]), 5)
    break_file(runs[1], how)
    _, html, _ = written(study(tmp_path, runs))
    drawn = chart(tmp_path)["runs"]
    assert sorted(len(made["x"]) for made in drawn) == ([4, 5, 5, 5, 5] if how == "half" else [5, 5, 5, 5])
    assert ("1 of the runs have no epoch" in html) == (how != "half")


def test_curves_hold_what_the_files_hold(tmp_path: Path) -> None:
    runs = with_curves(grid(tmp_path, 2, policies=["sgdr"], optimizers=["sgd"]), 10)
    written(study(tmp_path, runs))
    data = chart(tmp_path)
    table, rates = read_table(runs[0].folder / "results.csv"), read_table(runs[0].folder / "lr.csv")
    made = data["runs"][0]
    assert made["x"] == list(range(1, 11))
    assert made["n"] == 20
    np.testing.assert_allclose(made["y"][0], table["metrics/mAP_0.5:0.95"], rtol=1e-3)
    assert len(data["rates"]) == 1  # both seeds had the same
    steps, weights, *_ = data["rates"][0]
    np.testing.assert_allclose(weights, rates["x/lr1"][steps], rtol=1e-3)


@given(st.integers(2, 3000), st.integers(10, 400))
def test_thinning_keeps_ends_and_extremes(n: int, most: int) -> None:
    values = np.random.default_rng(n).random(n)
    kept = thin(values, most)
    assert len(kept) <= max(most, 4)
    assert (kept[0], kept[-1]) == (0, n - 1)
    assert {values.argmin(), values.argmax()} <= set(kept)
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("module", [figures, markdown])
def test_examples(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_pictures_of_the_markdown_are_there(tmp_path: Path) -> None:
    _, _, text = written(study(tmp_path, with_curves(grid(tmp_path, 2), 5)))
    links = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert links == ["pictures/heatmap.png", "pictures/curves.png"]
    assert all((tmp_path / link).read_bytes().startswith(b"\x89PNG") for link in links)
