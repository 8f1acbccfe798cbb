"""A process that does one run after another, so that start-up is paid once: `python -m ablation.worker`.

It reads jobs from its standard input and answers on its standard output, a line of JSON each. Where its input ends,
which is when its parent is gone, so does it: at once, as a kill would.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import itertools
import json
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import train
from ablation import rates, records
from ablation.launch import launch
from data.shared import Shared
from training.folder import is_locked
from utils.device import memory_gb
from utils.errors import UserError

KEPT = ("--device", "--workers", "--cache", "--noplots")  # flags that a resume takes anew
STOPPED: dict[str, Any] = {"code": 128 + signal.SIGINT}
LETTING_GO = 30.0  # seconds
GPU = torch.device("cuda", 0)  # a worker sees one


def main() -> int:
    """Do jobs until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))  # Ray hands its own mask down
    faulthandler.enable()
    answers = os.dup(1)
    os.dup2(2, 1)  # what is printed outside a run goes to the log
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    ready, stopping = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(jobs, ready, stopping), daemon=True).start()
    shared, threads = Shared(), torch.get_num_threads()
    gc.freeze()  # what was imported stays: clearing up after a run takes no half second to look through it
    while True:
        job: dict[str, Any] | None = None
        try:
            ready.set()
            job = jobs.get()
            torch.set_num_threads(threads)  # a resumed run may have set its own
            answer = STOPPED if stopping.is_set() else do(job, shared)
            _say(answers, answer)
        except KeyboardInterrupt:  # wherever it struck, the parent waits for an answer; to a stop, two do no harm
            answer = STOPPED
            if job is not None or stopping.is_set():
                _say(answers, answer)
        if answer.get("broken"):
            return 1


def _say(answers: int, answer: dict[str, Any]) -> None:
    os.write(answers, (json.dumps(answer) + "\n").encode())  # in one piece


def _listen(jobs: queue.SimpleQueue, ready: threading.Event, stopping: threading.Event) -> None:
    """Pass jobs on. The line `null` stops what is under way, as Ctrl-C does train.py, once this can be answered."""
    for line in sys.stdin:
        job = json.loads(line)
        if job is not None:
            jobs.put(job)
        else:
            stopping.set()
            ready.wait()
            os.kill(os.getpid(), signal.SIGINT)
    os._exit(0)


def do(job: dict[str, Any], shared: Shared) -> dict[str, Any]:
    """One job. Returns `code` as train.py's; `full` where it was not begun for want of memory; `memory` where it ran
    out of it; `broken` where this process should do no more; and the `peak` in GB."""
    torch.use_deterministic_algorithms(False)  # --deterministic of the run before
    gc.collect()
    if torch.cuda.is_available() and not _is_launched(job["argv"]):
        torch.cuda.init()  # resetting the peak fails before it
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(GPU)
        if torch.cuda.mem_get_info(GPU)[0] / 1e9 < job["needs"]:
            return {"full": True}
    console = Path(job["console"])
    console.parent.mkdir(parents=True, exist_ok=True)
    with _said_in(console):
        try:
            code = find(job, shared) if "find" in job else run(job, shared)
            return {"code": code, "peak": _peak()}
        except KeyboardInterrupt:
            return STOPPED
        except UserError as error:  # of what a run before left: a damaged last.pt
            print(f"error: {error}", file=sys.stderr)
            return {"code": 2}
        except torch.OutOfMemoryError:
            traceback.print_exc()
            return {"code": 1, "broken": True, "memory": True, "peak": _peak()}
        except BaseException:  # a run's own mistakes are codes: this is a fault, and what it left behind is not known
            traceback.print_exc()
            return {"code": 1, "broken": True}


def run(job: dict[str, Any], shared: Shared) -> int:
    """Train, or go on with what is there, exactly as train.py by itself. Returns its exit code."""
    folder, argv = Path(job["folder"]), job["argv"]
    _until_free(folder, job.get("patience", LETTING_GO))
    facts = records.last_facts(folder)
    if facts:
        argv = ["--resume", str(folder / "weights" / "last.pt"), *_kept(argv)]
    else:
        argv = [*argv, "--project", str(folder.parent), "--name", folder.name, "--exist-ok"]
    several, gpus = _is_launched(job["argv"]), torch.cuda.device_count()
    device = torch.cuda.get_device_name(GPU) if gpus else platform.machine()
    records.begin(folder, device=f"{gpus} x {device}" if several and gpus else device, host=platform.node())
    began = time.perf_counter()
    try:
        return launch(argv) if several else train.main(argv, shared)
    finally:
        seconds = round(time.perf_counter() - began, 3)
        records.end(folder, seconds=seconds, memory_gb=None if several else round(memory_gb(_device()), 3))


def _until_free(folder: Path, patience: float = LETTING_GO) -> None:
    """Wait for a worker whose parent was killed elsewhere to let go of the run; train.py refuses it if it does not."""
    until = time.monotonic() + patience
    while is_locked(folder) and time.monotonic() < until:
        time.sleep(0.5)


def find(job: dict[str, Any], shared: Shared) -> int:
    """The range test of an optimizer, on one GPU also where its runs have several."""
    argv = job["argv"]
    rates.find(Path(job["find"]), [*argv, "--device", "cuda:0"] if "," in _given(argv, "--device") else argv, shared)
    return 0


def _kept(argv: list[str]) -> list[str]:
    """The flags of a new run that a resume may take, with their values."""
    kept: list[str] = []
    for i, word in enumerate(argv):
        if word in KEPT:
            kept += argv[i : i + 1 + (word != "--noplots")]
    return kept


def _is_launched(argv: list[str]) -> bool:
    """Whether a run has several processes: one for each of its devices, or `--processes`."""
    return "," in _given(argv, "--device") or _given(argv, "--processes") not in ("", "1")


def _given(argv: list[str], flag: str) -> str:
    """A flag's value, the last one that is given; empty where none is."""
    return dict(itertools.pairwise(argv)).get(flag, "")


def _device() -> torch.device:
    return GPU if torch.cuda.is_available() and torch.cuda.is_initialized() else torch.device("cpu")


def _peak() -> float:
    """What the GPU had to set aside, in GB; 0 on a CPU."""
    return torch.cuda.max_memory_reserved(GPU) / 1e9 if _device().type == "cuda" else 0.0


@contextlib.contextmanager
def _said_in(path: Path) -> Iterator[None]:
    """Everything written to standard output and error goes to the end of a file, a crash's last words too."""
    before = [os.dup(1), os.dup(2)]
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    try:
        for target in (1, 2):
            os.dup2(file, target)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, target)
            os.close(kept)
        os.close(file)


if __name__ == "__main__":
    sys.exit(main())
