"""How a session comes to be: a new run from options, or an old one from its last.pt."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import schedulers
from data.shared import Shared
from models.layout import largest_stride
from models.sync_batchnorm import synchronise
from training import build, changes, folder, graphs, launch, network, trunk
from training.accelerate import compile_model
from training.batch_size import with_found_batch
from training.best import check_best
from training.launch import device_of
from training.options import Options, check_bounds, import_plugins
from training.progress import progress_from_state
from training.range_test import find_rate, peak_of
from training.session import Session
from training.settle import settle
from utils import checkpoint
from utils.console.wording import counted
from utils.device import DTYPES, dtype_name, environment, only_deterministic, select_device, select_dtype
from utils.errors import UserError
from utils.ranks import ALONE, Ranks

LOGGER = logging.getLogger("anneal")
MALFORMED = (KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError, RuntimeError, StopIteration)


def new(options: Options, shared: Shared | None = None, ranks: Ranks = ALONE) -> Session:
    """Build a new run. Its folder is made last, when nothing the user gave can fail any more."""
    session = prepare(options, shared, ranks)
    run = options.run
    session.folder = ranks.share(lambda: folder.create(run.project, run.name, run.exist_ok))
    return session


def prepare(options: Options, shared: Shared | None = None, ranks: Ranks = ALONE) -> Session:
    """A new run without a folder; `shared` holds the data that earlier runs of this process read."""
    build.check(options)
    device = select_device(device_of(options.run, ranks.local_rank))
    dtype = select_dtype(options.run.dtype, device)
    find = options.hyp.lr0 == "find"
    options.hyp.lr0 = None if find else options.hyp.lr0
    session = assemble(options, device, dtype, shared=shared, ranks=ranks)
    session = with_found_rate(session) if find else session
    for line in options.decided:
        LOGGER.info(line)
    return accelerate(session)


def assemble(
    options: Options,
    device: torch.device,
    dtype: torch.dtype,
    layout: dict[str, Any] | None = None,
    shared: Shared | None = None,
    ranks: Ranks = ALONE,
) -> Session:
    """Data, model, loss, optimizer and schedule of the options, as a session without a folder."""
    run = options.run
    launch.settle_parts(run, ranks)
    ranks.use(device)
    if run.deterministic:
        only_deterministic()
    auto = run.batch_size == "auto"
    run.batch_size = 1 if auto else run.batch_size
    resumed = layout is not None
    weights = None if resumed else network.starting_weights(options)
    layout = layout if resumed else network.choose(options, weights)
    stride = largest_stride(layout)
    data = build.load_data(options, device, stride=stride, render_sample=not resumed, shared=shared, ranks=ranks)
    model = network.build_model(options, data.names, data.train_index, device, layout, weights, resumed)
    if run.sync_bn and ranks.world > 1:
        synchronise(model, ranks)
    accumulate = build.accumulation(options)
    optimizer = build.build_optimizer(options, model, accumulate)
    schedule = build.build_schedule(options, optimizer, data, accumulate)
    criterion = build.build_criterion(options, model)
    made = Path(), data, device, dtype, model, criterion, optimizer, schedule, accumulate
    session = Session(options, *made, ranks=ranks)
    session = with_found_batch(session) if auto else session
    build.check_batches(options, data)
    return session


def accelerate(session: Session) -> Session:
    """--compile and --cuda-graphs, on a session that is otherwise ready. Raises UserError where they cannot be."""
    run = session.options.run
    compile_model(session.model, run.compile, session.device)
    if run.cuda_graphs:
        graphs.check(session.options, session.device)
        session.gradient = graphs.Graphs(session)
    return session


def with_found_rate(session: Session) -> Session:
    """`--lr0 find`: the session again, at the rate that a range test on it suggests."""
    options = session.options
    result = find_rate(session)
    LOGGER.info(f"range test: {result.outcome}")
    rate = peak_of(result, options.run.lr_policy)
    if rate is None:
        raise UserError(f"--lr0 find: {result.outcome}; give a number")
    LOGGER.info(f"--lr0 find: using {rate:.3g}")
    options.hyp.lr0 = rate
    settle(options, session.data.train_index, session.data.classes)  # of which some depends on the rate
    optimizer = build.build_optimizer(options, session.model, session.accumulate)
    schedule = build.build_schedule(options, optimizer, session.data, session.accumulate)
    return dataclasses.replace(session, optimizer=optimizer, schedule=schedule, range_test=result)


def resume(asked: Options, shared: Shared | None = None, ranks: Ranks = ALONE) -> Session:
    """Take up a run from its last.pt. What may change is taken from `asked`; anything else that differs is refused."""
    path = ranks.share(lambda: folder.find_checkpoint(asked.run.resume, asked.run.project))
    state = ranks.share(lambda: checkpoint.load(path))
    if state.get("kind") != "run":
        raise UserError(f"{path}: holds only weights; resume from the run's weights/last.pt")
    try:
        _check_complete(state, path)
        return _resume_from(path, state, asked, shared, ranks)
    except (UserError, torch.OutOfMemoryError):
        raise
    except MALFORMED as error:
        raise _incomplete(path, f"{type(error).__name__}: {error}") from error


def _incomplete(path: Path, reason: str) -> UserError:
    reason = " ".join(reason.split())[:160]
    return UserError(f"{path}: does not hold a whole run ({reason}); use another checkpoint")


def _check_complete(state: dict[str, Any], path: Path) -> None:
    """Raise UserError for options and a place in the run that no run of this program has."""
    try:
        check_bounds(Options.from_dict(state["options"], str(path)))
        progress_from_state(state).check(state["schedule"]["steps_per_epoch"])
    except UserError as error:
        raise _incomplete(path, str(error)) from error


def _resume_from(path: Path, state: dict[str, Any], asked: Options, shared: Shared | None, ranks: Ranks) -> Session:
    where = folder.run_of(path)
    import_plugins(state["plugins"])
    options = Options.from_dict(state["options"], str(path))
    old = asdict(options.run)
    changes.apply(asked, options, state["layout"], where, f"epoch {state['epoch'] + 1}, step {state['step']}")
    _check_unfinished(path, state, options, asked)
    if launch.is_dealt_anew(asked, ranks):
        options.run.parts = ranks.world
    machine = _machine(state, asked, ranks)
    session = assemble(options, *machine, layout=state["layout"], shared=shared, ranks=ranks)
    session.folder = where
    _check_data(path, state, session, asked)
    session.restore(state)
    if session.progress.finished and _is_extended(state, options, asked):
        session.progress.extended_at = session.progress.epoch
    session.progress.finished = False
    _rescale(state, session, old["batch_size"])
    if session.progress.batch > len(session.data.train):
        raise ValueError(f"batch {session.progress.batch} of {len(session.data.train)}")
    session.schedule.apply(max(session.progress.step - 1, 0))  # shows what the optimizer's groups lack
    _log_changes(state, session, old["epochs"])
    if not trunk.take_up(session, state):
        check_best(session)
    return accelerate(session)


def _machine(state: dict[str, Any], asked: Options, ranks: Ranks) -> tuple[torch.device, torch.dtype]:
    """The device and number format the run had, unless another device is asked for."""
    before = state["environment"]
    own = device_of(asked.run, ranks.local_rank)
    if "device" not in asked.given and (ranks.world == 1 or before["device"] == "cpu"):
        own = before["device"]
    device = select_device(own)
    dtype = DTYPES[dtype_name(getattr(torch, before["dtype"]))]
    if device.type != torch.device(before["device"]).type:
        dtype = select_dtype("auto", device)
    elif device.type == "cpu":
        torch.set_num_threads(before["threads"])
    return device, dtype


def _check_unfinished(path: Path, state: dict[str, Any], options: Options, asked: Options) -> None:
    done = state["epoch"]
    as_it_should_be = options.run.noplots or folder.has_pictures(folder.run_of(path))
    if state["finished"] and not _is_extended(state, options, asked) and as_it_should_be:
        remedy = f"to extend it, add --epochs N with N over {done}"
        raise UserError(f"{path}: this run is finished ({counted(done, 'epoch')}); {remedy}")
    begun = done + (state["batch"] > 0)
    if options.run.epochs < begun:
        raise UserError(f"--epochs {options.run.epochs}: the run has reached epoch {begun}; give {begun} or more")


def _is_extended(state: dict[str, Any], options: Options, asked: Options) -> bool:
    return "epochs" in asked.given and options.run.epochs > state["epoch"]


def _check_data(path: Path, state: dict[str, Any], session: Session, asked: Options) -> None:
    names, before = list(session.data.names), state["names"]
    if len(names) != len(before) or (names != before and not asked.run.force):
        remedy = "" if len(names) != len(before) else ", or --force to continue with the new ones"
        raise UserError(f"{path}: 'names' of {session.options.run.data} differ from the run's; give the run's{remedy}")
    if session.fingerprint() != state["fingerprint"] and not asked.run.force:
        what = "the pictures or labels are not those the run was trained on"
        raise UserError(f"{path}: {what}; --force continues anyway")


def _rescale(state: dict[str, Any], session: Session, before: int) -> None:
    """Move the run's place to a new batch size or other data: epochs stay what they were, steps are counted anew."""
    progress, after = session.progress, session.options.run.batch_size
    if after == before and session.fingerprint() == state["fingerprint"]:
        return
    share = state["step"] / state["schedule"]["steps_per_epoch"] - progress.epoch
    steps = round(share * session.steps_per_epoch)  # of this epoch
    progress.step = progress.epoch * session.steps_per_epoch + steps
    progress.batch = min(steps * session.accumulate, len(session.data.train))
    what = "the data changed"
    if after != before:
        progress.at_once, what = 0, f"batch size {before} becomes {after}"
    LOGGER.warning(f"{what}: the run continues, but is no longer identical")


