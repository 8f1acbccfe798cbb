"""Where the time of a step goes: the kernels that take most of it, the share of drawing, and waits for the device."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.gpu.findings import Findings
from benchmarks.gpu.pictures import enlarged
from benchmarks.gpu.setting import Setting
from benchmarks.stages import OneBatch, Watch
from benchmarks.throughput import bare, epoch
from train import train_one_epoch
from training import start
from training.report import READ_EVERY
from training.session import Session
from utils.console.signals import StopRequest
from utils.device import synchronize

KERNELS = 12
SHOWN = 5


def run(setting: Setting, findings: Findings) -> None:
    """yolov5s at 640 pixels in batches of 64, as `throughput` has it."""
    batch = setting.either(64, 4)
    data, cfg = enlarged(setting, setting.either(20 * batch, 3 * batch)), setting.layout("yolov5s")
    flags = f"--epochs 12 --nbs {batch}"
    session = start.prepare(setting.options(flags, data=data, cfg=cfg, imgsz=setting.size(640), batch_size=batch))
    session.is_cycle_end = lambda: False
    watch = Watch(session)
    with session.saver.writer:
        epoch(session, watch)  # makes what is made once: kernels, the optimizer's state
        waits(session, findings, setting.on_gpu)
        drawing(session, watch, findings)
        kernels(session, watch, findings, setting.on_gpu)


def waits(session: Session, findings: Findings, on_gpu: bool) -> None:
    """An epoch in which a wait is an error, its losses not looked at; then one that counts the waits of every kind."""
    reads = -(-len(session.data.train) // READ_EVERY)
    if not on_gpu:  # nothing is waited for
        epoch(session, quiet(session))
        findings.add("waits beside the looks at the losses", 0, bar="waits")
        return
    try:
        with debugged("error"):
            trained(session, quiet(session))
        findings.add("an epoch with waits forbidden", "passed")
    except RuntimeError as error:
        findings.add("an epoch with waits forbidden", " ".join(str(error).split())[:160])
        findings.detail("wait", places(error))
    session.progress.batch = 0
    with warnings.catch_warnings(record=True) as found, debugged("warn"):
        warnings.simplefilter("always")
        trained(session, quiet(session))
    seen = [f"{w.filename}:{w.lineno}" for w in found if "called a synchronizing" in str(w.message)]
    findings.detail("waits", seen)
    findings.detail("looks at the losses an epoch", reads)
    findings.add("waits beside the looks at the losses", len(seen), bar="waits")
    session.progress.batch = 0


@contextmanager
def debugged(mode: str) -> Iterator[None]:
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def quiet(session: Session) -> Watch:
    """A watch that never looks at the losses."""
    watch = Watch(session)
    watch.watch = lambda batches: batches
    watch.step = lambda: None
    return watch


def drawing(session: Session, watch: Watch, findings: Findings) -> None:
    """What drawing a batch costs the device, as a share of a bare step."""
    loader = session.data.train
    times: list[Callable[[], float]] = []
    if hasattr(loader.batches, "render"):  # drawn on the device
        with patch.object(loader.batches, "render", timed(loader.batches.render, session.device, times)):
            epoch(session, watch)
        synchronize(session.device)
        each = sorted(measured() for measured in times)[len(times) // 2]
    else:
        begin = time.perf_counter()
        count = sum(1 for _ in loader.epoch(0))
        each = (time.perf_counter() - begin) / count
    first = next(batches := loader.epoch(0)).to(session.device)
    batches.close()
    fixed = OneBatch(first, len(loader), loader.batch_size)
    step = min(bare(session, watch, fixed) for _ in range(2)) / len(loader)
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    tuned = min(bare(session, watch, fixed) for _ in range(2)) / len(loader)
    torch.backends.cudnn.benchmark = before
    findings.add("bare step with torch.backends.cudnn.benchmark", 1000 * tuned, "ms")
    findings.add("drawing a batch", 1000 * each, "ms")
    findings.add("bare step", 1000 * step, "ms")
    findings.add("drawing, of a bare step", 100 * each / step, "%", bar="augmentation")


def timed(render: Callable, device: torch.device, times: list[Callable[[], float]]) -> Callable:
    """`render`, which leaves in `times` how to learn its seconds on the device; nothing waits meanwhile."""

    def rendered(*inputs: Any) -> Any:
        if device.type != "cuda":
            begin = time.perf_counter()
            made = render(*inputs)
            seconds = time.perf_counter() - begin
            times.append(lambda: seconds)
            return made
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        here = torch.cuda.current_stream(device)
        first.record(here)
        made = render(*inputs)
        last.record(here)
        times.append(lambda: first.elapsed_time(last) / 1000)
        return made

    return rendered


def kernels(session: Session, watch: Watch, findings: Findings, on_gpu: bool) -> None:
    """The kernels (on a CPU: the operations) that take most of an epoch's time, and how busy the GPU is."""
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, *([kinds.CUDA] if on_gpu else [])]) as profiler:
        seconds = epoch(session, watch)
    rows = [
        (e.key, e.self_device_time_total if on_gpu else e.self_cpu_time_total, e.count)
        for e in events(profiler, on_gpu)
    ]
    total = sum(time for _, time, _ in rows) or 1
    rows = sorted(rows, key=lambda row: -row[1])[:KERNELS]
    findings.detail("kernels", [{"name": n, "share": t / total, "calls": c} for n, t, c in rows])
    for name, spent, _ in rows[:SHOWN]:
        findings.add(f"share of the kernels' time: {name[:70]}", 100 * spent / total, "%")
    if on_gpu:
        findings.add("kernels' time over the epoch's, under the profiler", total / 1e6 / seconds)


def events(profiler: torch.profiler.profile, on_gpu: bool) -> list[Any]:
    """Averages by name: of kernels alone on a GPU, whose operations would count them again."""
    found = profiler.key_averages()
    return [e for e in found if not on_gpu or e.device_type == torch.autograd.DeviceType.CUDA]


def trained(session: Session, watch: Watch) -> None:
    """An epoch without the waits of the one that times it."""
    train_one_epoch(session, watch, StopRequest())


def places(error: BaseException) -> list[str]:
    """Where in our code an error was raised."""
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
        trace = trace.tb_next
    return found[-6:]
