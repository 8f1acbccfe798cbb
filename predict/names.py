"""What the files of each picture and video are called in the results, so that none overwrites another's."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from predict.frames import Origin


def stems(origins: Sequence[Origin]) -> dict[PurePosixPath, PurePosixPath]:
    """By name, what label files and crops are called: without suffix, which stays where another has that already."""
    found: dict[PurePosixPath, PurePosixPath] = {}
    pictures: set[str] = set()
    films: set[str] = set()
    for origin in sorted(origins, key=lambda origin: (origin.kind != "picture", origin.name.suffix != ".mp4")):
        taken = pictures if origin.kind == "picture" else films
        found[origin.name] = next(stem for stem in _candidates(origin) if str(stem).casefold() not in taken)
        text = str(found[origin.name]).casefold()
        taken.add(text)
        numbered = re.fullmatch(r"(.*)_\d{6,}", text, re.DOTALL)  # as a frame of the film before the number is
        if numbered and origin.kind == "picture":
            films.add(numbered[1])
    return found


def film_names(origins: Sequence[Origin]) -> dict[PurePosixPath, PurePosixPath]:
    """By name, that of the written video: `.mp4` keeps its own, others get it as their suffix, or as a second one."""
    films = [origin for origin in origins if origin.kind != "picture"]
    found = {origin.name: origin.name for origin in films if origin.name.suffix == ".mp4"}
    taken = {str(name).casefold() for name in found}
    for origin in films:
        if origin.name not in found:
            names = (stem.with_name(f"{stem.name}.mp4") for stem in _candidates(origin))
            name = next(name for name in names if str(name).casefold() not in taken)
            taken.add(str(name).casefold())
            found[origin.name] = name
    return found


def _candidates(origin: Origin) -> Iterator[PurePosixPath]:
    """The name without suffix, where it has one; with it; and numbered."""
    name = origin.name
    if origin.kind != "stream" or name.suffix[1:2].isalpha():  # an address may end in numbers
        yield name.with_suffix("")
    yield name
    yield from (name.with_name(f"{name.name}_{number}") for number in itertools.count(2))
