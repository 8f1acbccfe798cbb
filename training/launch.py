"""One process for each GPU, or so many on the CPU: started by this command itself, or by torchrun."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args

from training import launches
from training.options import Options
from training.run_options import RunOptions
from utils import checkpoint
from utils.config import flag
from utils.console import log
from utils.console.signals import Interrupted
from utils.device import select_device
from utils.errors import UserError
from utils.files.atomic import previous
from utils.ranks import Ranks, join, started

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)  # to the processes, by torch's launcher
DEVICES = re.compile(r"(?:cuda:)?\d+(?:,\d+)+")


def processes(run: RunOptions) -> int:
    """How many processes the options ask this one to start; 0 where it trains itself."""
    if started():
        return 0
    gpus = run.device.removeprefix("cuda:").split(",") if DEVICES.fullmatch(run.device) else []
    for gpu in gpus:
        select_device(gpu)  # before a process is started for one that is not there
    listed = len(gpus)
    if listed and run.processes > 1 and run.processes != listed:
        raise UserError(f"--device {run.device} is {listed} GPUs, --processes {run.processes}; give one of them")
    count = listed or run.processes
    return count if count > 1 else 0


def launch(count: int, argv: Sequence[str] | None) -> int:
    """Run this command line in `count` processes, as torchrun does, and wait for them. Returns their exit code."""
    words = [str(TRAIN), *(sys.argv[1:] if argv is None else argv)]
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # the processes tell what happened
    here = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--rdzv-id={uuid.uuid4()}"]
    config, command, arguments = config_from_args(
        parse_args([*here, f"--nproc-per-node={count}", "--no-python", sys.executable, *words])
    )
    handlers = {number: signal.getsignal(number) for number in PASSED_ON}
    try:
        elastic_launch(config=config, entrypoint=command)(*arguments)
        return 0
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        codes = [failure.exitcode for failure in failed.failures.values()]
        first = failed.get_first_failure()[1].exitcode
        stops = [code for code in codes if code > 128]
        return stops[0] if stops else first if first > 0 else 128 - first
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def ranks_of(asked: Options) -> Iterator[Ranks]:
    """The processes that train together, met and left. What ends one of them is told to the others.

    Where a launcher has started them again, `asked` becomes a resume of the run that they trained, in all of them: a
    host that came anew may have another command line.
    """
    ranks = join(asked.run.timeout)
    if not ranks.first:
        log.of_another_rank(ranks.rank)
    try:
        if started():
            ranks.launchers = ranks.gather(launches.launcher())
            _take_up(asked, ranks)
        yield ranks
    except BaseException as error:
        ranks.report(error, alike=isinstance(error, Interrupted))
        raise
    finally:
        ranks.end()


def _take_up(asked: Options, ranks: Ranks) -> None:
    found = ranks.share(lambda: _trained_before(asked.run, ranks))
    if found is None:
        return
    last = found / "weights" / "last.pt"
    if ranks.share(lambda: last.is_file() or previous(last).is_file()):
        if ranks.share(lambda: _is_done(last, asked)):
            raise SystemExit(0)
        if not all(ranks.gather(bool(asked.run.resume))):  # what a resume changes may not be saved yet
            asked.given &= {"parts"}
        asked.run.resume = str(last)
    else:  # it had nothing to go on from yet
        asked.run.project, asked.run.name, asked.run.exist_ok = str(found.parent), found.name, True


def _trained_before(run: RunOptions, ranks: Ranks) -> Path | None:
    folders = [path.parent for path in Path(run.project).glob(f"*/{launches.MARK}")]
    resumed = Path(run.resume)  # the run's folder, or a file in its weights/
    return launches.find([*folders, resumed, resumed.parent.parent], ranks.launchers)


def _is_done(last: Path, asked: Options) -> bool:
    facts = checkpoint.facts(last)
    is_extended = "epochs" in asked.given and asked.run.epochs > facts["options"]["run"]["epochs"]
    return facts["finished"] and not is_extended


def settle_parts(run: RunOptions, ranks: Ranks) -> None:
    """Write the number of parts into the options: one for each process, if no other is given. Raises UserError."""
    run.parts = run.parts or ranks.world
    if run.parts < ranks.world:
        raise UserError(f"--parts {run.parts}: fewer than the {ranks.world} processes, some of which would do nothing")
    if run.sync_bn and run.parts != ranks.world:
        raise UserError(f"--sync-bn with --parts {run.parts}: it needs a process for each part; leave --parts out")
    for name in ("cuda_graphs", "compile"):
        if run.parts > 1 and getattr(run, name) not in (False, "off"):
            raise UserError(f"{flag(name)} does not go with several processes or --parts; leave it out")


def is_dealt_anew(asked: Options, ranks: Ranks) -> bool:
    """Whether a resume deals the batches by its own number of processes: it has several, or was given their number."""
    given = "processes" in asked.given or "WORLD_SIZE" in os.environ
    return "parts" not in asked.given and (ranks.world > 1 or given)


def device_of(run: RunOptions, local_rank: int) -> str:
    """Which device of `--device` is this process's: of a list its own, and one GPU each where it is left open."""
    if DEVICES.fullmatch(run.device):
        listed = run.device.removeprefix("cuda:").split(",")
        if local_rank >= len(listed):
            raise UserError(f"--device {run.device}: this host runs more processes than GPUs; list a GPU for each")
        return listed[local_rank]
    if run.device == "auto" and torch.cuda.is_available():
        return f"cuda:{local_rank % torch.cuda.device_count()}"
    return run.device
