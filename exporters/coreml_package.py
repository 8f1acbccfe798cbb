"""Core ML, for macOS and iOS: a package with input `images` (B, 3, H, W) in [0, 1] and output `output0`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from exporters.formats import Export, Format, register
from exporters.model import Opened
from exporters.network import Network
from utils.errors import UserError

MOST_PICTURES, LARGEST_CELLS = 64, 40  # what a package of free sizes takes; sides as multiples of the stride


def write(export: Export, out: Path) -> None:
    """Write `export` to the package `out`. Core ML has no NMS of any batch, so that one inside is refused."""
    import coremltools as ct

    facts = export.metadata
    if facts.nms:
        raise UserError("--nms is not offered for coreml; leave one of the two out")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Network(export.detector), export.example(), check_trace=False)
    shape = export.example().shape
    if facts.dynamic:
        largest = facts.stride * LARGEST_CELLS
        sides = [ct.RangeDim(facts.stride, max(largest, side), side) for side in facts.size]
        shape = ct.Shape((ct.RangeDim(1, max(MOST_PICTURES, facts.batch), facts.batch), 3, *sides))
    model = ct.convert(
        traced,
        inputs=[ct.TensorType(name="images", shape=shape)],
        outputs=[ct.TensorType(name="output0")],
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16 if facts.half else ct.precision.FLOAT32,
    )
    model.user_defined_metadata.update(facts.to_text())
    model.save(str(out))


def read(path: Path, device: torch.device) -> Opened:
    """Open a package; only macOS can run one."""
    import coremltools as ct

    if sys.platform != "darwin":
        raise UserError(f"{path}: Core ML runs on macOS alone; take the checkpoint or another format here")
    model = ct.models.MLModel(str(path))
    spec = model.get_spec().description
    if len(spec.input) != 1 or not spec.output:
        raise UserError(f"{path}: has {len(spec.input)} inputs, where a detector has one; export it again")
    kind = spec.input[0].type.multiArrayType
    free = kind.WhichOneof("ShapeFlexibility") is not None
    shape = [None, 3, None, None] if free else list(kind.shape)
    name, output = spec.input[0].name, spec.output[0].name

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(model.predict({name: images.cpu().numpy()})[output]))

    return Opened(dict(model.user_defined_metadata), shape, run)


register(Format("coreml", ".mlpackage", ("coremltools",), ("coremltools",), write, read, "Manifest.json"))
