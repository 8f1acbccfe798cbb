"""Errors a user can cause: one line that says what, where and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user gave. Commands print its one line and exit with code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt `name`: the nearest known one, then the list of all of them.

    >>> nearest("sgrd", ["sgdr", "clr"])
    "did you mean 'sgdr'? known: clr, sgdr"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listing = "known: " + (", ".join(known) if known else "none")
    return f"did you mean '{close[0]}'? {listing}" if close else listing
