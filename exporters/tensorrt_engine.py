"""TensorRT: an engine for the GPU it was built on, made from the ONNX file. Its metadata stands before the engine.

The file begins with the length of the metadata (4 bytes, little-endian), then the metadata as JSON.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exporters import onnx_file
from exporters.formats import Export, Format, register
from exporters.model import Opened
from utils.errors import UserError

WORKSPACE = 4 << 30  # bytes the builder may try tactics in
MOST_PICTURES, LARGEST = 16, 1280  # what an engine of free sizes is built for, at least
MAX_METADATA = 4 << 20


def write(export: Export, out: Path) -> None:
    """Build an engine on `export.device` from the ONNX file of the same export."""
    import tensorrt as trt

    if export.device.type != "cuda":
        raise UserError("a TensorRT engine is built on the GPU that runs it; give --device cuda:0")
    with tempfile.TemporaryDirectory() as scratch, torch.cuda.device(export.device):
        source = onnx_file.made(export, Path(scratch))
        logger = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse(source.read_bytes()):
            reason = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise UserError(f"TensorRT does not accept the ONNX file: {reason[:160]}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
        if export.metadata.half:
            config.set_flag(trt.BuilderFlag.FP16)
        if export.metadata.dynamic:
            config.add_optimization_profile(_profile(builder, export))
        engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise UserError("TensorRT built no engine; see what it printed above")
    metadata = json.dumps(export.metadata.to_text()).encode()
    out.write_bytes(len(metadata).to_bytes(4, "little") + metadata + bytes(engine))


def _profile(builder: Any, export: Export) -> Any:
    """The sizes that an engine of free sizes is built for: from one small picture to many large ones."""
    facts = export.metadata
    smallest = (1, 3, facts.stride, facts.stride)
    usual = (facts.batch, 3, *facts.size)
    largest = (max(MOST_PICTURES, facts.batch), 3, max(LARGEST, facts.size[0]), max(LARGEST, facts.size[1]))
    profile = builder.create_optimization_profile()
    profile.set_shape("images", smallest, usual, largest)
    return profile


def read(path: Path, device: torch.device) -> Opened:
    """Open an engine on a GPU of the kind it was built on."""
    import tensorrt as trt

    if device.type != "cuda":
        raise UserError(f"{path}: a TensorRT engine runs on a GPU; give --device cuda:0")
    entries, engine_bytes = _split(path)
    with torch.cuda.device(device):
        engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(engine_bytes)
    if engine is None:
        raise UserError(f"{path}: not an engine for this GPU and this TensorRT; export it again here")
    context = engine.create_execution_context()
    tensors = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    inputs = [name for name in tensors if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = [name for name in tensors if name not in inputs]
    if len(inputs) != 1 or not outputs:
        raise UserError(f"{path}: has {len(inputs)} inputs, where a detector has one; export it again")
    shape = [None if side < 0 else side for side in engine.get_tensor_shape(inputs[0])]

    def run(images: Tensor) -> Tensor:
        with torch.cuda.device(device):
            images = images.to(device).contiguous()
            context.set_input_shape(inputs[0], tuple(images.shape))
            results = {name: images.new_empty(tuple(context.get_tensor_shape(name))) for name in outputs}
            for name, tensor in {inputs[0]: images, **results}.items():
                context.set_tensor_address(name, tensor.data_ptr())
            stream = torch.cuda.current_stream(device)
            context.execute_async_v3(stream.cuda_stream)
            stream.synchronize()
            return results[outputs[0]]

    return Opened(entries, shape, run)


def _split(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:4], "little")
    try:
        if not 0 < length <= min(MAX_METADATA, len(data) - 4):
            raise ValueError
        entries = json.loads(data[4 : 4 + length])
        if not isinstance(entries, dict):
            raise ValueError
    except (ValueError, RecursionError):
        raise UserError(f"{path}: has no readable metadata before the engine; export it again") from None
    return entries, data[4 + length :]


register(Format("engine", ".engine", ("onnx", "onnxscript", "tensorrt"), ("tensorrt",), write, read))
