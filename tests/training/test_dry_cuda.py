"""The steps of an epoch on tensors of a GPU that is not there: devices do not mix, and nothing waits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException

import train
from benchmarks.stages import Watch
from models.loss import _Rows
from tests.dry_cuda import DryCuda, Stream
from tests.trainer import Killed, Runs, at_step, kill
from training import batch_size, options, start
from training.graphs import WARM_UP
from training.memory import halve_on_out_of_memory
from training.session import Session
from utils.console.signals import StopRequest

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # torch's own, in deepcopy
AUGMENTED = "degrees: 5\nshear: 3\nmosaic: 0.8\nmosaic9: 0.5\nmixup: 0.5\nflipud: 0.3\nperspective: 0.0003\n"


def make(runs: Runs, text: str = "", **changed) -> Session:
    words = runs.flags(text, **{"device": "cuda", "batch_size": 4, "epochs": 2, "dtype": "bf16"} | changed)
    return start.new(options.parse(words, "train.py", "")[0])


def epoch(run: Session) -> int:
    """Train an epoch without looking at the losses, which is the one wait; its steps."""
    watch = Watch(run)
    watch.watch = lambda batches: batches
    watch.step = lambda: None
    before = run.progress.step
    train.train_one_epoch(run, watch, StopRequest())
    return run.progress.step - before


@pytest.mark.parametrize(
    "text", ["", "--cache ram --workers 2", "--multi-scale", "--rect", "--hyp h.yaml", "--batch-size 8 --dtype fp32"]
)
def test_an_epoch_waits_for_nothing(runs: Runs, text: str) -> None:
    """11 pictures: batches of 4, 4, 3, the last a step by itself; kept on the GPU or sent there."""
    Path("h.yaml").write_text(AUGMENTED)
    with DryCuda() as dry:
        run = make(runs, text)
        with dry.nothing_waits():
            assert epoch(run) == 2
    assert run.ema.updates == 2


@pytest.mark.parametrize("text", ["", "--cuda-graphs", "--cache ram --workers 2 --optim adamw"])
def test_a_run_on_another_gpu_than_the_current_one_is_there_alone(runs: Runs, text: str) -> None:
    """A tensor or a stream on the current GPU would be seen: devices would mix, and work would overtake other work."""
    with DryCuda(gpus=2) as dry:
        run = make(runs, text, device="cuda:1")
        with dry.nothing_waits():
            assert epoch(run) == 2
        copy = run.saver.snapshots.take(run.state())
        copy.settle()
        assert Stream.used == {torch.device("cuda:1")}
        assert {p.grad.device for p in run.model.parameters() if p.grad is not None} <= {run.device}
        assert {v.device for v in run.model.state_dict().values()} == {torch.device("cuda:1")}


@pytest.mark.parametrize("text", ["", "--cache ram --workers 2"])
def test_what_a_side_stream_sends_is_waited_for_and_its_memory_kept(runs: Runs, monkeypatch, text: str) -> None:
    """Before a batch is drawn: its event waited for, and each of its tensors kept for the stream that draws."""
    with DryCuda():
        loader = make(runs, text).data.train
        draw, looked = loader.batches._draw, []

        def drawing(sent):
            _, tensors, arrived = sent
            Stream.log.clear()
            batch = draw(sent)
            (first, *kept) = Stream.log
            assert first[:2] == ("wait", "current")
            assert first[2] is arrived
            assert [entry[:2] for entry in kept] == [("keep", "current")] * len(tensors)
            assert all(entry[2] is tensor for entry, tensor in zip(kept, tensors, strict=True))
            looked.append(arrived)
            return batch

        monkeypatch.setattr(loader.batches, "_draw", drawing)
        assert len(list(loader.epoch(0))) == len(looked) == 3
    assert len(set(map(id, looked))) == 3


def test_streams_meet_around_a_recording(runs: Runs) -> None:
    """The warm-up sees what was done before, and what follows sees the warm-up, whose memory it may be given."""
    with DryCuda():
        run = make(runs, "--cuda-graphs")
        run.model.train()
        batch = next(run.data.train.epoch(0))
        Stream.log.clear()
        run.gradient(batch)
    assert Stream.log == [("wait", "side", "current"), ("wait", "current", "side")]


def test_a_save_is_sent_after_what_it_copies_and_read_after_it_arrived(runs: Runs) -> None:
    with DryCuda():
        run = make(runs)
        state = run.state()
        Stream.log.clear()
        copy = run.saver.snapshots.take(state)
        sent = [pack for pack in copy.packs if pack.source is not None]
        assert len(sent) > 1
        steps = [step for pack in sent for step in (("wait", "side", "current"), ("record", "side", pack.arrival))]
        assert Stream.log == steps
        arrivals = [pack.arrival for pack in sent]
        Stream.log.clear()
        copy.settle()
    assert Stream.log == [("synchronize", "", arrival) for arrival in arrivals]


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("optim", ["sgd", "adam", "sgdw", "adamw"])
def test_no_optimizer_waits(runs: Runs, optim: str, dtype: str) -> None:
    """But where a loss scaler has to ask whether a gradient overflowed before a rule of ours may step."""
    with DryCuda() as dry:
        run = make(runs, f"--optim {optim} --clip-grad 9", dtype=dtype)
        if dtype == "fp16" and optim in ("sgdw", "adamw"):
            with pytest.raises(DataDependentOutputException):
                epoch(run)
            return
        with dry.nothing_waits():
            assert epoch(run) == 2
        states = run.optimizer.state.values()
        assert all(v.device.type == "cuda" for state in states for v in state.values() if isinstance(v, torch.Tensor))


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_recording_and_its_replay_wait_for_nothing(runs: Runs, dtype: str) -> None:
    """What is recorded may not wait, or the recording breaks; the epoch's tail runs without one."""
    with DryCuda() as dry:
        run = make(runs, "--cuda-graphs", dtype=dtype)
        grads = [p.grad for p in run.model.parameters()]
        with dry.nothing_waits():
            assert epoch(run) == 2
    assert len(run.gradient.recordings) == 1
    assert all(p.grad is grad for p, grad in zip(run.model.parameters(), grads, strict=True))


