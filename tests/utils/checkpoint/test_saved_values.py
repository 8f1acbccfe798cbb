"""What is written is what `torch.load` and our own reader find."""

from __future__ import annotations

import collections
import io
import math
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from utils import checkpoint
from utils.checkpoint import inert
from utils.checkpoint.archive import Archive

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


def written(state: dict) -> io.BytesIO:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "x.pt", state)
        return io.BytesIO((Path(folder) / "x.pt").read_bytes())


DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


@given(PLAIN)
def test_plain_values_come_back(value: object) -> None:
    assert torch.load(written({"value": value}), weights_only=True)["value"] == value


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_kind_come_back(dtype: torch.dtype, tmp_path: Path) -> None:
    whole = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5).to(dtype)
    state = {
        "whole": whole,
        "last": whole.contiguous(memory_format=torch.channels_last),
        "views": [whole[1, 1:], whole.transpose(0, 3), whole[:, ::2]],
        "scalar": torch.tensor(1, dtype=dtype),
        "empty": [torch.empty(0, 3, dtype=dtype), torch.empty(0, dtype=dtype)],
    }
    found = torch.load(written(state), weights_only=True)
    path = tmp_path / "x.pt"
    path.write_bytes(written(state).getvalue())
    with Archive(path) as archive:
        assert list(inert.read(archive)) == ["format", "version", *state]
    assert list(found) == ["format", "version", *state]
    for name, value in state.items():
        pairs = zip(value, found[name], strict=True) if isinstance(value, list) else [(value, found[name])]
        for before, after in pairs:
            assert after.dtype == dtype
            assert torch.equal(after, before)
    assert found["last"].stride() == state["last"].stride()
    assert found["views"][0].untyped_storage().data_ptr() == found["whole"].untyped_storage().data_ptr()


def test_parameters_and_ordered_dictionaries_are_written_as_plain_ones() -> None:
    module = torch.nn.Linear(2, 3)
    found = torch.load(written({"model": module.state_dict(), "p": module.weight}), weights_only=True)
    assert type(found["model"]) is dict
    assert list(found["model"]) == ["weight", "bias"]
    assert torch.equal(found["p"], module.weight)
    assert isinstance(module.state_dict(), collections.OrderedDict)


def test_equal_states_give_equal_bytes_and_values_are_exact() -> None:
    state = {"a": torch.randn(5), "pi": math.pi, "inf": -math.inf, "nan": math.nan}
    assert written(state).getvalue() == written(state).getvalue()
    found = torch.load(written(state), weights_only=True)
    assert (found["pi"], found["inf"]) == (math.pi, -math.inf)
    assert math.isnan(found["nan"])


@pytest.mark.parametrize("value", [object(), {1, 2}, Path("x"), b"bytes", torch.float32])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a checkpoint holds tensors and plain values"):
        written({"value": value})
