"""ONNX, for ONNX Runtime and what else reads it: weights inside, names, stride and size in its metadata."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exporters.formats import Export, Format, register
from exporters.model import Opened
from exporters.network import Network, suppress
from utils.errors import UserError

FREE = torch.export.Dim.DYNAMIC
MAX_BYTES = (1 << 31) - 1  # of one ONNX file


def write(export: Export, out: Path) -> None:
    """Write `export` to `out`: input `images`, output `output0`."""
    import onnx

    network = Network(export.detector, export.metadata.half, export.suppression, suppress)
    free = {0: FREE, 2: FREE, 3: FREE} if export.metadata.dynamic else {}
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (_example(export),),
            dynamo=True,
            opset_version=export.opset,
            input_names=["images"],
            output_names=["output0"],
            dynamic_shapes={"images": free},
            custom_translation_table={torch.ops.anneal.suppress.default: _suppression(export.opset)},
            verbose=False,
        )
    model = program.model_proto
    written = next(opset.version for opset in model.opset_import if not opset.domain)
    if written != export.opset:
        raise UserError(f"--opset {export.opset}: this network comes out as opset {written}; give --opset {written}")
    if export.simplify:
        model = _simplified(model, out)
    for entry in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph]:
        del entry.metadata_props[:]  # where in the exporting code a node comes from
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, export.metadata.to_text())
    for place, name in enumerate(("batch", None, "height", "width")):
        if export.metadata.dynamic and name:
            _rename(model, model.graph.input[0].type.tensor_type.shape.dim[place].dim_param, name)
    onnx.checker.check_model(model)
    out.write_bytes(model.SerializeToString())


def made(export: Export, folder: Path) -> Path:
    """The ONNX file of an export, for formats that are made from it: written to `folder` where it is not there yet."""
    if "onnx" not in export.made:
        write(export, folder / "model.onnx")
    return export.made.get("onnx", folder / "model.onnx")


def _example(export: Export) -> Tensor:
    """Pictures to trace with; where sizes are free, of three different numbers, none of which looks like a constant."""
    example = export.example()
    if not export.metadata.dynamic:
        return example
    stride = export.metadata.stride
    return example.new_full((2, 3, 4 * stride, 6 * stride), 0.5)


def _rename(model: Any, old: str, new: str) -> None:
    """Call a free dimension `new` wherever it stands alone."""
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == old:
                dimension.dim_param = new


def _suppression(opset: int) -> Any:
    """The translation of `suppress` into ONNX's own operator."""
    import onnxscript

    op = getattr(onnxscript, f"opset{opset}")

    def translate(boxes: Any, scores: Any, max_det: int, iou: float, conf: float) -> Any:
        limits = [op.Constant(value_ints=[max_det]), *(op.Constant(value_floats=[value]) for value in (iou, conf))]
        return op.NonMaxSuppression(boxes, scores, *limits)

    return translate


def _simplified(model: Any, out: Path) -> Any:
    """The model after ONNX Runtime's own rewriting: constants computed, what does nothing removed."""
    import onnx
    import onnxruntime

    file = out.with_suffix(".simplified.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        rewritten = onnx.load(file)
        used = {node.domain for node in rewritten.graph.node}
        for opset in [opset for opset in rewritten.opset_import if opset.domain not in used]:
            rewritten.opset_import.remove(opset)
        return rewritten
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's remarks on itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read(path: Path, device: torch.device) -> Opened:
    """Open a file with ONNX Runtime, on the GPU where `device` is one. Weights outside the file are not looked for."""
    import onnxruntime

    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: over 2 GiB, more than an ONNX file holds; export it again")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    available = onnxruntime.get_available_providers()
    if device.type == "cuda" and "CUDAExecutionProvider" not in available:
        raise UserError(f"{path}: on a GPU it needs onnxruntime-gpu; pip install onnxruntime-gpu, or give --device cpu")
    cuda = [("CUDAExecutionProvider", {"device_id": device.index or 0})] if device.type == "cuda" else []
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=[*cuda, "CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a usable ONNX file ({reason}); export it again") from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or not outputs:
        raise UserError(f"{path}: has {len(inputs)} inputs, where a detector has one; export it again")
    name, output = inputs[0].name, outputs[0].name
    kind = torch.float16 if inputs[0].type == "tensor(float16)" else torch.float32
    shape = [side if isinstance(side, int) else None for side in inputs[0].shape]

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([output], {name: images.to("cpu", kind).numpy()})[0])

    return Opened(session.get_modelmeta().custom_metadata_map, shape, run)


register(Format("onnx", ".onnx", ("onnx", "onnxscript"), ("onnxruntime",), write, read, free=True))
