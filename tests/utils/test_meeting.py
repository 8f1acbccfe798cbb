"""Processes that start again in a store that others have used before find one another, and nobody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from torch.distributed import HashStore, Store

from utils.meeting import meet


def start(store: Store, world: int, first_last: bool) -> list[Store]:
    """What each rank has from `meet`; a rank writes its place there, as process groups do."""

    def run(rank: int) -> Store:
        found = meet(store, rank, world)
        assert not found.check([f"place/{rank}"])  # nothing of an earlier start
        found.set(f"place/{rank}", str(rank))
        return found

    with ThreadPoolExecutor(world) as pool:
        order = range(world - 1, -1, -1) if first_last else range(world)
        waiting = {rank: pool.submit(run, rank) for rank in order}
        return [waiting[rank].result(timeout=60) for rank in range(world)]


def test_each_start_has_a_place_of_its_own() -> None:
    store = HashStore()
    for number in range(6):
        found = start(store, 3, first_last=number % 2 == 1)
        for mine in found:
            assert [mine.get(f"place/{rank}") for rank in range(3)] == [b"0", b"1", b"2"]
