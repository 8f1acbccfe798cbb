"""Loaders that draw on a device: the host loader's batches, of pictures kept or sent there, waiting for nothing."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from data.dealing import deal
from data.device import DeviceBatches, OrEager, _Inline
from data.loader import TrainLoader, ValLoader
from data.pixels import Pixels, Resident, Staged
from data.plan import Augment, batch_size_px
from tests.data.drawn import Broken, Drawn, collection
from tests.data.test_loader import assert_same, renderers

ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]
ALL = Augment(degrees=10, shear=4, perspective=0.0003, flipud=0.3, mosaic=0.7, mosaic9=0.3, mixup=0.3)
INDEX, STORE = collection(23, 64)
VARIANTS = {"square": {}, "scales": {"multi_scale": True}, "rectangles": {"rect": True}}


def train(pixels: Pixels | Drawn, **options) -> TrainLoader:
    return TrainLoader(
        INDEX, pixels, **{"augment": ALL, "batch_size": 4, "size": 64, "seed": 5, "workers": 0, **options}
    )


def resident(device: str = "cpu", store: Drawn = STORE) -> Resident:
    return Resident(store, torch.device(device), workers=2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_kept_or_sent_and_by_however_many_threads(options, device):
    expected = list(train(resident(device), **options).epoch(3))
    assert_same(list(train(Staged(STORE, torch.device(device)), **options).epoch(3)), expected)
    for workers in (1, 3):
        assert_same(list(train(resident(device), workers=workers, **options).epoch(3)), expected)
        assert_same(list(train(Staged(STORE, torch.device(device)), workers=workers, **options).epoch(3)), expected)
    assert not renderers()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_the_host_loader_makes_the_same(options, device):
    """The same pictures and labels in the same batches; pixels as far as renderers agree, see test_render_batch."""
    both = zip(train(resident(device), **options).epoch(1), train(STORE, **options).epoch(1), strict=True)
    for ours, host in both:
        assert ours.images.device.type == device
        assert ours.images.is_contiguous(memory_format=torch.channels_last)
        ours = ours.to("cpu")
        assert torch.equal(ours.indices, host.indices)
        assert torch.equal(ours.targets, host.targets)
        assert ours.images.shape == host.images.shape
        assert (ours.images.float() - host.images.float()).abs().mean() < 0.6


def test_an_epoch_goes_on_from_any_batch():
    loader = train(resident(), workers=2, multi_scale=True)
    whole = list(loader.epoch(1))
    assert [b.images.shape[2] for b in whole] == [batch_size_px(5, 1, k, 64) for k in range(6)]
    for start in (1, 5, 6):
        assert_same(list(loader.epoch(1, start)), whole[start:])
    assert not torch.equal(next(loader.epoch(2)).targets, whole[0].targets)


def assert_whole_is_known(part: list, single: list) -> None:
    """Each dealt batch knows the labels of all its pictures, whoever draws them."""
    for mine, whole in zip(part, single, strict=True):
        assert mine.dealt.pictures == len(whole)
        assert mine.instances == whole.instances
        assert torch.equal(mine.dealt.targets[: len(mine.targets)], mine.targets)
        rows = [sorted(targets[:, 1:].tolist()) for targets in (mine.dealt.targets, whole.targets)]
        assert rows[0] == rows[1]
        assert mine.dealt.targets[:, 0].unique().numel() == whole.targets[:, 0].unique().numel()


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_ranks_share_what_one_process_sees(options):
    single = list(train(resident(), batch_size=6, **options).epoch(4))
    for r in range(3):
        part = list(train(Staged(STORE, torch.device("cpu")), batch_size=6, dealing=deal(3, r, 3), **options).epoch(4))
        assert all(torch.equal(p.images, s.images[r::3]) for p, s in zip(part, single, strict=True))
        assert_whole_is_known(part, single)
    last = list(train(resident(), batch_size=22, dealing=deal(2, 1, 2)).epoch(0))[-1]
    assert last.images.shape == (0, 3, 64, 64)
    assert last.targets.shape == (0, 6)
    assert last.instances > 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rect", [True, False])
def test_validation_is_the_host_loaders_to_the_byte(rect, device):
    def val(store) -> list:
        return [b.to("cpu") for b in ValLoader(INDEX, store, batch_size=5, size=64, rect=rect, workers=2)]

    expected = val(STORE)
    assert_same(val(resident(device)), expected)
    assert_same(val(Staged(STORE, torch.device(device))), expected)


def test_only_what_a_batch_needs_is_sent():
    """Every picture once, in a buffer of a few sizes."""
    staged, asked = Staged(STORE, torch.device("cpu")), []
    batches = DeviceBatches(INDEX, staged, 0)
    for request in (train(staged)._request(0, b, np.arange(23)) for b in range(6)):
        job = batches._prepare(request)
        sources = {int(s) for k in range(len(request.indices)) for s in request.plan(k).sources.ravel() if s >= 0}
        assert job.wanted.tolist() == sorted(sources)
        asked.append(len(staged.load(job.wanted, _Inline())()))
    assert len(set(asked)) == 1


def test_decoding_in_chunks_changes_nothing(monkeypatch):
    whole = resident()
    monkeypatch.setattr("data.pixels.CHUNK", 9000)  # pixels: two or three pictures
    parts = resident()
    assert torch.equal(whole.pixels, parts.pixels)
    monkeypatch.setattr("data.pixels.CHUNK", 1)
    assert torch.equal(whole.pixels, resident().pixels)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_reaches_the_caller(workers):
    before = threading.active_count()
    with pytest.raises(OSError, match="picture 11"):
        list(train(Staged(Broken(STORE), torch.device("cpu")), workers=workers).epoch(0))
    with pytest.raises(OSError, match="picture 11"):
        resident(store=Broken(STORE))
    assert threading.active_count() == before


def test_leaving_an_epoch_stops_its_threads():
    batches = train(Staged(STORE, torch.device("cpu")), workers=2).epoch(0)
    next(batches)
    assert renderers()
    batches.close()
    assert not renderers()


def test_without_a_compiler_pictures_are_drawn_all_the_same(caplog):
    def broken(*inputs):
        raise RuntimeError("Failed to find C compiler")

    plain, fallen = train(resident()), train(resident())
    fallen.batches.render = OrEager(broken)
    assert_same(list(fallen.epoch(0)), list(plain.epoch(0)))
    assert sum("Failed to find C compiler" in record.message for record in caplog.records) == 1


def test_memory_that_runs_out_is_not_taken_for_a_missing_compiler():
    def full(*inputs):
        raise torch.OutOfMemoryError

    loader = train(resident())
    loader.batches.render = OrEager(full)
    with pytest.raises(torch.OutOfMemoryError):
        next(loader.epoch(0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", [Resident, Staged])
def test_nothing_waits_for_the_device(kind):
    device = torch.device("cuda")
    loader = train(kind(STORE, device), workers=2)
    list(loader.epoch(1))  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        images = [batch.images for batch in loader.epoch(1)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(images) == len(loader)
