"""How processes that start together find a place of their own in a store that may hold what dead ones left there.

torchrun's agent keeps its store when it starts processes again, and with it the addresses of those that died.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from torch.distributed import PrefixStore, Store

START = "anneal/start"
POLL = 0.02  # seconds; waiting inside the store would not hear a signal


def meet(store: Store, rank: int, world: int) -> Store:
    """The store under a name that only this start of the processes has; waits until all of them are there.

    The first process makes up the name. Each of the others answers under it with a word of its own; a name under which
    that word is repeated is of this start, any other was left by an earlier one.
    """
    own = uuid.uuid4().hex
    if rank == 0:
        store.set(START, own)
        answers = [f"{own}/{other}" for other in range(1, world)]
        _wait(lambda: store.check(answers))
        store.set(f"{own}/all", " ".join(store.get(answer).decode() for answer in answers))
        return PrefixStore(own, store)
    _wait(lambda: store.check([START]))
    while True:
        name = store.get(START).decode()
        if not store.check([f"{name}/all"]):
            store.set(f"{name}/{rank}", own)
        elif own in store.get(f"{name}/all").decode().split():
            return PrefixStore(name, store)
        time.sleep(POLL)


def _wait(ready: Callable[[], bool]) -> None:
    while not ready():
        time.sleep(POLL)
