"""The loaders: what a batch holds depends on (seed, epoch, batch) alone, and threads never outlive their use."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.batch import Batch
from data.dealing import deal
from data.index import build_index
from data.letterbox import undo
from data.loader import TrainLoader, ValLoader
from data.plan import Augment, Plan, batch_size_px, order
from data.render import render
from data.store import ImageStore
from tests.data.drawn import STILL, Broken, Drawn, collection, plan_of
from utils.boxes import cxcywh_to_xyxy

ALL = Augment(degrees=10, shear=4, perspective=0.0003, flipud=0.3, mosaic=0.7, mixup=0.3)
INDEX, STORE = collection(23, 64)


def train(**options) -> TrainLoader:
    return TrainLoader(
        INDEX, STORE, **{"augment": ALL, "batch_size": 4, "size": 64, "seed": 5, "workers": 0, **options}
    )


def assert_same(a: list[Batch], b: list[Batch]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x.images, y.images)
        assert torch.equal(x.targets, y.targets)
        assert torch.equal(x.indices, y.indices)
        assert x.letterbox == y.letterbox


def renderers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("render")]


@pytest.mark.parametrize("options", [{}, {"multi_scale": True}, {"rect": True}], ids=["square", "scales", "rectangles"])
def test_workers_do_not_change_a_byte(options):
    expected = list(train(**options).epoch(3))
    for workers in (1, 3):
        assert_same(list(train(workers=workers, **options).epoch(3)), expected)
    assert not renderers()


def test_an_epoch_goes_on_from_any_batch():
    loader = train(workers=2, multi_scale=True)
    whole = list(loader.epoch(1))
    for start in (1, 5, 6):
        assert_same(list(loader.epoch(1, start)), whole[start:])


@settings(deadline=None)
@given(closed_from=st.none() | st.integers(0, 6), epoch=st.integers(0, 6))
def test_a_closed_epoch_is_without_mosaic_and_mixup_and_no_other_is(closed_from: int | None, epoch: int):
    augment = replace(ALL, mosaic9=0.5)
    loaders = train(augment=augment, closed_from=closed_from), train(augment=augment)
    found, before = (loader._request(epoch, 1, np.arange(23)).stacked() for loader in loaders)
    if closed_from is None or epoch < closed_from:
        for field in fields(Plan):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(before, field.name))
        return
    assert (found.sources[:, 0, 0] == before.sources[:, 0, 0]).all()
    assert (found.sources[:, 0, 1:] == -1).all()
    assert (found.sources[:, 1] == -1).all()
    assert (found.ratio == 1).all()
    for name in ("angle", "scale", "shear", "perspective", "shift", "flip", "hsv"):  # the other draws stay
        np.testing.assert_array_equal(getattr(found, name), getattr(before, name))


def test_batches_are_samples_one_by_one():
    batches = list(train(augment=STILL).epoch(2))
    chosen = order(5, 2, len(INDEX))
    assert torch.cat([b.indices for b in batches]).tolist() == chosen.tolist()
    assert [len(b.images) for b in batches] == [4, 4, 4, 4, 4, 3]
    assert len(train()) == 6
    what = plan_of(STILL, 0, len(INDEX))
    for number, batch in enumerate(batches):
        for place, image in enumerate(batch.images):
            what.sources[0, 0] = chosen[number * 4 + place]
            expected, labels = render(what, STORE, INDEX.labels, 64, 64, 64)
            assert np.array_equal(image, expected)
            mine = batch.targets[batch.targets[:, 0] == place]
            np.testing.assert_array_equal(mine[:, 1:], labels)


def test_the_batch_size_does_not_change_a_picture():
    def pictures(size: int) -> torch.Tensor:
        return torch.cat([batch.images for batch in train(batch_size=size).epoch(0)])

    one = pictures(1)
    assert torch.equal(pictures(7), one)
    assert torch.equal(pictures(40), one)


@pytest.mark.parametrize("pictures", range(12))
@pytest.mark.parametrize("parts", range(1, 6))
def test_every_place_is_dealt_once(parts: int, pictures: int) -> None:
    places = range(7, 7 + pictures)
    for world in range(1, parts + 1):
        dealings = [deal(parts, rank, world) for rank in range(world)]
        shares = [share for dealing in dealings for share in dealing.own(places)]
        assert [list(share) for share in shares] == [list(places[part::parts]) for part in range(parts)]
        for dealing in dealings:
            here = [place for share in dealing.own(places) + dealing.others(places) for place in share]
            assert sorted(here) == list(places)
            assert len(dealing.mine) - parts // world in (0, 1)


@pytest.mark.parametrize("options", [{}, {"multi_scale": True}, {"rect": True}], ids=["square", "scales", "rectangles"])
def test_ranks_share_what_one_process_sees(options):
    single = list(train(batch_size=6, **options).epoch(4))
    ranks = [list(train(batch_size=6, dealing=deal(3, r, 3), **options).epoch(4)) for r in range(3)]
    for part in ranks:
        for mine, whole in zip(part, single, strict=True):
            rows = [sorted(targets[:, 1:].tolist()) for targets in (mine.dealt.targets, whole.targets)]
            assert rows[0] == rows[1]
            assert (mine.dealt.pictures, mine.instances) == (len(whole), whole.instances)
    assert {len(batches) for batches in ranks} == {len(single)}
    for number, whole in enumerate(single):
        for r in range(3):
            part = ranks[r][number]
            assert torch.equal(part.images, whole.images[r::3])
            assert torch.equal(part.indices, whole.indices[r::3])


def test_a_rank_without_pictures_left_gets_an_empty_batch():
    last = list(train(batch_size=22, dealing=deal(2, 1, 2)).epoch(0))[-1]
    assert last.images.shape == (0, 3, 64, 64)
    assert last.targets.shape == (0, 6)


def test_scales_are_drawn_for_the_batch():
    sizes = [tuple(batch.images.shape[2:]) for batch in train(multi_scale=True).epoch(0)]
    assert sizes == [(batch_size_px(5, 0, k, 64),) * 2 for k in range(6)]
    assert len(set(sizes)) > 1


def test_training_rectangles_hold_their_pictures():
    seen = []
    for batch in train(rect=True, augment=STILL).epoch(0):
        height, width = batch.images.shape[2:]
        shapes = np.array([STORE.shape(int(i)) for i in batch.indices])
        assert (height, width) == tuple(32 * np.ceil(shapes.max(0) / 32))
        large = [INDEX.labels[i][:, 3:] * STORE.shape(i)[::-1] > 2 for i in batch.indices]
        assert len(batch.targets) == sum(int(sides.all(1).sum()) for sides in large)
        seen += batch.indices.tolist()
    assert sorted(seen) == list(range(len(INDEX)))


def test_targets_lie_in_their_batch():
    for batch in train().epoch(0):
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous()
        assert batch.targets.dtype == torch.float32
        assert batch.indices.dtype == torch.int64
        assert ((batch.targets[:, 0] >= 0) & (batch.targets[:, 0] < len(batch.images))).all()
        assert ((batch.targets[:, 2:] >= 0) & (batch.targets[:, 2:] <= 1)).all()
    moved = batch.to("cpu")
    assert torch.equal(moved.images, batch.images)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_reaches_the_caller(workers):
    loader = TrainLoader(INDEX, Broken(STORE), augment=STILL, batch_size=2, size=64, seed=5, workers=workers)
    at = order(5, 0, len(INDEX)).tolist().index(11) // 2
    batches = loader.epoch(0)
    for _ in range(at):
        next(batches)
    with pytest.raises(OSError, match="picture 11"):
        next(batches)
    assert not renderers()


class Slow(Drawn):
    """A store that takes its time and counts how often it is asked."""

    asked = 0

    def __getitem__(self, i: int) -> np.ndarray:
        self.asked += 1
        time.sleep(0.02)
        return super().__getitem__(i)


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_leaving_an_epoch_stops_its_threads(leave):
    store = Slow(list(STORE) * 20)
    index, _ = collection(len(store), 64)
    index.labels = list(INDEX.labels) * 20
    batches = TrainLoader(index, store, augment=STILL, batch_size=16, size=64, seed=0, workers=2).epoch(0)
    next(batches)
    assert len(renderers()) == 2
    if leave == "close":
        batches.close()
    del batches
    gc.collect()
    assert not renderers()
    asked = store.asked
    assert asked < 48  # two more batches of 16 were under way
    time.sleep(0.1)
    assert store.asked == asked


def test_pictures_are_drawn_only_so_far_ahead():
    store = Slow(list(STORE) * 4)
    index, _ = collection(len(store), 64)
    batches = TrainLoader(index, store, augment=STILL, batch_size=4, size=64, seed=0, workers=2).epoch(0)
    next(batches)
    patience = time.monotonic() + 20
    while store.asked < 12 and time.monotonic() < patience:
        time.sleep(0.01)
    time.sleep(0.1)
    assert store.asked == 12
    batches.close()


def val(**options) -> ValLoader:
    return ValLoader(INDEX, STORE, **{"batch_size": 5, "size": 64, "workers": 0, **options})


@pytest.mark.parametrize("rect", [True, False])
def test_validation_sees_every_picture_once_in_one_order(rect):
    batches = list(val(rect=rect))
    assert_same(list(val(rect=rect, workers=2)), batches)
    assert len(val(rect=rect)) == len(batches)
    assert rect or len(batches) == 5
    assert sorted(torch.cat([b.indices for b in batches]).tolist()) == list(range(len(INDEX)))
    for batch in batches:
        assert len(batch.indices) <= 5
        for shape in (np.array(STORE.shape(int(i))) for i in batch.indices):
            expected = 32 * np.ceil(shape / 32 + 0.5) if rect else (64, 64)
            assert tuple(batch.images.shape[2:]) == tuple(expected)


def test_a_validation_picture_does_not_depend_on_those_beside_it():
    alone = {int(batch.indices[0]): batch.images[0] for batch in val(batch_size=1)}
    for batch in val(batch_size=4):
        assert all(torch.equal(alone[i], image) for i, image in zip(batch.indices.tolist(), batch.images, strict=True))


def test_validation_boxes_lead_back_to_the_original():
    for batch in val():
        height, width = batch.images.shape[2:]
        for place, (i, box) in enumerate(zip(batch.indices.tolist(), batch.letterbox, strict=True)):
            mine = batch.targets[batch.targets[:, 0] == place]
            pixels = cxcywh_to_xyxy(mine[:, 2:]) * torch.tensor([width, height, width, height])
            h, w = INDEX.shapes[i].tolist()
            original = cxcywh_to_xyxy(torch.from_numpy(INDEX.labels[i][:, 1:])) * torch.tensor([w, h, w, h])
            torch.testing.assert_close(undo([pixels], [box])[0], original, rtol=0, atol=1e-3)
            top, left = box.pad[1], box.pad[0]
            h, w = STORE.shape(i)
            shown = batch.images[place, :, top : top + h, left : left + w]
            assert np.array_equal(shown.permute(1, 2, 0), STORE[i])


def test_nothing_to_validate_on():
    empty, none = collection(0, 64)
    empty.shapes = np.zeros((0, 2), np.int32)
    assert list(ValLoader(empty, none, batch_size=4, size=64)) == []


def test_from_files_to_batches(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    rng = np.random.default_rng(0)
    for i, (h, w) in enumerate([(48, 100), (200, 90), (64, 64), (2, 30), (30, 50)]):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
        (tmp_path / "labels" / f"{i}.txt").write_text("1 0.5 0.5 0.4 0.6\n" * (i > 0))
    index = build_index([tmp_path / "images"], 3, root=tmp_path)
    expected = None
    for cache in ("ram", "none"):
        store = ImageStore(index, 64, cache=cache)
        batches = list(TrainLoader(index, store, augment=ALL, batch_size=2, size=64, seed=0).epoch(0))
        batches += list(ValLoader(index, store, batch_size=2, size=64))
        expected = expected or batches
        assert_same(batches, expected)
    assert [b.letterbox[0].shape for b in batches[3:]] == [(2, 30), (48, 100), (64, 64), (200, 90)]
