"""A study on disk: its folder, its file, its runs, and what is known of them at a moment."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import yaml

from ablation import definition as definitions
from ablation import rates, records
from ablation.axes import EXECUTION_OPTIONS, default
from ablation.definition import Definition
from ablation.grid import Cell, expand, notes
from ablation.records import Record
from ablation.view import FINISHED, RunView, StudyView
from data.datasets import load_dataset
from data.index import build_index
from utils.config import flag
from utils.errors import UserError
from utils.files import locks
from utils.files.atomic import write_atomic

FILE = "study.yaml"
PATIENCE = 30.0  # seconds to wait for the workers of a study whose parent was killed


@dataclass
class Study:
    """The runs of a definition in a folder. Whatever changes is read from the runs' own folders.

    command: what defined it last. seen: pictures and fingerprint of the training and validation data.
    """

    folder: Path
    definition: Definition
    cells: list[Cell]
    command: str
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._finished: dict[str, Record] = {}

    @property
    def data(self) -> str:
        """The data set's YAML, as it was given."""
        return str(self.definition.common.get("data", default("data")))

    def folder_of(self, cell: Cell) -> Path:
        """Where the cell's run lies, which may not exist yet."""
        return self.folder / "runs" / cell.name

    def record(self, cell: Cell) -> Record:
        """How a run stands now. What a finished one is, stays."""
        if cell.name not in self._finished:
            record = records.read(self.folder_of(cell))
            if record.status != FINISHED:
                return record
            self._finished[cell.name] = record
        return self._finished[cell.name]

    def argv(self, cell: Cell) -> list[str]:
        """A run's command line, with its rate where that was found."""
        return rates.argv(cell, rates.load(rates.place(self.folder, cell)) if rates.wanted(cell) else None)

    def save(self) -> None:
        """Write the study's file: a study file, and the names of its runs."""
        content = asdict(self.definition) | {"command": self.command, "seen": self.seen}
        content["runs"] = {cell.name: cell.identity for cell in self.cells}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))

    def look_at_data(self) -> None:
        """Index the data. Raises UserError where it cannot be used, or is not what the study began with."""
        dataset = load_dataset(self.data)
        seen = {}
        for part, sources in (("train", dataset.train), ("val", dataset.val)):
            common = self.definition.common
            options = {"single_class": bool(common.get("single_cls")), "poses": dataset.poses}
            options["allow_background"] = bool(common.get("allow_background"))
            index = build_index(sources, dataset.classes, root=dataset.root, desc=part, **options)
            seen[part] = {"pictures": len(index), "fingerprint": index.fingerprint}
        if self.seen not in ({}, seen):
            changed = "the pictures or labels are not those the study began with"
            raise UserError(f"{self.folder}: {changed}; put them back, or choose another --name")
        self.seen = seen

    def view(self) -> StudyView:
        """The study as it stands."""
        found = [(cell, self.record(cell)) for cell in self.cells]
        facts = next((record.facts for _, record in found if record.facts), {})
        machine = {name: str(value) for name, value in facts.get("environment", {}).items()}
        hosts = sorted({record.last("host") for _, record in found if record.last("host")})
        return StudyView(
            name=self.folder.name,
            folder=self.folder,
            command=self.command,
            data=self.data,
            common=dict(self.definition.common),
            fingerprint={part: known["fingerprint"] for part, known in self.seen.items()},
            machine=machine | {"system": platform.platform(), "hosts": ", ".join(hosts)},
            notes=tuple(self._notes(found)),
            runs=tuple(self._run_view(cell, record) for cell, record in found),
        )

    def _notes(self, found: list[tuple[Cell, Record]]) -> list[str]:
        """What a reader of the report should know of how rates and options came about."""
        scores = {cell.name: record.metrics["mAP50-95"] for cell, record in found if record.metrics}
        lines = rates.notes(self.folder, self.cells) + rates.best(self.cells, scores)
        return lines + notes(self.definition)

    def _run_view(self, cell: Cell, record: Record) -> RunView:
        return RunView(
            name=cell.name,
            settings=cell.settings,
            status=record.status,
            command=shlex.join(["python", "train.py", *self.argv(cell), "--name", cell.name]),
            folder=self.folder_of(cell),
            metrics=record.metrics,
            lr0=record.lr0,
            seconds=record.seconds,
            memory_gb=record.last("memory_gb"),
            error=record.error,
        )


def plan(asked: Definition, folder: Path, command: str) -> Study:
    """The study of a definition in a folder, new or going on; without a `command`, by the one it had. Creates nothing.

    Raises UserError for runs that cannot be, for a folder that holds something else, and where the study that is
    there would not merely grow.
    """
    if not (folder / FILE).exists():
        if folder.exists() and any(path.name != ".lock" for path in folder.iterdir()):
            raise UserError(f"{folder}: holds something other than a study; choose another --name")
        return Study(folder, asked, expand(asked), command)
    before, recorded = definitions.read(folder / FILE, recorded=True)
    _check_common(folder, before, asked)
    names = recorded.get("runs", {})
    cells = expand(asked, names)
    left_out = sorted(set(names) - {cell.name for cell in cells})
    if left_out:
        what = f"this command leaves out {len(left_out)} of its runs, such as {left_out[0]}"
        raise UserError(f"{folder}: {what}; a study can only grow: give all its values again, or choose another --name")
    return Study(folder, asked, cells, command or recorded.get("command", ""), recorded.get("seen", {}))


def opened(folder: Path) -> Study:
    """The study in a folder, as it was defined last. Raises UserError where there is none."""
    if not (folder / FILE).is_file():
        raise UserError(f"{folder}: no study; give a folder that ablate.py made, such as runs/ablate/NAME")
    before, recorded = definitions.read(folder / FILE, recorded=True)
    cells = expand(before, recorded.get("runs", {}))
    return Study(folder, before, cells, recorded.get("command", ""), recorded.get("seen", {}))


def _check_common(folder: Path, before: Definition, asked: Definition) -> None:
    """Refuse, by name, an option common to all runs that is not what it was; it may become an axis."""
    for name in {**before.common, **asked.common}:
        if name in EXECUTION_OPTIONS or name in asked.grid or name in before.grid:
            continue
        if before.common.get(name, default(name)) != asked.common.get(name, default(name)):
            was, now = (d.common.get(name, "its default") for d in (before, asked))
            remedy = f"give a list that holds both values as an axis ({flag(name)} A,B), or choose another --name"
            raise UserError(f"{folder}: {flag(name)} was {was} in this study and is {now} now; {remedy}")


def hold(folder: Path) -> IO:
    """Hold a study for this process and its workers until all have ended. A second process is refused.

    Workers of a parent that was killed end by themselves within moments: those are waited for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    handle = locks.hold(lock, PATIENCE, partial(_is_alive, lock))
    if handle is None:
        remedy = "wait for it, stop it, or choose another --name"
        raise UserError(f"{folder}: another process is running this study; {remedy}")
    return handle


def _is_alive(lock: Path) -> bool:
    """Whether the process that wrote its number into the lock is there."""
    try:
        with contextlib.suppress(PermissionError):  # another user's
            os.kill(int(lock.read_text()), 0)
    except (ValueError, ProcessLookupError):
        return False
    return True
