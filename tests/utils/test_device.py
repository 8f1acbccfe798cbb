"""Which device, which number format; what has to stay the same for identical runs."""

from __future__ import annotations

import contextlib
import os

import pytest
import torch

from utils import device as devices
from utils.errors import UserError

CPU = torch.device("cpu")
NO_GPU = pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has a GPU")


@NO_GPU
def test_auto_without_a_gpu_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    assert devices.select_device() == CPU
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "NO GPU FOUND" in caplog.text
    caplog.clear()
    assert devices.select_device(" CPU ") == CPU
    assert not caplog.records


@NO_GPU
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "0", "cuda:7", "mps"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match=rf"^--device {name}: .*; use --device auto or cpu$"):
        devices.select_device(name)


@pytest.mark.parametrize(
    ("name", "part"), [("gpu", "unknown"), ("cuda:x", "unknown"), ("-1", "unknown"), ("0,1", "trains on one device")]
)
def test_names_that_mean_nothing(name: str, part: str) -> None:
    with pytest.raises(UserError, match=part):
        devices.select_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_by_each_of_its_names() -> None:
    for name in ("auto", "cuda", "cuda:0", "0"):
        assert devices.select_device(name) == torch.device("cuda", 0)
    with pytest.raises(UserError, match="the GPUs here are cuda:0"):
        devices.select_device(f"cuda:{torch.cuda.device_count()}")
    assert devices.select_dtype("auto", torch.device("cuda", 0)) in (torch.bfloat16, torch.float16)
    assert devices.grad_scaler(torch.device("cuda", 0), torch.float16).is_enabled()


def test_the_number_format_is_that_of_the_gpu_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the current one: here the second of two is the older."""
    capabilities = {0: (9, 0), 1: (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device.index])
    found = [devices.select_dtype("auto", torch.device("cuda", number)) for number in capabilities]
    assert found == [torch.bfloat16, torch.float16]


def test_number_formats() -> None:
    for name, dtype in devices.DTYPES.items():
        assert devices.dtype_name(dtype) == name
    assert devices.select_dtype("bf16", CPU) == torch.bfloat16
    assert devices.select_dtype("auto", CPU) in (torch.bfloat16, torch.float32)
    with pytest.raises(UserError, match="needs a GPU"):
        devices.select_dtype("fp16", CPU)


def test_autocast_casts_and_fp32_does_nothing() -> None:
    a = torch.ones(2, 2)
    with devices.autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
    assert isinstance(devices.autocast(CPU, torch.float32), contextlib.nullcontext)
    assert not devices.grad_scaler(CPU, torch.bfloat16).is_enabled()


def test_the_environment_is_plain_values() -> None:
    """A checkpoint holds it: anything but a plain type would not be read back."""
    found = devices.environment(CPU)
    assert {type(value) for value in found.values()} <= {str, int}
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__


def test_only_deterministic_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuBLAS too, which reads its setting from the environment; one that is there stays."""
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for given, then in ((None, ":4096:8"), (":16:8", ":16:8")):
            monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
            if given:
                monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", given)
            devices.only_deterministic()
            assert torch.are_deterministic_algorithms_enabled()
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == then
    finally:
        torch.use_deterministic_algorithms(before)


def test_memory_of_this_process() -> None:
    assert 0.05 < devices.memory_gb(CPU) < 100


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_normalised_pictures_are_rounded_once(dtype: torch.dtype) -> None:
    """All 256 values, as a division in float32 and one rounding give them, with the channels last."""
    images = torch.arange(2 * 3 * 16 * 16).remainder(256).to(torch.uint8).view(2, 3, 16, 16)
    made = devices.normalised(images, dtype)
    assert made.dtype == dtype
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(made, (images.float() / 255).to(dtype))
