"""What the pickle in a checkpoint says, without doing any of it.

A pickle is a program: it may name any function and have it called. Here it is interpreted instead, over the opcodes
that `torch.save` writes and no others. Containers become containers and tensors become records of where their numbers
lie; an object of a known module class becomes an `Inert` note of its name and state. Any other name is refused. Nothing
is imported or called, whatever the file asks for, and work and memory are bounded.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from utils.checkpoint.archive import Archive

MAX_STEPS = 2_000_000
STORAGES = {
    f"torch {name}Storage": dtype
    for name, dtype in {
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Float": torch.float32,
        "Double": torch.float64,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}
# Classes of network modules, and what else a training script leaves in such a file: noted, never made.
_NOTED = re.compile(r"(models|ultralytics|torch\.nn)(\.[A-Za-z_]\w*)* [A-Za-z_]\w*", re.ASCII)
_NOTED_TOO = {
    "argparse Namespace",
    "pathlib PosixPath",
    "pathlib WindowsPath",
    "numpy dtype",
    "numpy ndarray",
    "numpy.core.multiarray _reconstruct",
    "numpy.core.multiarray scalar",
    "numpy._core.multiarray _reconstruct",
    "numpy._core.multiarray scalar",
    "_codecs encode",
    "torch device",
    "torch Size",
    "torch.torch_version TorchVersion",
    *(f"torch {name}" for name in ("float16", "bfloat16", "float32", "float64", "int64")),
}


@dataclass(frozen=True, slots=True)
class Name:
    """A function or class that the pickle names: `module name`."""

    name: str


@dataclass(eq=False, slots=True)
class Inert:
    """Stands where an object would: what it would have been made by, and its state. It does nothing."""

    name: str
    state: Any = None


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in the archive: `count` of `dtype` under `key`."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor that was not read: a view of a storage, no larger than it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read(archive: Archive) -> Any:
    """The structure of a checkpoint as plain containers, `TensorRecord`s and `Inert` notes.

    Raises UserError naming what the file asks for where that is not needed for a checkpoint.
    """
    machine = _Machine(archive)
    try:
        return machine.run(archive.pickle())
    except _Refused as refused:
        raise archive.refused(str(refused)) from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        raise archive.refused("its structure is not what torch.save writes") from None


class _Refused(Exception):
    """What the file asks for."""


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _is_counts(value: Any) -> bool:
    return type(value) is tuple and len(value) <= 8 and all(map(_is_count, value))


def _key(value: Any) -> Any:
    """Plain values alone: hashing a tuple nested deep enough overruns the interpreter's stack."""
    if value is not None and type(value) not in (str, int, float, bool):
        raise _Refused("it has a key that is no plain value")
    return value


def _mapping(pairs: list[Any] | tuple[Any, ...] = ()) -> dict[Any, Any]:
    return {_key(key): value for key, value in pairs}


def _set(items: list[Any]) -> set[Any]:
    return {_key(item) for item in items}


def _parameter(data: Any, requires_grad: Any, hooks: Any) -> Any:
    return data


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorRecord:
    sound = type(storage) is Storage and _is_count(offset) and _is_counts(size) and _is_counts(stride)
    if not sound or len(size) != len(stride):
        raise _Refused("it describes an impossible tensor")
    count, last = 1, offset
    for length, step in zip(size, stride, strict=True):
        count *= length
        last += (length - 1) * step
    if count > storage.count or (count and last >= storage.count):
        raise _Refused("it describes a tensor larger than its numbers")
    return TensorRecord(storage, offset, size, stride)


# The whole of what a pickle can have called: our own functions above, which build plain values.
_CALLS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _mapping,
    "__builtin__ set": _set,
    "builtins set": _set,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
}


class _Machine:
    """The stack machine that a pickle is written for. Each method is an opcode; an opcode without one is refused."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            self.charge(1)
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in _PUSH:
                self.stack.append(argument)
            elif opcode.name in _MAKE:
                self.stack.append(_MAKE[opcode.name]())
            else:
                getattr(self, opcode.name, self.unknown(opcode.name))(argument)
        raise _Refused("its structure has no end")

    def unknown(self, name: str) -> Callable[[Any], NoReturn]:
        def refuse(_: Any) -> NoReturn:
            raise _Refused(f"it uses the pickle opcode {name}, which torch.save does not")

        return refuse

    def charge(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise _Refused(f"its structure takes over {MAX_STEPS:,} steps to read")

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def PROTO(self, version: int) -> None:
        if version != 2:
            raise _Refused(f"it is a pickle of protocol {version}, not of torch.save's 2")

    def MARK(self, _: None) -> None:
        self.below.append(self.stack)
        self.stack = []

    def BINPUT(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def BINGET(self, index: int) -> None:
        self.stack.append(self.memo[index])

    LONG_BINPUT, LONG_BINGET = BINPUT, BINGET

    def TUPLE(self, _: None) -> None:
        items = tuple(self.pop_mark())
        self.stack.append(items)

    def TUPLE1(self, _: None) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def TUPLE2(self, _: None) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def TUPLE3(self, _: None) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def APPEND(self, _: None) -> None:
        value = self.stack.pop()
        self.fill([value])

    def APPENDS(self, _: None) -> None:
        self.fill(self.pop_mark())

    def fill(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise _Refused("it appends to what is no list")
        self.stack[-1].extend(items)

    def SETITEM(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.assign([key, value])

    def SETITEMS(self, _: None) -> None:
        self.assign(self.pop_mark())

    def assign(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise _Refused("it sets items of what is no dictionary")
        self.stack[-1].update(_mapping(zip(items[::2], items[1::2], strict=True)))

    def GLOBAL(self, name: str) -> None:
        if not (name in _CALLS or name in STORAGES or name in _NOTED_TOO or _NOTED.fullmatch(name)):
            raise _Refused(f"it asks for {'.'.join(name.split())[:100]!r}, which no network needs")
        self.stack.append(Name(name))

    def REDUCE(self, _: None) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if type(called) is not Name or type(arguments) is not tuple:
            raise _Refused("it calls what is no known class")
        if any(type(argument) is str for argument in arguments) and called.name in _CALLS:
            raise _Refused("it calls a known class with text")
        self.charge(sum(len(argument) for argument in arguments if type(argument) in (list, tuple, dict)))
        call = _CALLS.get(called.name)
        self.stack.append(Inert(called.name) if call is None else call(*arguments))

    def NEWOBJ(self, _: None) -> None:
        _arguments, made = self.stack.pop(), self.stack.pop()
        if type(made) is not Name or made.name in _CALLS:
            raise _Refused("it makes an object of what is no known class")
        self.stack.append(Inert(made.name))

    def BUILD(self, _: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is Inert:
            target.state = state
        elif type(target) is not dict:  # a state dict carries notes of torch's, which nothing here uses
            raise _Refused("it gives a state to what is no object")

    def BINPERSID(self, _: None) -> None:
        kind, name, key, _device, count = self.stack.pop()
        sound = kind == "storage" and type(name) is Name and type(key) is str and _is_count(count)
        if not sound or name.name not in STORAGES or not re.fullmatch(r"\d{1,9}", key, re.ASCII):
            raise _Refused("it refers to something other than a tensor's numbers")
        storage = Storage(key, STORAGES[name.name], count)
        if self.archive.size(key) != count * storage.dtype.itemsize:
            raise _Refused(f"the numbers of tensor {key} are not as many as it says")
        self.stack.append(storage)


_PUSH = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_MAKE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
