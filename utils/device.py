"""Which device trains, in which number format, and a line that says so."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
from typing import Any, TypeVar

import torch

from utils.allocator import keep_freed_memory
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
Network = TypeVar("Network", bound=torch.nn.Module)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def select_device(name: str = "auto") -> torch.device:
    """The device for `auto`, `cpu`, `mps`, `cuda`, `cuda:N` or `N`.

    `auto` takes the GPU; where there is none it says so once and takes the CPU. Asking for a device that is not there
    is a UserError. On a CPU, freed memory is kept from then on (`utils.allocator`).
    """
    device = _found(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _found(name: str) -> torch.device:
    name = str(name).strip().lower()
    if name in ("auto", ""):
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        if torch.backends.mps.is_available():
            return torch.device("mps")
        LOGGER.warning("NO GPU FOUND: using the CPU, which is many times slower (--device cpu silences this)")
        return torch.device("cpu")
    if name in ("cpu", "mps"):
        if name == "mps" and not torch.backends.mps.is_available():
            raise UserError("--device mps: this machine has no MPS device; use --device auto or cpu")
        return torch.device(name)
    if re.fullmatch(r"\d+(,\d+)+", name):
        raise UserError(f"--device {name}: one process trains on one device; name one, such as --device cuda:0")
    number = re.fullmatch(r"(?:cuda)?:?(\d*)", name)
    if number is None:
        raise UserError(f"--device {name}: unknown; use auto, cpu, mps or cuda:N")
    index, count = int(number[1] or 0), torch.cuda.device_count()
    if index >= count:
        has = f"the GPUs here are cuda:0 to cuda:{count - 1}" if count else "no GPU is visible here"
        raise UserError(f"--device {name}: {has}; use --device auto or cpu")
    return torch.device("cuda", index)


def half_precision(asked: bool, device: torch.device) -> torch.dtype | None:
    """What `--half` asks for: float16, on a CPU bfloat16 where it is as fast as float32. Else None, which is told."""
    if not asked or device.type != "cpu":
        return torch.float16 if asked else None
    if _cpu_has_bf16():
        return torch.bfloat16
    LOGGER.warning("--half needs a GPU, or a CPU with bfloat16; computing in float32")
    return None


def select_dtype(name: str, device: torch.device) -> torch.dtype:
    """What forward and backward compute in: bf16 where the device has it, else fp16 on a GPU, fp32 on a CPU."""
    if name != "auto":
        if name == "fp16" and device.type == "cpu":
            raise UserError("--dtype fp16 needs a GPU; use bf16 or fp32 on a CPU")
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_has_bf16() else torch.float32
    return torch.float32


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself (AVX512-BF16, AMX); emulated bf16 is slower than fp32."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def dtype_name(dtype: torch.dtype) -> str:
    """bf16, fp16 or fp32."""
    return next(name for name, value in DTYPES.items() if value == dtype)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Mixed precision in `dtype`; nothing at all for float32. No cast is cached: a pass uses each weight once."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)


def placed(network: Network, device: torch.device | str) -> Network:
    """A network moved to a device and its weights to channels last, in one step; returns it."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def normalised(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Pictures (B, 3, H, W) uint8 as the network takes them: 0 to 1 in `dtype`, channels last.

    bf16 and fp16 hold 0 to 255 exactly, so that this rounds once, as a division in float32 rounded afterwards does.
    """
    if images.device.type == "cpu":  # a plane at a time, which is five times as fast there
        out = torch.empty_like(images, dtype=dtype, memory_format=torch.channels_last)
        for channel in range(images.shape[1]):
            out[:, channel].copy_(images[:, channel])
        return out.div_(255)
    return images.to(dtype, memory_format=torch.channels_last).div_(255)


def grad_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """A loss scaler, active for fp16 alone."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)


def environment(device: torch.device) -> dict[str, Any]:
    """What has to stay the same for two runs to be identical to the bit, as plain values."""
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),  # its own type is no plain value
        "python": platform.python_version(),
    }


def only_deterministic() -> None:
    """Have torch take deterministic kernels alone, or raise. cuBLAS reads its setting when it is first used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def memory_gb(device: torch.device) -> float:
    """Peak memory in GB: of the GPU's allocator, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if platform.system() == "Darwin" else 1e6)
