"""`--compile`: the training forward as one compiled function."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from utils.errors import UserError

MODES = {"default": None, "max": "max-autotune-no-cudagraphs"}


def compile_model(model: torch.nn.Module, mode: str, device: torch.device) -> None:
    """Compile the forward of `model` in place; its names, its state and copies of it stay as they were.

    mode: off, default, or max, which tries more kernels. Raises UserError where there is no compiler; the forward
    does where it is first called and cannot be compiled.
    """
    if mode == "off":
        return
    lacking = missing(device)
    if lacking:
        raise UserError(f"--compile {mode}: {lacking} is not installed; install it, or leave --compile out")
    model.compile(mode=MODES[mode])
    model._compiled_call_impl = partial(_compiled, model._compiled_call_impl, mode)


def _compiled(forward: Callable[..., Any], mode: str, *inputs: Any) -> Any:
    from torch._dynamo.exc import TorchDynamoException

    try:
        return forward(*inputs)
    except TorchDynamoException as error:  # a compiler that does not work, say
        reason = " ".join(str(error).split("\n\n")[0].split())[:160]
        what = f"--compile {mode}: torch.compile failed ({reason})"
        raise UserError(f"{what}; fix that, or leave --compile out") from error


def missing(device: torch.device) -> str:
    """What torch.compile lacks for a device; empty where it lacks nothing."""
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "c++"]
    if not any(shutil.which(name.split()[0]) for name in names if name.split()):
        return "a C++ compiler (g++ or clang++)"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "the package triton"
    return ""
