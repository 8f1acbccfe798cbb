"""report.html in a real browser: it draws, without an error, and answers wheel, drag, keys and buttons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablation import report
from ablation.view import FAILED, RUNNING, WAITING
from tests.ablation.browser import Opened, needs_chromium, open_page
from tests.ablation.synthetic import changed, grid, study, with_curves, write_curves
from utils.tracker import read_csv

pytestmark = needs_chromium

# keeps what `read` gives at named moments; drawings are made between frames
HELP = """
const canvas = document.getElementById("canvas"), root = document.documentElement;
const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const box = canvas.getBoundingClientRect();
const at = (x, y, more) => ({ clientX: box.left + x, clientY: box.top + y, bubbles: true, cancelable: true, ...more });
const keep = async (name) => {
  await frame();
  for (const key of ["from", "to", "curves", "rates"]) root.setAttribute(`data-${name}-${key}`, canvas.dataset[key]);
  root.setAttribute(`data-${name}-readout`, document.getElementById("readout").textContent);
};
const key = (name, more) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: name, ...more }));
const set = (id, value) => {
  const element = document.getElementById(id);
  element.value = value;
  element.dispatchEvent(new Event("change"));
};
const press = (selector) => document.querySelector(selector).click();
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid")
    report.write(study(folder, with_curves(grid(folder), 30)))
    return folder / "report.html"


def clean(opened: Opened) -> None:
    assert "data-errors" not in opened.elements["html"]
    assert opened.console == []


def test_a_grid_is_drawn(page: Path, tmp_path: Path) -> None:
    opened = open_page(page, tmp_path)
    clean(opened)
    assert opened.number("curves") == 6  # the best six of twenty; the legend offers all
    assert opened.pressed == ["true"] * 6 + ["false"] * 14
    assert opened.number("from") == 0
    assert opened.number("to") == 30
    assert opened.number("points") > 6 * 30


def test_zoom_move_and_read(page: Path, tmp_path: Path) -> None:
    script = f"""(async () => {{ {HELP}
      canvas.dispatchEvent(new WheelEvent("wheel", at(600, 100, {{ deltaY: -100 }}))); await keep("wheel");
      canvas.dispatchEvent(new PointerEvent("pointerdown", at(600, 100)));
      canvas.dispatchEvent(new PointerEvent("pointermove", at(500, 100)));
      canvas.dispatchEvent(new PointerEvent("pointerup", at(500, 100))); await keep("drag");
      canvas.dispatchEvent(new MouseEvent("dblclick", at(500, 100))); await keep("double");
      key("+"); await keep("plus"); key("ArrowLeft", {{ shiftKey: true }}); await keep("left");
      key("0"); key("ArrowRight"); key("ArrowRight"); await keep("cursor");
      key("ArrowDown"); await keep("down"); key("Escape"); await keep("escape");
    }})();"""
    opened = open_page(page, tmp_path, script)
    clean(opened)
    span = {
        n: (opened.number(f"{n}-from", "html"), opened.number(f"{n}-to", "html")) for n in ("wheel", "drag", "plus")
    }
    assert 0 < span["wheel"][0] < span["wheel"][1] < 30
    assert span["wheel"][1] - span["wheel"][0] == pytest.approx(25)  # a notch is a factor of 1.2
    assert span["drag"][0] > span["wheel"][0]
    assert span["drag"][1] - span["drag"][0] == pytest.approx(25)
    assert (opened.number("double-from", "html"), opened.number("double-to", "html")) == (0, 30)
    assert span["plus"][1] - span["plus"][0] == pytest.approx(21)
    assert opened.number("left-from", "html") < span["plus"][0]
    root = opened.elements["html"]
    assert "after epoch 2" in root["data-cursor-readout"]
    assert root["data-cursor-readout"].startswith("sgdr · adamw (rank 1)")
    tables = [read_csv(path / "results.csv") for path in (page.parent / "runs").glob("sgdr-adamw-*")]
    mean = np.mean([table[1]["metrics/mAP_0.5:0.95"] for table in tables])
    said = float(root["data-cursor-readout"].split("mAP50-95 ")[1].split()[0])
    assert said == pytest.approx(mean, rel=1e-3)  # low scores too are read to four digits
    assert root["data-down-readout"].startswith("onecycle · adamw (rank 2)")
    assert root["data-escape-readout"].startswith("Wheel")


