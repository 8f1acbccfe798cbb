"""The folder of a run: a new number each time, one process at a time, the newest unfinished one for a resume."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

from utils import checkpoint
from utils.errors import UserError
from utils.files import previous
from utils.folders import numbered

LOOKING = 1.0  # seconds: who only looks whether a folder is held, holds it for a moment
LEFT = (
    *(f"weights/{name}.pt" for name in ("last", "last.previous", "best", "cycle[0-9]*", "epoch[0-9]*")),
    *(f"{name}.csv" for name in ("results", "lr", "cycles", "lr_find")),
    *(f"{name}.png" for name in ("lr", "lr_find", "labels", "results", "confusion_matrix", "[FPR]*_curve")),
    *("opt.yaml", "hyp.yaml", "train.log", "events.out.tfevents.*", "train_batch*.jpg", "val_batch*.jpg"),
)


def create(project: str, name: str, exist_ok: bool) -> Path:
    """Make a run's folder with its weights/, see `utils.folders.numbered`. Returns its path."""
    folder = numbered(project, name, exist_ok)
    (folder / "weights").mkdir(exist_ok=True)
    return folder


def clear(folder: Path) -> None:
    """Remove what an earlier run left in a folder that --exist-ok takes again; files of other names stay."""
    for pattern in LEFT:
        for path in folder.glob(pattern):
            path.unlink()


def lock(folder: Path) -> IO:
    """Hold the folder for this process until the returned file closes. A second process is refused."""
    handle = open(folder / ".lock", "a+")  # noqa: SIM115  (held open for the life of the run)
    until = time.monotonic() + LOOKING
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > until:
                handle.close()
                remedy = "wait for it, or choose another --name"
                raise UserError(f"{folder}: another process is training here; {remedy}") from None
            time.sleep(0.01)
    os.ftruncate(handle.fileno(), 0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    for torn in (folder / "weights").glob(".*.tmp"):  # what a killed process was writing
        torn.unlink()
    return handle


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


def newest_unfinished(project: Path) -> Path:
    """The newest last.pt under `project` whose run has epochs left. Raises UserError where there is none."""
    found = sorted(project.rglob("weights/last.pt"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in found:
        try:
            if not checkpoint.load(path)["finished"]:
                return path
        except (UserError, KeyError):
            continue
    what = f"all {len(found)} runs under {project} are finished" if found else f"there is no run under {project}"
    raise UserError(f"--resume: {what}; give --resume PATH --epochs N to extend one")
