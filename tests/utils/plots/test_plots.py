"""The pictures a run leaves: what they show, that nothing overlaps, and that no input breaks them."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from utils import plots
from utils.errors import UserError
from utils.plots import style
from utils.plots.results import smooth
from utils.tracker import ResultsCsv

NAMES = ("with_mask", "without_mask", "mask_weared_incorrect")
HOSTILE = ("$a$b$", "_private", "口罩", "", "two\nlines", "x" * 200)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, in order."""
    figures: list[Figure] = []
    save = style.save

    def remember(drawing: Figure, *args: object, **options: object) -> None:
        figures.append(drawing)
        save(drawing, *args, **options)

    monkeypatch.setattr(style, "save", remember)
    return figures


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def write_results(path: Path, epochs: int, **columns: float) -> Path:
    table = ResultsCsv(path)
    for epoch in range(epochs):
        table.append(dict.fromkeys(table.columns, 0.1 + 0.01 * epoch) | columns | {"epoch": epoch})
    return path


def metrics(classes: list[int]) -> SimpleNamespace:
    confidence = np.linspace(0, 1, 1000)
    curve = np.tile(1 - confidence**2, (len(classes), 1)) * np.linspace(0.5, 0.9, len(classes))[:, None]
    values = {"precision": 1 - curve, "recall": curve, "f1": curve, "pr": curve[:, :101]}
    curves = SimpleNamespace(classes=tuple(classes), confidence=torch.from_numpy(confidence))
    curves.__dict__.update({name: torch.from_numpy(value) for name, value in values.items()})
    rows = [SimpleNamespace(index=i, ap50=0.5 + i / 1000) for i in classes]
    return SimpleNamespace(map50=0.4321, per_class=rows, curves=curves)


def assert_legible(figure: Figure) -> None:
    """Titles, tick labels of one axis and the texts of a legend stay clear of one another and inside the figure."""
    renderer = figure.canvas.get_renderer()
    for axis in figure.axes:
        for texts in ([axis.title, axis._left_title, axis._right_title], axis.get_yticklabels()):
            boxes = [text.get_window_extent(renderer) for text in texts if text.get_text() and text.get_visible()]
            assert not any(a.overlaps(b) for a, b in pairwise(boxes)), [text.get_text() for text in texts]
            assert all(
                figure.bbox.padded(1).containsx(box.x1) and figure.bbox.padded(1).containsx(box.x0) for box in boxes
            )


def test_importing_is_cheap_and_drawing_leaves_no_trace(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from utils import plots, tracker\n"
        "assert not {'matplotlib', 'torch', 'tensorboard'} & set(sys.modules)\n"
        "from matplotlib import rcParams as rc; settings = lambda: {key: rc[key] for key in rc if key != 'backend'}\n"
        "before = settings()\n"
        "plots.labels([[0, 0.5, 0.5, 0.1, 0.1]], ['face'], Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules and settings() == before"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "labels.png")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@given(st.lists(st.floats(-5, 5) | st.just(float("nan")), min_size=1, max_size=40), st.just(0.0) | st.floats(0.05, 5))
def test_smoothing_stays_within_its_values(values: list[float], sigma: float) -> None:
    values = np.array(values)
    line = smooth(values, sigma)
    assert len(line) == len(values)
    if np.isfinite(values).any() and np.isfinite(line).any():
        assert np.nanmin(line) >= np.nanmin(values) - 1e-9
        assert np.nanmax(line) <= np.nanmax(values) + 1e-9


def test_smoothing_keeps_symmetry_and_crosses_gaps() -> None:
    line = smooth(np.array([0.0, 1.0, np.nan, 1.0, 0.0]), 1.0)
    assert np.allclose(line, line[::-1])
    assert 0.5 < line[2] <= 1.0


