"""`--batch-size auto`: the largest batch that trains on the device, found by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import torch

from data.batch import Batch
from training import build
from training.range_test import copy_of
from training.session import Session
from training.settle import settle
from utils.device import grad_scaler, synchronize
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
ON_CPU = 16
MARGIN = 0.1  # of the device's memory that stays free
GRAPHS_MARGIN = 0.5  # a graph keeps its memory; the epoch's tail and validation run without one, beside it
BOXES = 32  # a picture, in the trials
LARGEST_SCALE = 1.5  # of --multi-scale
STEPS = 2  # the second begins with the optimizer's state in memory


def largest(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest n in [low, high] that fits, where whatever is less than one that fits does too; 0 where none does.

    Doubles from `low`, then bisects: about 2 log2(high / low) trials, none of more than twice the result.
    """
    good, size = 0, low
    while size <= high and fits(size):
        good, size = size, 2 * size
    bad = min(size, high + 1)
    while good and bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def with_found_batch(run: Session) -> Session:
    """A new session with its batch, and what depends on it, chosen by trial."""
    options, data = run.options, run.data
    size = choose(run)
    options.run.batch_size = data.train.batch_size = size
    data.val.batch_size = 2 * size
    settle(options, data.train_index, data.classes)
    accumulate = build.accumulation(options)
    optimizer = build.build_optimizer(options, run.model, accumulate)
    schedule = build.build_schedule(options, optimizer, data, accumulate)
    return replace(run, accumulate=accumulate, optimizer=optimizer, schedule=schedule)


def choose(run: Session) -> int:
    """By trial on a GPU, 16 elsewhere; at most the number of training pictures, and said.

    Changes neither the run nor any random state. Raises UserError where not even one picture fits.
    """
    pictures = len(run.data.train_index)
    if run.device.type != "cuda":
        size = min(ON_CPU, pictures)
        LOGGER.info(f"--batch-size auto: {size} (the search needs a CUDA device)")
        return size
    size = largest(lambda size: fits(run, size), 1, pictures)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(run.device)
    if size == 0:
        raise UserError(f"--batch-size auto: {run.device} cannot hold one picture; give a smaller --imgsz or --cfg")
    LOGGER.info(f"--batch-size auto: {size}, found by trial with {margin(run):.0%} of the memory left free")
    return size


def fits(run: Session, size: int) -> bool:
    """Whether whole steps of `size` pictures, the largest that can come, pass on a copy with memory to spare."""
    if run.device.type == "cuda":
        torch.cuda.empty_cache()  # what an earlier trial reserved is not this one's need
    try:
        trial, batch = copy_of(run), made_up(run, size)
        trial.scaler = grad_scaler(run.device, torch.float32)  # none: one may skip the steps that make Adam's state
        trial.model.train()
        for _ in range(STEPS):
            trial.gradient(batch)
            trial.step()
        synchronize(run.device)
    except torch.OutOfMemoryError:
        return False
    if run.device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(run.device)  # beside all that the trial reserved
    return free >= margin(run) * total


def margin(run: Session) -> float:
    """The share of the device's memory that a trial has to leave free."""
    return GRAPHS_MARGIN if run.options.run.cuda_graphs else MARGIN


def made_up(run: Session, size: int) -> Batch:
    """Grey pictures with many boxes, as large as --multi-scale draws them."""
    side = run.options.run.imgsz
    if run.options.run.multi_scale:
        side = int(LARGEST_SCALE * side) // run.model.max_stride * run.model.max_stride
    images = torch.full((size, 3, side, side), 114, dtype=torch.uint8, device=run.device)
    place = torch.arange(size, device=run.device, dtype=torch.float32).repeat_interleave(BOXES)
    box = torch.tensor([0, 0.5, 0.5, 0.2, 0.2], device=run.device).expand(len(place), 5)
    return Batch(images, torch.cat((place[:, None], box), 1), torch.arange(size, device=run.device))
