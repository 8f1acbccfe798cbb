"""The folder of a run: a new number each time, one process at a time, the newest unfinished one for a resume."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from training import launches
from utils import checkpoint
from utils.console import log
from utils.errors import UserError
from utils.files import locks
from utils.files.atomic import previous
from utils.files.folders import numbered
from utils.ranks import ALONE, Ranks

LOGGER = logging.getLogger("anneal")
LOOKING = 1.0  # seconds: who only looks whether a folder is held, holds it for a moment
LEFT = (
    *(f"weights/{name}.pt" for name in ("last", "last.previous", "best", "average", "stable")),
    *(f"weights/{name}[0-9]*.pt" for name in ("cycle", "epoch", "decayed")),
    *(f"{name}.csv" for name in ("results", "lr", "cycles", "lr_find")),
    *(f"{name}.png" for name in ("lr", "lr_find", "labels", "results", "confusion_matrix", "[FPR]*_curve")),
    *("opt.yaml", "hyp.yaml", "train.log", "events.out.tfevents.*", "train_batch*.jpg", "val_batch*.jpg"),
)


def create(project: str, name: str, exist_ok: bool) -> Path:
    """Make a run's folder with its weights/, see `utils.files.folders.numbered`. Returns its path."""
    folder = numbered(project, name, exist_ok)
    (folder / "weights").mkdir(exist_ok=True)
    return folder


def clear(folder: Path) -> None:
    """Remove what an earlier run left in a folder that --exist-ok takes again; files of other names stay."""
    for pattern in LEFT:
        for path in folder.glob(pattern):
            path.unlink()


def has_pictures(folder: Path) -> bool:
    """Whether the pictures that a run makes last are there: a disk may have refused them."""
    return all((folder / name).is_file() for name in ("results.png", "confusion_matrix.png"))


def lock(folder: Path) -> IO:
    """Hold the folder for this process, see `utils.files.locks`. A second process is refused."""
    handle = locks.hold(folder / ".lock", LOOKING)
    if handle is None:
        raise UserError(f"{folder}: another process is training here; wait for it, or choose another --name")
    for torn in (folder / "weights").glob(".*.tmp"):  # what a killed process was writing
        torn.unlink()
    return handle


@contextmanager
def take(folder: Path, fresh: bool, ranks: Ranks = ALONE) -> Iterator[None]:
    """Hold the folder inside, with the log in it; `fresh`: without what an earlier run left there.

    Nothing is done for a process that does not write to it.
    """
    if not ranks.first:
        yield
        return
    with lock(folder):
        if fresh:
            clear(folder)
        log.setup(folder / "train.log")
        launches.mark(folder, ranks.launchers)
        yield


def is_locked(folder: Path) -> bool:
    """Whether another process is training in a folder, as far as can be told."""
    return locks.is_held(folder / ".lock")


def find_checkpoint(resume: str, project: str) -> Path:
    """The last.pt that `--resume` means: a file, a run's folder, or `newest` for the newest unfinished run."""
    if resume == "newest":
        return newest_unfinished(Path(project))
    path = Path(resume)
    if path.is_dir():
        path = path / "weights" / "last.pt"
    if not path.is_file() and not previous(path).is_file():
        raise UserError(f"--resume {resume}: no such checkpoint; give the path of a run's weights/last.pt")
    return path


def run_of(last: Path) -> Path:
    """The folder of the run that a checkpoint lies in; a link from elsewhere is followed. UserError where in none."""
    for path in (os.path.abspath(last), os.path.realpath(last)):
        if Path(path).parent.name == "weights":
            return Path(path).parent.parent
    raise UserError(f"--resume {last}: is not in a run's folder; move it to FOLDER/weights/last.pt to resume there")


def newest_unfinished(project: Path) -> Path:
    """The last.pt of the run under `project` that was saved last, of those with epochs left that nobody trains now.

    Only its older generation, last.previous.pt, need be there. Raises UserError where there is none.
    """
    saved: dict[Path, float] = {}
    for name in ("last.pt", previous("last.pt").name):
        for path in project.rglob(f"weights/{name}"):
            saved[path.with_name("last.pt")] = max(saved.get(path.with_name("last.pt"), 0), path.lstat().st_mtime)
    found, unread = sorted(saved, key=saved.__getitem__, reverse=True), False
    for path in found:
        if is_locked(path.parent.parent):
            continue
        try:
            if not checkpoint.facts(path)["finished"]:
                return path
        except (UserError, KeyError) as error:
            unread = True
            why = error if isinstance(error, UserError) else f"{path}: holds no run"
            LOGGER.warning(f"skipped: {why}")
    trained = sum(is_locked(path.parent.parent) for path in found)
    others = " or being trained" * bool(trained) + " or damaged" * unread
    what = f"all {len(found)} runs under {project} are finished{others}"
    what = f"the one run under {project} is finished{others}" if len(found) == 1 else what
    what = what if found else f"there is no run under {project}"
    raise UserError(f"--resume: {what}; give --resume PATH --epochs N to extend one")
