"""The GPU's code without a GPU: tensors on "cuda" that have shapes, dtypes and a device but no data.

Torch's fake tensors raise where devices mix and where a shape or a branch would depend on data, which on a GPU is a
wait for it. `DryCuda` makes fake only what is on a GPU, leaves main memory real, and notes what else would wait: copies
to main memory, and copies from it that are not from pinned memory or not asked to be asynchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default, aten._foreach_copy_.default)
FUSED = (aten._fused_sgd_.default, aten._fused_adam_.default, aten._fused_adamw_.default)


class Stream:
    """A stream, an event or a graph: nothing runs, so that there is nothing to wait for. What is asked of streams is
    noted, as it decides on a GPU whether work is seen before it is done.

    used: the devices whose streams were asked for; None is the current one, which need not be the run's.
    log: (what, the stream's kind, what with), in order; of tensors, where they are.
    """

    used: ClassVar[set[torch.device | None]] = set()
    log: ClassVar[list[tuple[str, str, Any]]] = []

    def __init__(self, *_: Any, kind: str = "", **__: Any) -> None:
        self.kind = kind

    @classmethod
    def made(cls, device: Any = None, *_: Any, **__: Any) -> Stream:
        cls.used.add(None if device is None else torch.device(device))
        return cls(kind="side")

    @classmethod
    def current(cls, device: Any = None) -> Stream:
        cls.used.add(None if device is None else torch.device(device))
        return cls(kind="current")

    def record_event(self, event: Any = None) -> Stream:
        event = event or Stream()
        self.log.append(("record", self.kind, event))
        return event

    def wait_event(self, event: Any) -> None:
        self.log.append(("wait", self.kind, event))

    def wait_stream(self, stream: Any) -> None:
        self.log.append(("wait", self.kind, stream.kind))

    def synchronize(self) -> None:
        self.log.append(("synchronize", self.kind, self))

    def pool(self) -> tuple[int, int]:
        return 0, 0

    def replay(self) -> None: ...


def keep_for(tensor: Tensor, stream: Stream) -> None:
    """In place of `Tensor.record_stream`."""
    Stream.log.append(("keep", stream.kind, tensor))


class Device:
    """The context of a device, a stream or a recording."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: Any) -> None: ...


def fused(*lists: Any) -> None:
    """An optimizer's fused kernel changes tensors in place; on a GPU it takes those alone that lie alike in memory."""
    params, *others = [each for each in lists if isinstance(each, list) and each]
    for each in others:
        for p, other in zip(params, each, strict=True):
            assert other.device == p.device
            assert other.ndim == 0 or (other.shape, other.stride()) == (p.shape, p.stride())


def backward(loss: Tensor) -> None:
    """Zeros for the gradient of every parameter that the loss depends on."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            p = node.variable
            with torch.no_grad():
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad.add_(0)
        waiting += [before for before, _ in node.next_functions]


class DryCuda(TorchDispatchMode):
    """A context in which there are GPUs of which nothing is computed; cuda:0 is the current one throughout.

    Stood in for, as they need a driver: the questions about the device, streams and events, and the backward pass
    (torch's engine asks the driver for its streams): a gradient is zeros. The renderer is not compiled.
    """

    def __init__(self, gpus: int = 1) -> None:
        super().__init__()
        self.gpus = gpus
        self.fake = FakeTensorMode(allow_fallback_kernels=False)
        self.fake.__deepcopy__ = lambda _: self.fake  # a copied tensor is of the same mode
        self.waits: list[str] = []
        self.pinned: dict[int, Tensor] = {}  # by where its storage begins; held, so that no other begins there
        self.operations = 0  # of the GPU

    def __enter__(self) -> DryCuda:
        Stream.used.clear()
        Stream.log.clear()
        self.stack = ExitStack()
        self.stack.enter_context(self.fake)
        answers: dict[str, Callable] = {
            "device_count": lambda: self.gpus,
            "current_device": lambda: 0,
            "get_device_capability": lambda *_: (9, 0),
            "get_device_name": lambda *_: "dry",
            "is_bf16_supported": lambda *_, **__: True,  # autocast asks
            "mem_get_info": lambda *_: (80 << 30, 80 << 30),
            "max_memory_allocated": lambda *_: 0,
            "set_stream": lambda _: None,
            "reset_peak_memory_stats": lambda *_: None,
            "is_current_stream_capturing": lambda: False,
            "current_stream": Stream.current,
            "Stream": Stream.made,
            "Event": Stream,
            "stream": Device,
            "device": Device,
            "graph": Device,
            "CUDAGraph": Stream,
            "synchronize": lambda *_: self.waits.append("torch.cuda.synchronize"),
        }
        for name, answer in answers.items():
            self.stack.enter_context(patch.object(torch.cuda, name, answer))
        self.stack.enter_context(patch.object(Tensor, "record_stream", keep_for))
        self.stack.enter_context(patch.object(Tensor, "backward", backward))
        self.stack.enter_context(patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False))
        self.stack.enter_context(patch("data.device._compiles", lambda _: False))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.stack.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is aten.is_pinned.default:
            return self.is_pinned(args[0])
        if func is aten._pin_memory.default:
            with unset_fake_temporarily():
                return self.pin(args[0].clone())
        pin = kwargs.pop("pin_memory", None)
        leaves = tree_leaves((args, kwargs))
        there = [v for v in leaves if isinstance(v, FakeTensor)]
        if not there and not any(isinstance(v, torch.device) and v.type == "cuda" for v in leaves):
            with unset_fake_temporarily():
                made = func(*args, **kwargs)
            return self.pin(made) if pin else made
        if func in COPIES:
            self.copied(func, args, kwargs)
        self.operations += 1
        if func in FUSED:
            return fused(*args)
        return func(*self.as_fake(args), **self.as_fake(kwargs))

    def as_fake(self, values: Any) -> Any:
        """Tensors of main memory as fake ones, which may not meet the GPU's but in a copy, or as single numbers."""

        def turned(value: Any) -> Any:
            real = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
            return self.fake.from_tensor(value) if real else value

        return tree_map(turned, values)

    def copied(self, func: Any, args: tuple, kwargs: dict) -> None:
        """Note a copy between the two memories that waits."""
        to_copy = func is aten._to_copy.default
        sources = tree_leaves(args[:1] if to_copy else args[1])
        targets = [kwargs.get("device")] if to_copy else tree_leaves(args[0])
        free = kwargs.get("non_blocking", args[2] if not to_copy and len(args) > 2 else False)
        for source, other in zip(sources, targets, strict=True):
            there = other.device if isinstance(other, Tensor) else other
            if there is None or there.type == source.device.type:
                continue
            host = source if there.type == "cuda" else other
            if not (free and isinstance(host, Tensor) and self.is_pinned(host)):
                self.waits.append(f"{func} of {tuple(source.shape)} from {source.device} to {there}")

    def pin(self, tensor: Tensor) -> Tensor:
        self.pinned[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def is_pinned(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, FakeTensor) and (
            not tensor.numel() or tensor.untyped_storage().data_ptr() in self.pinned
        )

    @contextmanager
    def nothing_waits(self) -> Iterator[None]:
        """Fail where what is done inside waited, or did nothing on the GPU."""
        self.waits.clear()
        self.operations = 0
        yield
        assert not self.waits, self.waits
        assert self.operations
