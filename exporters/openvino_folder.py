"""OpenVINO, made from the ONNX file: a folder with the graph (.xml), the weights (.bin) and metadata.json."""

from __future__ import annotations

import json
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from exporters import onnx_file
from exporters.formats import Export, Format, register
from exporters.model import Opened
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
SUFFIX = "_openvino_model"
METADATA = "metadata.json"
MAX_METADATA = 4 << 20


def write(export: Export, out: Path) -> None:
    """Write `export` to the folder `out`, from the ONNX file of the same export, made for it where there is none."""
    import openvino

    with tempfile.TemporaryDirectory() as scratch:
        model = openvino.convert_model(onnx_file.made(export, Path(scratch)))
        out.mkdir()
        openvino.save_model(model, out / f"{out.name.removesuffix(SUFFIX)}.xml", compress_to_fp16=export.metadata.half)
    (out / METADATA).write_text(json.dumps(export.metadata.to_text(), indent=1), encoding="utf-8")


def read(path: Path, device: torch.device) -> Opened:
    """Open a folder with OpenVINO on the CPU, computing in float32 whatever the processor is quickest in.

    It runs in a thread of its own: OpenVINO 2026 gives the thread that compiles a model another signal stack, and of
    two models freed in the order of their making, the second leaves behind one that is no longer mapped. The next
    signal to that thread would end the process.
    """
    import openvino

    if device.type != "cpu":
        LOGGER.warning(f"{path}: OpenVINO runs on the processor here, not on {device}")
    files = sorted(path.glob("*.xml")) if path.is_dir() else []
    if len(files) != 1:
        raise UserError(f"{path}: has {len(files)} .xml files, where an OpenVINO folder has one; export it again")
    entries = _metadata(path)
    core, thread = openvino.Core(), ThreadPoolExecutor(1, thread_name_prefix="openvino")
    try:
        model = core.read_model(files[0])
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = thread.submit(core.compile_model, model, "CPU", options).result()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a usable OpenVINO model ({reason}); export it again") from None
    if len(compiled.inputs) != 1 or not compiled.outputs:
        raise UserError(f"{path}: has {len(compiled.inputs)} inputs, where a detector has one; export it again")
    shape = [side.get_length() if side.is_static else None for side in compiled.input(0).partial_shape]
    request = thread.submit(compiled.create_infer_request).result()

    def run(images: Tensor) -> Tensor:
        thread.submit(request.infer, [images.cpu().numpy()]).result()
        return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return Opened(entries, shape, run)


def _metadata(path: Path) -> dict:
    file = path / METADATA
    try:
        if not file.is_file() or file.stat().st_size > MAX_METADATA:
            raise ValueError
        entries = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(entries, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path}: has no readable {METADATA}; export it again") from None
    return entries


register(
    Format("openvino", SUFFIX, ("onnx", "onnxscript", "openvino"), ("openvino",), write, read, METADATA, free=True)
)
