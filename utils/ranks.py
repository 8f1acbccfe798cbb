"""The processes that train together: who this one is, and everything they tell one another.

All of them call the same functions in the same order. Each call begins with one small exchange in which a process can
say that it ran out of memory or has to leave, so that no process waits for one that has left.
"""

from __future__ import annotations

import datetime
import io
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from utils.errors import UserError
from utils.meeting import meet

T = TypeVar("T")
SETTING_UP = datetime.timedelta(days=1)  # one host may index and decode pictures while the others wait
ROLL_CALL = 3.0  # seconds in which those who are left answer
PREFIX = "anneal"
ALL_GATHER = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # its name before torch 2.14


class AnotherRankFull(torch.OutOfMemoryError):
    """Memory ran out in another process."""


class AnotherRankLeft(UserError):
    """Another process ended with an error, which it has told."""


class RankLost(UserError):
    """A process died or does not answer. `tells`: whether this process is the first of those that are left."""

    def __init__(self, lost: list[int], tells: bool) -> None:
        died = f"rank {', '.join(map(str, lost))} died or did not answer"
        super().__init__(died if lost else "the connection between the processes was lost")
        self.tells = tells


@dataclass(eq=False)
class Ranks:
    """This process among `world`, of which `local_world` are on this host. One alone exchanges nothing.

    Attributes:
        device: where tensors are exchanged; the CPU where GPUs cannot talk to one another.
        timeout: seconds to wait for a process that does not answer, once training has begun.
        launchers: of all processes, see `training.launches`.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    timeout: float = 120.0
    device: torch.device = torch.device("cpu")
    launchers: Sequence[str] = ()
    tells: bool = True  # whether it is this process that says what ended it
    store: Any = None
    control: Any = None  # the group of small messages, over the network whatever trains
    tensors: Any = None  # the group of gradients

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def __deepcopy__(self, _: dict) -> Ranks:
        return self  # the processes are the same for a copy of a model

    def agree(self, stop: int = 0, save: bool = False) -> tuple[int, bool]:
        """The greatest `stop` and `save` of all processes.

        Raises AnotherRankFull, AnotherRankLeft and RankLost.
        """
        if self.world == 1:
            return stop, save
        full, left, stop, save = self._largest(0, 0, stop, int(save))
        if left:
            raise AnotherRankLeft(f"rank {self.world - left} ended")
        if full:
            raise AnotherRankFull(f"rank {full - 1} ran out of memory")
        return stop, bool(save)

    def report(self, error: BaseException, alike: bool = False) -> None:
        """Tell the others what ends this process, or its step, in their next exchange.

        `alike`: it ends all of them in the same way, and they wait for one another. Sets `tells`: of several that end
        together, the first says it.
        """
        if self.world == 1 or isinstance(error, AnotherRankFull):
            return
        if isinstance(error, AnotherRankLeft | RankLost):
            self.tells = isinstance(error, RankLost) and error.tells
            return
        full = isinstance(error, torch.OutOfMemoryError)
        left = 0 if full or alike else self.world - self.rank
        try:
            first = self._largest(full * (self.rank + 1), left, 0, 0)[1]
            self.tells = self.first if alike else full or left == first
        except RankLost:
            self.tells = self.first or not alike

    def gather(self, value: T) -> list[T]:
        """The plain values of all processes, by rank."""
        if self.world == 1:
            return [value]
        self.agree()
        found: list = [None] * self.world
        self._call(dist.all_gather_object, found, value, group=self.control)
        return found

    def share(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them."""
        if self.world == 1:
            return make()
        made: list = [packed(make()) if self.first else None]
        self.agree()
        self._call(dist.broadcast_object_list, made, src=0, group=self.control)
        return unpacked(made[0])

    def rows(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes, by rank: `own` (counts[rank], n) to (sum of counts, n)."""
        if self.world == 1:
            return own
        most = max(counts)
        padded = own.new_zeros((most, own.shape[1]), device=self.device)
        padded[: len(own)] = own
        found = padded.new_empty((self.world, *padded.shape))
        self._call(ALL_GATHER, found.flatten(), padded.flatten(), group=self.tensors)
        return torch.cat([rows[:count] for rows, count in zip(found, counts, strict=True)]).to(own.device)

    def sum_rows(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """The sum (n,) of all rows, added in their order: `own` (counts[rank], n), n a multiple of `world`.

        Each process adds up a share of the columns and sends the result to the others: no more is sent than in any
        other sum over processes, and the order, so every bit, is that of one process with all the rows.
        """
        if self.world == 1:
            return _in_order(own)
        width = own.shape[1] // self.world
        out = own.view(len(own), self.world, width).transpose(0, 1).to(self.device).contiguous().flatten()
        found = out.new_empty(sum(counts) * width)
        sizes = [count * width for count in counts], [len(own) * width] * self.world
        self._call(dist.all_to_all_single, found, out, *sizes, group=self.tensors)
        total = out.new_empty(own.shape[1])
        self._call(ALL_GATHER, total, _in_order(found.view(-1, width)), group=self.tensors)
        return total.to(own.device)

    def _largest(self, *values: int) -> list[int]:
        told = torch.tensor(values)
        self._call(dist.all_reduce, told, op=dist.ReduceOp.MAX, group=self.control)
        return told.tolist()

    def _call(self, function: Callable, *args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except RuntimeError as error:
            raise self._roll_call() from error

    def _roll_call(self) -> RankLost:
        """Which ranks do not answer, as those that are left find out together."""
        lost: list[int] = []
        try:
            self.store.set(f"{PREFIX}/left/{self.rank}", "")
            until = time.monotonic() + ROLL_CALL
            while time.monotonic() < until:
                lost = [r for r in range(self.world) if not self.store.check([f"{PREFIX}/left/{r}"])]
                if not lost:
                    break
                time.sleep(0.05)
        except RuntimeError:  # the store ended with the process that kept it
            lost = [0] if self.rank else []
        left = [rank for rank in range(self.world) if rank not in lost]
        return RankLost(lost, tells=left[:1] == [self.rank])

    def begin_training(self) -> None:
        """From now on a process that does not answer for `timeout` seconds is given up. Called again, does nothing."""
        if self.world > 1 and self.control is dist.group.WORLD:
            self.agree()
            limit = datetime.timedelta(seconds=self.timeout)
            self.control = dist.new_group(backend="gloo", timeout=limit)
            on_gpu = self.device.type == "cuda"
            self.tensors = dist.new_group(backend="nccl", timeout=limit) if on_gpu else self.control

    def use(self, device: torch.device) -> None:
        """Exchange tensors where this process trains: over the GPUs' own links where each process has one."""
        if self.world > 1 and device.type == "cuda" and self.local_world <= torch.cuda.device_count():
            self.device = device

    def end(self) -> None:
        """Leave the group."""
        if self.world > 1:
            dist.destroy_process_group()


def packed(value: Any) -> bytes:
    """A value as bytes, which hold the storage of several tensors once. Pickled, each tensor holds all of it."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def unpacked(data: bytes) -> Any:
    """The value that another of these processes has `packed`."""
    return torch.load(io.BytesIO(data), weights_only=False)


def _in_order(rows: Tensor) -> Tensor:
    total = rows[0].clone()
    for row in rows[1:]:
        total += row
    return total


ALONE = Ranks()


def started() -> bool:
    """Whether a launcher, torchrun or ours, has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join(timeout: float) -> Ranks:
    """Meet the other processes that the launcher has started; alone where there is none.

    Raises UserError where they cannot be reached.
    """
    if not started():
        return ALONE
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if local_world == int(os.environ["WORLD_SIZE"]):
        _stay_on_this_host()
    try:
        store, rank, world = next(iter(rendezvous("env://", timeout=SETTING_UP)))
        store = meet(store, rank, world)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=SETTING_UP)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"the other processes cannot be reached ({reason}); see docs/distributed.md") from None
    everyone = dist.group.WORLD
    return Ranks(rank, world, local_rank, local_world, timeout, store=store, control=everyone, tensors=everyone)


def _stay_on_this_host() -> None:
    """Have Gloo talk over the loopback device: a host name that does not resolve would stop it."""
    names = {name for _, name in socket.if_nameindex()}
    loopback = next((name for name in ("lo", "lo0") if name in names), None)
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
