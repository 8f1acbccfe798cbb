"""How a batch is dealt among processes, and among the parts in which each of them passes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dealing:
    """Of a batch's places, part p of `parts` has p, p + parts, ...; this process passes the parts in `mine`.

    The parts decide what is computed, the processes only where: whoever passes a part gets the same gradient for it.
    """

    parts: int = 1
    mine: range = range(1)

    def own(self, places: range) -> list[range]:
        """The places of each part of this process; a short batch leaves some parts empty."""
        return [places[part :: self.parts] for part in self.mine]

    def others(self, places: range) -> list[range]:
        """The places of all other parts."""
        return [places[part :: self.parts] for part in range(self.parts) if part not in self.mine]


ALL = Dealing()


def deal(parts: int, rank: int, world: int) -> Dealing:
    """What process `rank` of `world` passes: neighbouring parts, as evenly as can be."""
    return Dealing(parts, range(rank * parts // world, (rank + 1) * parts // world))
