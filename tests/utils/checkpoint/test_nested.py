"""The walk through a checkpoint's content."""

from __future__ import annotations

from collections import OrderedDict

import torch

from utils.checkpoint.nested import with_tensors


def test_every_tensor_is_replaced_in_order_and_the_rest_stays() -> None:
    tensors = [torch.tensor(float(k)) for k in range(4)]
    value = {
        "a": tensors[0],
        "b": [1, (tensors[1], "text", None)],
        "c": OrderedDict(x=tensors[2]),
        "d": (),
        5: tensors[3],
    }
    seen = []

    def replace(tensor: torch.Tensor) -> torch.Tensor:
        seen.append(tensor)
        return -tensor

    found = with_tensors(value, replace)
    assert [tensor.item() for tensor in seen] == [0, 1, 2, 3]
    assert found == {"a": 0, "b": [1, (-1, "text", None)], "c": {"x": -2}, "d": (), 5: -3}
    assert type(found["b"][1]) is tuple
    assert [tensor.item() for tensor in tensors] == [0, 1, 2, 3]