def _log_changes(state: dict[str, Any], session: Session, epochs: int) -> None:
    """Print where the run stands, and what is not as it was."""
    progress, run = session.progress, session.options.run
    at = f"at epoch {progress.epoch + 1} of {run.epochs}, step {progress.step}"
    left = f"where {counted(progress.epoch, 'epoch is', 'epochs are')} trained: the final validation remains"
    LOGGER.info(f"resuming {session.folder} {left if session.is_over() else at}")
    for name, value in environment(session.device).items():
        if value != state["environment"][name]:
            LOGGER.warning(f"{name} was {state['environment'][name]}, now {value}: the run may differ in the last bits")
    caches = [state["options"]["run"]["cache"], run.cache]
    if caches.count("device") == 1 and session.device.type != "cuda":
        LOGGER.warning(f"--cache {caches[0]} becomes {caches[1]}: another renderer, so pictures differ a little")
    if run.freeze and "freeze_epochs" not in state["options"]["run"]:
        LOGGER.warning("frozen layers keep BatchNorm's statistics from here on, which an earlier version updated")
    parts = max(state["options"]["run"].get("parts", 1), 1)
    if run.parts != parts:
        what = f"a batch in {counted(parts, 'part')} now has {run.parts}"
        LOGGER.warning(f"{what}: BatchNorm sees other pictures together")
    if run.epochs != epochs:
        old = schedulers.from_facts(state["schedule"], SimpleNamespace(**state["optimizer"]))  # at its own base rates
        step = min(state["step"], old.policy.total_steps - 1)
        before, after = old.values(step)[1][0], session.schedule.values(progress.step)[1][0]
        LOGGER.info(f"epochs {epochs} become {run.epochs}: the rate here was {before:.3g} and is {after:.3g}")
