"""The notebook runs from its first cell to its last in a fresh folder."""

from __future__ import annotations

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("data", "exporters", "models", "optimizers", "predict", "schedulers", "training", "utils")


def test_notebook_holds_no_output() -> None:
    """It is small, and says nothing of the machine it was last run on."""
    for cell in nbformat.read(ROOT / "docs" / "tutorial.ipynb", 4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*LINKED, *(file.name for file in ROOT.glob("*.py"))):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").mkdir()
    monkeypatch.setenv("TUTORIAL_EPOCHS", "2")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    notebook = nbformat.read(ROOT / "docs" / "tutorial.ipynb", 4)
    notebook.metadata.kernelspec["name"] = "python3"
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path / "docs"}}
    ).execute()
    said = "\n".join(text for cell in notebook.cells for output in cell.get("outputs", ()) for text in _texts(output))
    assert "2/2" in said or "epoch" in said
    for file in ("best.pt", "best.onnx", "best.torchscript", "best_openvino_model"):
        assert (tmp_path / "runs" / "train" / "tutorial" / "weights" / file).exists()
    assert "mAP50-95" in said
    assert "Traceback" not in said
    assert "error:" not in said
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("image/png" in data or "image/jpeg" in data for data in shown) >= 4
    if keep := os.environ.get("TUTORIAL_OUT"):
        nbformat.write(notebook, keep)


def _texts(output: nbformat.NotebookNode) -> list[str]:
    return [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
