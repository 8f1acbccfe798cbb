"""An ONNX file with other entries than it was written with is refused, or gives the same boxes all the same."""

from __future__ import annotations

import itertools
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

import exporters
from tests.exporters.conftest import Files
from tests.exporters.test_formats import pictures
from utils.errors import UserError

pytestmark = pytest.mark.slow
SIZE = (64, 96)


def changed(path: Path, out: Path, entries: dict[str, str | None], fixed: tuple[int, ...] = ()) -> Path:
    """A copy with some entries replaced or, None, removed, and these sides of its input `fixed` at batch 1, `SIZE`."""
    model = onnx.load(path)
    for entry in list(model.metadata_props):
        if entry.key in entries:
            model.metadata_props.remove(entry)
    onnx.helper.set_model_props(
        model,
        {entry.key: entry.value for entry in model.metadata_props}
        | {key: value for key, value in entries.items() if value is not None},
    )
    for place in fixed:
        dimension = model.graph.input[0].type.tensor_type.shape.dim[place]
        dimension.dim_value = (1, 3, *SIZE)[place]
    out.mkdir(exist_ok=True)
    onnx.save(model, out / path.name)
    return out / path.name


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
@pytest.mark.parametrize("nms", [False, True], ids=["raw", "nms"])
def test_another_stride_size_or_batch(files: Files, tmp_path: Path, nms: bool, dynamic: bool) -> None:
    """Every stride and flag, with the maps that would tell and without."""
    made = files("onnx", nms=nms, **({"dynamic": True} if dynamic else {"batch": 3}))
    genuine = exporters.open_exported(made)
    session = onnxruntime.InferenceSession(made)
    outcomes = set()
    strides = [{"stride": str(step)} for step in (8, 16, 64)]
    others = [{"dynamic": str(not dynamic)}, {"batch": "2"}, {"imgsz": "[64, 64]"}, {"imgsz": "[128, 192]"}]
    for number, (lie, maps) in enumerate(itertools.product(strides + others, ({}, {"maps": None}))):
        path = changed(made, tmp_path / str(number), lie | maps)
        try:
            exported = exporters.open_exported(path)
        except UserError:
            outcomes.add("refused")
            continue
        outcomes.add("harmless")
        for count, height in ((1, 128), (4, 192)):
            if exported.dynamic:
                sides = -(-height // exported.stride) * exported.stride, 128
            else:
                sides = exported.size
            images = pictures(count, *sides)
            if dynamic:
                expected = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
            else:
                expected = genuine(images)
            torch.testing.assert_close(exported(images), expected, atol=1e-4, rtol=1e-5, msg=str(lie | maps))
    assert "refused" in outcomes


@pytest.mark.parametrize("fixed", [(0,), (2, 3), (2,)])
def test_files_that_are_free_in_part(files: Files, tmp_path: Path, fixed: tuple[int, ...]) -> None:
    """What they say is refused; where they do not say it, they are run as files of one number and size."""
    made = files("onnx", dynamic=True)
    with pytest.raises(UserError, match="says that any number and size is taken"):
        exporters.open_exported(changed(made, tmp_path / "lie", {}, fixed))
    exported = exporters.open_exported(changed(made, tmp_path / "none", {"dynamic": None, "batch": None}, fixed))
    assert (exported.dynamic, exported.batch, exported.size) == (False, 1, SIZE)
    images = pictures(3, *SIZE)
    torch.testing.assert_close(exported(images), exporters.open_exported(made)(images), atol=1e-4, rtol=1e-5)
