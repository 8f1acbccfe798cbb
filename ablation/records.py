"""What a run's folder says of the run: how it stands, what it reached, how long it took. Nothing else is asked."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablation.view import FAILED, FINISHED, METRICS, RUNNING, WAITING
from training.best import epoch_of
from training.folder import is_locked
from utils import checkpoint
from utils.errors import UserError
from utils.files.atomic import previous, write_atomic
from utils.tracker import METRICS as COLUMNS
from utils.tracker import read_csv

CONSOLE = "console.txt"
LAST_LINES = 12
REMEDY = "remove the run's folder to train it again"


@dataclass(frozen=True)
class Record:
    """A run as its folder has it. facts: the plain values of last.pt, empty where there is none."""

    status: str
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    sessions: tuple[dict[str, Any], ...] = ()
    error: str = ""

    @property
    def lr0(self) -> float | None:
        """The base rate that the run used, a found one too; None before its first checkpoint."""
        return self.facts["options"]["hyp"]["lr0"] if self.facts else None

    @property
    def seconds(self) -> float | None:
        """Of training and validation, over all interruptions."""
        known = [session["seconds"] for session in self.sessions if session["seconds"] is not None]
        return sum(known) if known else None

    def last(self, name: str) -> Any:
        """A value of the newest session that has it."""
        return next((s[name] for s in reversed(self.sessions) if s.get(name) is not None), None)


def read(folder: Path) -> Record:
    """How a run stands. A finished checkpoint beats all else, a recorded failure a checkpoint that can go on."""
    sessions = tuple(_json(folder / "sessions.json", []))
    facts, error = {}, ""
    try:
        facts = last_facts(folder)
        if facts and facts["finished"]:
            return Record(FINISHED, facts, final_metrics(folder, facts), sessions)
    except OSError as missing:
        error = f"{missing.filename or folder}: {missing.strerror or missing}; {REMEDY}"
    except (UserError, KeyError, IndexError) as unreadable:
        error = str(unreadable)
    error = _json(folder / "failed.json", {}).get("error", "") or error
    if error:
        return Record(FAILED, facts, {}, sessions, error)
    return Record(RUNNING if is_locked(folder) else WAITING, facts, {}, sessions)


def last_facts(folder: Path) -> dict[str, Any]:
    """The plain values of a run's last.pt; empty where the run has none. Raises UserError for a damaged one."""
    last = folder / "weights" / "last.pt"
    try:
        return checkpoint.facts(last) if last.exists() or previous(last).exists() else {}
    except UserError as error:
        raise UserError(f"{error}; or {REMEDY}") from None


def final_metrics(folder: Path, facts: dict[str, Any]) -> dict[str, float]:
    """The validation metrics of a finished run's best weights that are there, as its results.csv has them. Raises
    UserError where it has not."""
    table = folder / "results.csv"
    rows = read_csv(table)
    best = epoch_of(folder / "weights" / "best.pt") or facts["epoch"]
    row = next((row for row in rows if row["epoch"] == best - 1), None)
    if row is None:
        raise UserError(f"{table}: has no row for epoch {best - 1}; {REMEDY}")
    scores = {name: row[column] for name, column in zip(METRICS, COLUMNS, strict=True)}
    return scores | {"best_epoch": best, "epochs": facts["epoch"]}


def epochs_done(folder: Path) -> int:
    """Epochs in a run's results.csv, read without waiting for anything."""
    try:
        return max((folder / "results.csv").read_bytes().count(b"\n") - 1, 0)
    except OSError:
        return 0


def fail(folder: Path, error: str) -> None:
    """Record that a run failed, with its last lines."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "failed.json", json.dumps({"error": error}, indent=1, ensure_ascii=False))


def clear_failure(folder: Path) -> None:
    """Forget a failure, so that the run is tried again: from its last good checkpoint where it has one."""
    (folder / "failed.json").unlink(missing_ok=True)


def begin(folder: Path, **facts: Any) -> None:
    """Note that a session of a run begins. One that was killed has worked until its last checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    sessions = _json(folder / "sessions.json", [])
    last = folder / "weights" / "last.pt"
    if sessions and sessions[-1]["seconds"] is None:
        saved = last.stat().st_mtime if last.exists() else 0.0
        sessions[-1]["seconds"] = round(max(saved - sessions[-1]["started"], 0.0), 3)
    sessions.append({"started": round(time.time(), 3), "seconds": None, **facts})
    write_atomic(folder / "sessions.json", json.dumps(sessions, indent=1))


def end(folder: Path, **facts: Any) -> None:
    """Note how the session that began last went."""
    sessions = _json(folder / "sessions.json", [])
    sessions[-1] |= facts
    write_atomic(folder / "sessions.json", json.dumps(sessions, indent=1))


def last_lines(console: Path, start: int = 0) -> str:
    """The end of what a run said, from byte `start` of its console on."""
    try:
        with open(console, "rb") as file:
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-LAST_LINES:])


def _json(path: Path, otherwise: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return otherwise
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error}); remove it") from None
