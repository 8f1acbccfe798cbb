"""One run killed and resumed: train.py in a process of its own, ended by SIGKILL, and what it left looked at."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import train
from benchmarks.compare import read, run_differences
from utils import checkpoint
from utils.checkpoint.archive import Archive, Damaged
from utils.errors import UserError
from utils.files.atomic import previous

RUN = Path("runs", "train", "exp")
LAST = RUN / "weights" / "last.pt"
WARM = ("benchmarks.killing", "torch.utils.tensorboard", "scipy.cluster.vq")  # what the server imports


@dataclass(frozen=True)
class Case:
    """One run to kill: where, how, after which part of its duration (s), and what it must end as."""

    number: int
    folder: Path
    words: tuple[str, ...]
    instant: float
    duration: float
    seed: int
    reference: Path


def workers(number: int) -> ProcessPoolExecutor:
    """Processes to kill runs from: forked from a server that has imported everything and started no thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(WARM))
    return ProcessPoolExecutor(number, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))


def run_quietly(words: Sequence[str], folder: Path) -> None:
    """train.py in this process and `folder`, its console in a file."""
    os.chdir(folder)
    console = os.open("console.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(console, 1)
    os.dup2(console, 2)
    tqdm.set_lock(threading.RLock())  # its own is shared among processes: a killed one would leave it behind
    sys.exit(train.main(words))


def begin(folder: Path, words: Sequence[str]) -> BaseProcess:
    """Start train.py in a process of its own; returns as its first step begins, when it has opened lr.csv anew.

    Forking spares each run the imports. It is safe in a process without threads: see `workers`.
    """
    table = folder / RUN / "lr.csv"
    before = stamp(table)
    process = multiprocessing.get_context("fork").Process(target=run_quietly, args=(words, folder))
    process.start()
    while process.is_alive() and stamp(table) in (before, None):
        time.sleep(0.001)
    return process


def stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        return path.stat().st_ino, path.stat().st_ctime_ns
    except FileNotFoundError:
        return None


def kill(process: BaseProcess, seconds: float | None, writing: Path | None = None) -> bool:
    """SIGKILL after so many seconds, or never; False where the run came to its end.

    With the folder `writing` it waits on for a checkpoint that is being written there.
    """
    process.join(seconds)
    while writing and process.is_alive() and not any(writing.glob(".*.tmp")):
        pass  # it takes milliseconds
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def look(folder: Path, seen: set[str]) -> Counter[str]:
    """What a kill left, counted by name and by the steps done. Raises UserError for a checkpoint that does not load."""
    left = {path.name for path in (folder / LAST).parent.glob(".*.tmp")} - seen
    seen |= left
    steps = max((read(folder / RUN / "lr.csv") or b"").count(b"\n") - 1, 0)
    found = Counter({"kills": 1, "in_save": bool(left), f"step {steps}": 1})
    if not (folder / LAST).exists() and not previous(folder / LAST).exists():
        return found + Counter(fresh=1)
    found["finished"] = int(checkpoint.load(folder / LAST)["finished"])
    try:
        Archive(folder / LAST).__exit__(None, None, None)
    except Damaged:
        found["fallbacks"] = 1
    return found


def next_words(case: Case, found: Counter[str]) -> tuple[str, ...]:
    """The command line that goes on after a kill."""
    return case.words if found["fresh"] else ("--resume", str(LAST), "--noplots")


def kill_and_resume(case: Case) -> tuple[Counter[str], list[str]]:
    """Kill a run, in a third of the cases its resumption too, and let it end; what was found, and what differs."""
    random = np.random.default_rng([case.seed, case.number])
    instant, seen = case.instant, set()
    case.folder.mkdir()
    writing = (case.folder / LAST).parent if case.number % 5 == 4 else None  # a fifth is aimed at the saves
    while not kill(begin(case.folder, case.words), instant, writing):  # it was over already: again, at another instant
        shutil.rmtree(case.folder)
        case.folder.mkdir()
        instant = random.uniform(0, case.duration)
    try:
        now = total = look(case.folder, seen)
        again = random.uniform(0, case.duration - (0 if now["fresh"] else instant))
        for seconds in (again, None) if case.number % 3 == 2 else (None,):  # None: to its end
            if now["finished"]:
                break
            process = begin(case.folder, next_words(case, now))
            if kill(process, seconds):
                now = look(case.folder, seen)
                total = total + now
            elif process.exitcode == 0:
                break
            else:
                said = (case.folder / "console.txt").read_text().splitlines() or [""]
                return total, [f"exit code {process.exitcode}: {said[-1]}"]
        differing = run_differences(case.reference, case.folder / RUN)
    except UserError as error:
        return total, [str(error)]
    if not differing:
        shutil.rmtree(case.folder)
    return total, differing
