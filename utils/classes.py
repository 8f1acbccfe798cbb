"""Whether a checkpoint's classes are those of a data set: as many, of the same names, in the same order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from utils.console.wording import counted
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
SHOWN = 3  # classes that a warning names


def check_classes(names: Sequence[str], data_names: Sequence[str], file: Path) -> None:
    """Compare the `names` of a checkpoint with those of the data set that `file` describes.

    Another number of classes is a UserError. Other names, or the same in another order, are a warning: figures then
    compare what the numbers mean in the one with what they mean in the other.
    """
    if len(names) != len(data_names):
        remedy = "add --single-cls" if len(names) == 1 else "give the --data it was trained on"
        found = f"{counted(len(data_names), 'class', 'classes')}, but the checkpoint has {len(names)}"
        raise UserError(f"{file}: {found}; {remedy}")
    if all(name == f"class{i}" for i, name in enumerate(names)):  # a file without names
        return
    own, theirs = ([" ".join(name.casefold().split()) for name in each] for each in (names, data_names))
    different = [i for i in range(len(own)) if own[i] != theirs[i]]
    if not different:
        return
    shown = ", ".join(f"{i} is '{data_names[i]}' and was '{names[i]}'" for i in different[:SHOWN])
    more = ", ..." if len(different) > SHOWN else ""
    if sorted(own) == sorted(theirs):
        what = f"the checkpoint's classes in another order ({shown}{more}): the figures compare the wrong ones"
        remedy = "put 'names' and labels in the checkpoint's order"
    else:
        what = f"{len(different)} of {counted(len(own), 'class', 'classes')} have other names than in the checkpoint"
        what, remedy = f"{what} ({shown}{more})", "unless they mean the same, give the --data it was trained on"
    LOGGER.warning(f"{file}: {what}; {remedy}")