def test_a_batch_in_parts_waits_for_nothing(runs: Runs) -> None:
    with DryCuda() as dry:
        run = make(runs)
        plain, failing = run.gradient, [torch.OutOfMemoryError("CUDA out of memory")]

        def gradient(batch):
            if failing:
                raise failing.pop()
            return plain(batch)

        run.gradient = gradient
        with dry.nothing_waits():
            with halve_on_out_of_memory(run):
                epoch(run)
            assert run.at_once == 2
            assert epoch(run) == 2


def test_a_copy_to_be_saved_waits_for_nothing(runs: Runs) -> None:
    """But for the look whether all is finite, which comes before it."""
    with DryCuda() as dry:
        run = make(runs, "--optim adamw")
        epoch(run)
        state, places = run.state(), []
        for _ in range(2):
            with dry.nothing_waits():
                copy = run.saver.snapshots.take(state)
            assert {value.device.type for value in copy.value["ema"].values()} == {"cpu"}
            sent = [pack for pack in copy.packs if pack.source is not None]
            assert sent
            places.append([pack.flat.data_ptr() for pack in sent])
            copy.settle()
            assert all(pack.source is None for pack in copy.packs)
            run.saver.snapshots.give_back(copy)
    assert places[0] == places[1]


class Broken:
    """A recording that memory ran out in, and that therefore cannot be ended."""

    def __init__(self, *_: object, **__: object) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_memory_that_runs_out_in_a_recording_is_known_as_such(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """And training goes on with parts, without recordings."""
    with DryCuda():
        run = make(runs, "--cuda-graphs")
        plain, passes = run.gradient.eager, []

        def eager(batch):
            passes.append(len(batch))
            if len(passes) == WARM_UP + 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return plain(batch)

        run.gradient.eager = eager
        with monkeypatch.context() as patch, halve_on_out_of_memory(run):
            patch.setattr(torch.cuda, "graph", Broken)
            epoch(run)
        assert run.at_once == 2
        assert epoch(run) == 2
        assert passes == [4] * (WARM_UP + 1) + [2, 2, 2, 2, 2, 1]
        assert not run.gradient.recordings


def test_a_run_of_a_cpu_goes_on_on_a_gpu(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything of it there, and laid out as the kernels take it."""
    for optim in ("sgd", "adamw"):
        run = make(runs, f"--optim {optim} --save-steps 1", device="cpu", name=optim)
        with monkeypatch.context() as patch:
            at_step(patch, 2, kill)
            with pytest.raises(Killed):
                train.fit(run, StopRequest())
        run.saver.writer.wait()
        with DryCuda() as dry:
            words = ["--resume", str(run.folder), "--device", "cuda"]
            resumed = start.resume(options.parse(words, "train.py", "")[0])
            assert resumed.progress.step == 1
            resumed.options.run.save_steps = 0  # a save looks first whether all is finite
            with dry.nothing_waits():
                assert epoch(resumed) == 1


@pytest.mark.slow
def test_a_trial_of_a_batch_size_runs_on_the_gpu(runs: Runs) -> None:
    with DryCuda() as dry:
        run = make(runs, "--multi-scale", batch_size="auto")
        assert dry.operations
    assert run.options.run.batch_size == 11
    assert batch_size.margin(run) == 0.1


def test_the_losss_own_backward_waits_for_nothing() -> None:
    with DryCuda() as dry, dry.nothing_waits():
        index = torch.zeros(7, dtype=torch.int64, device="cuda")
        context = SimpleNamespace(saved_tensors=(index,), shape=(5, 8))
        grad, _ = _Rows.backward(context, torch.zeros(7, 8, device="cuda"))
    assert (grad.shape, grad.device.type) == ((5, 8), "cuda")


def test_what_waits_is_noticed() -> None:
    """Of the stand-in itself: each of these would wait on a GPU."""
    with DryCuda() as dry:
        there, here = torch.zeros(3, device="cuda"), torch.zeros(3)
        for wait in (
            there.cpu,
            lambda: here.to("cuda", non_blocking=True),  # not pinned
            lambda: here.pin_memory().to("cuda"),  # not asynchronous
            lambda: there.copy_(here),
            lambda: here.copy_(there, non_blocking=True),
            lambda: torch.tensor([1, 2], device="cuda"),
            lambda: there.new_tensor([1.0, 2.0]),
            lambda: there[[0, 1]],
        ):
            with pytest.raises(AssertionError), dry.nothing_waits():
                wait()
        for wait in (there.sum().item, there.nonzero, lambda: there[there > 0], lambda: bool(there.any())):
            with pytest.raises(Exception, match="aten") as error:
                wait()
            assert "Dynamic" in type(error.value).__name__ or "DataDependent" in type(error.value).__name__
        with dry.nothing_waits():
            here.pin_memory().to("cuda", non_blocking=True)
            here.pin_memory().copy_(there, non_blocking=True)
        with pytest.raises(RuntimeError, match="device"):
            there + here