def test_results_shows_rows_at_epochs_trained_and_cycle_ends(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.results(write_results(tmp_path / "results.csv", 12), tmp_path / "results.png", [4, 7.5, 12])
    (figure,) = drawn
    assert len(figure.axes) == 6
    for axis in figure.axes:
        vertical = [
            line.get_xdata()[0] for line in axis.lines if len(set(line.get_xdata())) == 1 and line.get_ydata()[-1] == 1
        ]
        assert vertical == [4, 7.5, 12]
        assert axis.lines[0].get_xdata().tolist() == list(range(1, 13))
        assert axis.get_legend() is not None
    assert "best 0.210, epoch 12" in [text.get_text() for text in figure.axes[4].get_legend().get_texts()]
    assert_legible(figure)


def test_results_shows_what_changed_in_the_run_so_far(tmp_path: Path, drawn: list[Figure]) -> None:
    changes = [(3, "mosaic off"), (5, "thawed"), (14, "to come")]
    plots.results(write_results(tmp_path / "results.csv", 8), tmp_path / "results.png", [], changes)
    for axis in drawn[0].axes:
        vertical = [line for line in axis.lines if len(set(line.get_xdata())) == 1 and line.get_ydata()[-1] == 1]
        assert [line.get_xdata()[0] for line in vertical] == [3, 5]
        assert len({line.get_linestyle() for line in vertical}) == 2
    legend = [text.get_text() for text in drawn[0].axes[5].get_legend().get_texts()]
    assert legend[-2:] == ["mosaic off", "thawed"]
    assert_legible(drawn[0])


def test_results_keeps_rates_visible_under_a_bias_warm_up(tmp_path: Path, drawn: list[Figure]) -> None:
    path = write_results(tmp_path / "results.csv", 5, **{"x/lr0": 0.01, "x/lr1": 0.01, "x/lr2": 0.09})
    plots.results(path, tmp_path / "results.png")
    rates = drawn[0].axes[5]
    assert 0.01 < rates.get_ylim()[1] < 0.02
    assert rates.get_title(loc="right") == "biases warm up from 0.09"


def test_losses_of_a_set_without_labels_stand_on_a_sensible_axis(tmp_path: Path, drawn: list[Figure]) -> None:
    zero = {f"{part}/box_loss": 0.0 for part in ("train", "val")}
    plots.results(write_results(tmp_path / "results.csv", 3, **zero), tmp_path / "results.png")
    assert drawn[0].axes[0].get_ylim() == (0, 1)


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_results_of_short_runs(tmp_path: Path, epochs: int) -> None:
    path = write_results(tmp_path / "results.csv", epochs, **{"val/box_loss": float("nan")})
    if epochs == 0:
        path.write_text("epoch,train/box_loss\n")
    plots.results(path, tmp_path / "results.png", [0.5])
    assert size(tmp_path / "results.png") == (2025, 1050)


def test_results_of_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"x\.csv:1: .*epoch"):
        plots.results(tmp_path / "x.csv", tmp_path / "x.png")


@pytest.mark.parametrize(
    ("count", "names"), [(0, NAMES), (1, HOSTILE), (500, NAMES), (500, HOSTILE), (500, tuple(map(str, range(80))))]
)
def test_labels(tmp_path: Path, drawn: list[Figure], count: int, names: tuple[str, ...]) -> None:
    random = np.random.default_rng(0)
    boxes = np.column_stack((random.integers(0, len(names), count), random.random((count, 4)))).astype(np.float32)
    plots.labels(boxes, names, tmp_path / "labels.png")
    heights = [bar.get_height() for bar in drawn[0].axes[0].patches]
    assert heights == np.bincount(boxes[:, 0].astype(int), minlength=len(names)).tolist()
    assert_legible(drawn[0])


@pytest.mark.parametrize("classes", [[], [2], [0, 1, 2], list(range(0, 160, 2))])
def test_curves(tmp_path: Path, drawn: list[Figure], classes: list[int]) -> None:
    plots.curves(metrics(classes), NAMES, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}_curve.png" for name in ("PR", "F1", "P", "R")}
    assert len(drawn) == 4
    for figure in drawn:
        assert_legible(figure)
    legend = drawn[0].axes[0].get_legend()
    texts = [text.get_text() for text in legend.get_texts()] if legend else []
    named = ["with_mask  0.500", "without_mask  0.501", "mask_weared_incorrect  0.502"]
    expected = {0: [], 1: named[2:], 3: named, 80: ["each of 80 classes"]}[len(classes)]
    assert texts == ([*expected, "all classes  0.432"] if classes else [])


def test_confusion_shows_counts_and_parts(tmp_path: Path, drawn: list[Figure]) -> None:
    matrix = torch.tensor([[90, 0, 0, 5], [2, 30, 0, 5], [0, 0, 0, 0], [8, 10, 0, 0]])
    plots.confusion(matrix, NAMES, tmp_path / "confusion_matrix.png")
    axis = drawn[0].axes[0]
    cells = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axis.texts}
    assert cells[0, 0] == "0.90\n(90)"
    assert cells[3, 1] == "0.25\n(10)"
    assert len(cells) == 7
    parts = axis.images[0].get_array()
    assert np.allclose(parts.sum(0).filled(), [1, 1, 0, 1])
    assert parts.mask.sum() == 1
    assert [label.get_text() for label in axis.get_yticklabels()] == [*NAMES, "background"]
    assert_legible(drawn[0])


@pytest.mark.parametrize("classes", [1, 6, 30, pytest.param(80, marks=pytest.mark.slow), 200])
def test_confusion_of_any_size(tmp_path: Path, drawn: list[Figure], classes: int) -> None:
    names = HOSTILE if classes == 6 else [f"class name {i}" for i in range(classes)]
    matrix = np.diag(np.arange(classes + 1) * 997)
    plots.confusion(matrix, names, tmp_path / "confusion_matrix.png")
    assert_legible(drawn[0])
    assert max(size(tmp_path / "confusion_matrix.png")) < 4500


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plots.confusion(np.eye(3), NAMES[:2], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "plain"), [("ok é ж", "ok é ж"), ("a\tb\n", "a b"), ("口罩", "class 0"), ("", "class 0")]
)
def test_plain_names(name: str, plain: str) -> None:
    assert style.plain_name([name], 0) == plain
    assert style.plain_name([name], 7) == "class 7"


def test_colours_of_the_first_classes_differ_and_all_are_valid() -> None:
    colours = [style.rgb(i) for i in range(80)]
    assert len(set(colours)) == 80
    assert all(0 <= part <= 255 for colour in colours for part in colour)
