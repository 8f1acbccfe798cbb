"""Makes the archive that `torch.load(weights_only=True)` reads: dictionaries, lists, tuples, plain values, tensors.

`torch.save` gives the same, but calls Python for every object and keeps the interpreter's lock while it copies and sums
up the tensors' bytes: a training thread waits for it. Here the structure is a few opcodes of pickle protocol 2 written
directly, each storage is checksummed, and later written, without the lock, and nothing but what this module knows is
written.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

ROOT = "archive"
STORAGES = {
    torch.float32: "FloatStorage",
    torch.float64: "DoubleStorage",
    torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage",
    torch.int64: "LongStorage",
    torch.int32: "IntStorage",
    torch.int16: "ShortStorage",
    torch.int8: "CharStorage",
    torch.uint8: "ByteStorage",
    torch.bool: "BoolStorage",
}
PROTOCOL, STOP, MARK, TUPLE, REDUCE, PERSISTENT = b"\x80\x02", b".", b"(", b"t", b"R", b"Q"
NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
NO_HOOKS = b"ccollections\nOrderedDict\n)R"


def parts(state: dict[str, Any]) -> list[bytes | memoryview]:
    """The file's content, in order; the tensors' bytes are not copied. TypeError for what no checkpoint holds."""
    encoder = _Encoder()
    structure = encoder.encode(state)
    sink = _Parts()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member("data.pkl"), structure)
        archive.writestr(_member("byteorder"), sys.byteorder)
        for key, storage in enumerate(encoder.storages):
            flat = torch.empty(0, dtype=torch.uint8).set_(storage.cpu())
            archive.writestr(_member(f"data/{key}"), memoryview(flat.numpy()))
        archive.writestr(_member("version"), "3\n")
    return sink.done()


class _Parts:
    """What `zipfile` takes for a file that only grows: keeps what is written, without copying tensors' bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._small: list[bytes] = []

    def write(self, data: bytes | memoryview) -> int:
        if isinstance(data, memoryview):
            self._parts += [b"".join(self._small), data]
            self._small = []
        else:
            self._small.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def done(self) -> list[bytes | memoryview]:
        return [*self._parts, b"".join(self._small)]


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{ROOT}/{name}")  # without a date: the same state gives the same bytes


class _Encoder:
    """The structure as a pickle, and the storages that its tensors lie in."""

    def __init__(self) -> None:
        self.storages: list[torch.UntypedStorage] = []
        self._seen: dict[tuple[torch.device, int, torch.dtype], bytes] = {}
        self._kinds: dict[type, Callable[[Any], bytes]] = {
            dict: self._dict,
            list: lambda value: b"](" + b"".join(map(self._any, value)) + b"e",
            tuple: lambda value: MARK + b"".join(map(self._any, value)) + TUPLE,
            str: _text,
            int: _int,
            float: lambda value: b"G" + struct.pack(">d", value),
            bool: lambda value: TRUE if value else FALSE,
            type(None): lambda value: NONE,
        }

    def encode(self, value: dict[str, Any]) -> bytes:
        return PROTOCOL + self._any(value) + STOP

    def _any(self, value: Any) -> bytes:
        kind = self._kinds.get(type(value))
        if kind is not None:
            return kind(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, dict):  # an OrderedDict of torch
            return self._dict(value)
        raise TypeError(f"a checkpoint holds tensors and plain values, not {type(value).__name__}")

    def _dict(self, value: dict[Any, Any]) -> bytes:
        return b"}(" + b"".join([self._any(key) + self._any(item) for key, item in value.items()]) + b"u"

    def _tensor(self, tensor: Tensor) -> bytes:
        place = self._storage(tensor) + _int(tensor.storage_offset())
        return REBUILD + MARK + place + _layout(tuple(tensor.shape), tensor.stride())

    def _storage(self, tensor: Tensor) -> bytes:
        storage = tensor.untyped_storage()
        at = (tensor.device, storage.data_ptr() if storage.nbytes() else -1 - len(self.storages), tensor.dtype)
        if at not in self._seen:
            count = storage.nbytes() // tensor.element_size()
            kind = f"ctorch\n{STORAGES[tensor.dtype]}\n".encode()
            key = _text(str(len(self.storages)))
            self._seen[at] = MARK + _text("storage") + kind + key + _text("cpu") + _int(count) + TUPLE + PERSISTENT
            self.storages.append(storage)
        return self._seen[at]


@lru_cache(1024)
def _layout(shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    size, steps = (MARK + b"".join(map(_int, numbers)) + TUPLE for numbers in (shape, stride))
    return size + steps + FALSE + NO_HOOKS + TUPLE + REDUCE


def _text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def _int(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes((value,))
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes((len(content),)) + content