def test_long_numbers_fit_beside_the_chart(tmp_path: Path) -> None:
    """Scores of some 1e-5, whose labels are wider than the margin that others need."""
    runs = [replace(made, metrics={n: v * 1e-4 for n, v in made.metrics.items()}) for made in grid(tmp_path, 2)]
    for made in runs:
        write_curves(made, 5, np.random.default_rng(0))
        table = made.folder / "results.csv"
        head, *rows = table.read_text().splitlines()
        rows = [[*row.split(",")[:7], f"{0.00001234 * (i + 1):.8f}", *row.split(",")[8:]] for i, row in enumerate(rows)]
        table.write_text("\n".join([head, *map(",".join, rows)]) + "\n")
    report.write(study(tmp_path, runs))
    script = """
      const panel = Curves.panels()[0], pen = Curves.canvas.getContext("2d");
      const widest = Math.max(...Curves.marks(panel).map((mark) => pen.measureText(mark.text).width));
      document.documentElement.dataset.left = panel.left;
      document.documentElement.dataset.widest = widest;
    """
    opened = open_page(tmp_path / "report.html", tmp_path, script)
    clean(opened)
    assert opened.number("left", "html") > 58
    assert opened.number("left", "html") >= opened.number("widest", "html") + 7


def test_choices(page: Path, tmp_path: Path) -> None:
    script = f"""(async () => {{ {HELP}
      press("[data-select=all]"); await keep("all"); set("show", "runs"); await keep("runs");
      set("along", "step"); await keep("steps"); set("metric", "4"); set("group", "1"); press("#log");
      await keep("loss"); press("[data-select=none]"); await keep("none");
      press("#legend button"); await keep("one"); press("#in"); await keep("in");
      canvas.dispatchEvent(new PointerEvent("pointermove", at(600, 362))); await keep("rate");
    }})();"""
    opened = open_page(page, tmp_path, script)
    clean(opened)
    assert opened.number("all-curves", "html") == 20
    assert opened.number("runs-curves", "html") == 60
    assert opened.number("steps-to", "html") == 600
    assert opened.number("loss-curves", "html") == 60
    assert (opened.number("none-curves", "html"), opened.number("one-curves", "html")) == (0, 3)
    assert opened.number("in-to", "html") - opened.number("in-from", "html") == pytest.approx(420)
    assert "learning rate of biases" in opened.elements["html"]["data-rate-readout"]


@pytest.mark.slow
def test_two_hundred_runs_within_five_seconds(tmp_path: Path) -> None:
    runs = with_curves(grid(tmp_path, 2, axes={"momentum": [0.9, 0.92, 0.94, 0.95, 0.98]}), 120)
    assert len(runs) == 200
    report.write(study(tmp_path, runs))
    page = tmp_path / "report.html"
    assert page.stat().st_size < 5e6
    opened = open_page(page, tmp_path, 'document.querySelector("[data-select=all]").click();')
    clean(opened)
    assert opened.number("curves") == 100
    empty = tmp_path / "empty.html"
    empty.write_text("<!DOCTYPE html><html><head></head><body></body></html>")
    assert opened.seconds - open_page(empty, tmp_path).seconds < 5  # by the wall; the page's own clock runs ahead here


@pytest.mark.slow
@pytest.mark.parametrize("case", ["one run", "single seed", "failures", "running", "nothing", "hostile"])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_every_kind_of_study(case: str, look: str, tmp_path: Path) -> None:
    runs = grid(tmp_path, 1 if case in ("one run", "single seed") else 2, optimizers=["sgd"])
    if case == "one run":
        runs = with_curves(runs[:1])
    elif case == "failures":
        runs = changed(with_curves(runs), lambda r: r.settings["seed"] == 1, status=FAILED, metrics={}, error="<b>boom")
    elif case == "running":
        runs = changed(with_curves(runs[:3]) + runs[3:], lambda r: True, status=RUNNING, metrics={})
    elif case == "nothing":
        runs = changed(runs, lambda r: True, status=WAITING, metrics={})
    else:
        runs = with_curves(runs)
    if case == "hostile":
        name = "</script><script>throw 1</script>"
        runs = [changed([r], lambda r: True, settings=r.settings | {"optim": name}, command=name)[0] for r in runs]
    report.write(study(tmp_path, runs))
    flags = ("--blink-settings=preferredColorScheme=0",) if look == "dark" else ()
    opened = open_page(tmp_path / "report.html", tmp_path, width=420, flags=flags)
    clean(opened)
    assert ("canvas" in opened.elements) == (case != "nothing")
    if case != "nothing":
        assert opened.number("curves") == {"one run": 1, "running": 2}.get(case, 5)


def test_the_scale_of_the_intervals_is_one_for_all_rows(tmp_path: Path) -> None:
    """A cell with one seed has a shorter text beside its dot, which stands where its mean is all the same."""
    runs = changed(
        grid(tmp_path, 2), lambda r: r.settings["seed"] == 1 and "sgdr" in r.name, status=WAITING, metrics={}
    )
    report.write(study(tmp_path, runs))
    script = """
    const lefts = [...document.querySelectorAll("#ranking td svg")].map((s) => s.getBoundingClientRect().left);
    document.documentElement.dataset.lefts = new Set(lefts.map(Math.round)).size;"""
    opened = open_page(tmp_path / "report.html", tmp_path, script)
    clean(opened)
    assert opened.number("lefts", "html") == 1
