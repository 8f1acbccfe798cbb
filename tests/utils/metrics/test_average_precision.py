from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.metrics import CONFIDENCES, evaluate_boxes, matching
from utils.metrics.coco_json import CocoJson


def pycocotools(predictions, targets, classes, max_det=300) -> tuple[float, float]:
    """Its mAP50 and mAP50-95 on the same boxes."""
    names = [str(c) for c in range(classes)]
    coco = CocoJson([f"{i}.jpg" for i in range(len(targets))], np.full((len(targets), 2), 640), names)
    for i, (found, truth) in enumerate(zip(predictions, targets, strict=True)):
        coco.add(i, found, truth)
    table = coco.evaluate(max_det)
    return (0.0, 0.0) if table is None else (table.map50, table.map)


def assert_equals_pycocotools(predictions, targets, classes, max_det=300) -> None:
    metrics = evaluate_boxes(predictions, targets, classes, max_det)
    expected = pycocotools(predictions, targets, classes, max_det)
    assert (metrics.map50, metrics.map) == pytest.approx(expected, abs=1e-9, rel=0)


def pictures(seed, count, classes, found, truth, *, jitter=6.0, levels=0):
    """Random pictures: detections are shifted copies of true boxes and noise; `levels` scores, to make ties."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(count):
        m, n = rng.integers(0, truth + 1), rng.integers(0, found + 1)
        corner, size = rng.uniform(0, 500, (m + 1, 2)), rng.uniform(4, 140, (m + 1, 2))
        kind = rng.integers(0, classes, (m + 1, 1))
        boxes = np.concatenate((corner, corner + size), 1)
        pick = rng.integers(0, m + 1, n)
        moved = boxes[pick] + rng.normal(0, jitter, (n, 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        score = rng.uniform(0, 1, (n, 1))
        score = np.round(score * levels) / levels if levels else score
        label = np.where(rng.uniform(size=(n, 1)) < 0.8, kind[pick], rng.integers(0, classes, (n, 1)))
        predictions.append(torch.tensor(np.concatenate((moved, score, label), 1), dtype=torch.float32))
        targets.append(torch.tensor(np.concatenate((kind[:m], boxes[:m]), 1), dtype=torch.float32))
    return predictions, targets


CASES = {
    "one class": {"seed": 0, "count": 40, "classes": 1, "found": 20, "truth": 6},
    "many classes, most absent from most pictures": {"seed": 1, "count": 60, "classes": 80, "found": 40, "truth": 12},
    "ties": {"seed": 2, "count": 40, "classes": 3, "found": 40, "truth": 10, "levels": 4},
    "all scores equal": {"seed": 3, "count": 30, "classes": 2, "found": 30, "truth": 10, "levels": 1},
    "crowds": {"seed": 4, "count": 6, "classes": 2, "found": 500, "truth": 120, "levels": 50},
    "no labels anywhere": {"seed": 5, "count": 10, "classes": 3, "found": 10, "truth": 0},
    "no detections anywhere": {"seed": 6, "count": 10, "classes": 3, "found": 0, "truth": 5},
    "exact boxes": {"seed": 7, "count": 30, "classes": 3, "found": 10, "truth": 8, "jitter": 0.0},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_pycocotools(name):
    predictions, targets = pictures(**CASES[name])
    assert_equals_pycocotools(predictions, targets, CASES[name]["classes"])


@pytest.mark.parametrize("max_det", [100, 150, 300])
def test_the_limit_of_detections_is_that_of_pycocotools(max_det):
    predictions, targets = pictures(8, 3, 2, 1200, 60, levels=30, jitter=20.0)
    assert max(len(p) for p in predictions) > 2 * 300
    assert_equals_pycocotools(predictions, targets, 2, max_det)


def test_crowds_in_small_portions_give_the_same(monkeypatch):
    predictions, targets = pictures(9, 5, 2, 200, 50)
    whole = evaluate_boxes(predictions, targets, 2)
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 37)
    assert evaluate_boxes(predictions, targets, 2).map == whole.map > 0


corner, side = st.integers(0, 6), st.integers(1, 6)
box = st.tuples(corner, corner, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
truth_row = st.tuples(st.integers(0, 2), box).map(lambda r: [r[0], *r[1]])
found_row = st.tuples(box, st.integers(1, 4), st.integers(0, 3)).map(lambda r: [*r[0], r[1] / 4, r[2]])
picture = st.tuples(st.lists(found_row, max_size=8), st.lists(truth_row, max_size=6))


@settings(max_examples=100, deadline=None)
@given(st.lists(picture, min_size=1, max_size=4))
def test_equals_pycocotools_on_coarse_grids_full_of_ties(drawn):
    # classes 0 to 3: class 3 is never labelled; whole-number boxes give equal overlaps and overlaps on a threshold
    predictions = [torch.tensor(found, dtype=torch.float32).reshape(-1, 6) for found, _ in drawn]
    targets = [torch.tensor(truth, dtype=torch.float32).reshape(-1, 5) for _, truth in drawn]
    assert_equals_pycocotools(predictions, targets, 4)


def one_picture(found, truth):
    return [torch.tensor(found).reshape(-1, 6)], [torch.tensor(truth).reshape(-1, 5)]


def test_average_precision_worked_by_hand():
    hit, miss = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]
    other = [20.0, 20.0, 30.0, 30.0]
    found, truth = [[*hit, 0.9, 0], [*miss, 0.8, 0], [*other, 0.7, 0]], [[0, *hit], [0, *other]]
    metrics = evaluate_boxes(*one_picture(found, truth), 1)
    # precision 1 at recalls 0 to 0.50, then 2/3 at recalls 0.51 to 1
    assert metrics.map50 == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)
    # F1 is best when all three count: P = 2/3, R = 1, F1 = 0.8 (over the first alone: 2/3)
    assert (metrics.precision, metrics.recall) == pytest.approx((2 / 3, 1.0))
    assert (metrics.images, metrics.instances) == (1, 2)
    assert metrics.fitness == pytest.approx(0.1 * metrics.map50 + 0.9 * metrics.map)


def test_of_equal_overlaps_the_last_box_is_taken():
    # the sure one lies half way between both boxes and takes the second, so that nothing is left for the other
    truth = [[0, 0.0, 0.0, 10.0, 10.0], [0, 4.0, 0.0, 14.0, 10.0]]
    found = [[2.0, 0.0, 12.0, 10.0, 0.9, 0], [4.0, 0.0, 14.0, 10.0, 0.8, 0]]
    assert evaluate_boxes(*one_picture(found, truth), 1).map50 == pytest.approx(51 / 101)
    assert evaluate_boxes(*one_picture(found, truth[::-1]), 1).map50 == pytest.approx(1.0)


def test_the_surer_detection_chooses_first():
    # both overlap both boxes; the sure one takes the better, and the other, which fits it exactly, gets the worse
    truth = [[0, 0.0, 0.0, 10.0, 10.0], [0, 0.0, 0.0, 10.0, 8.0]]
    found = [[0.0, 0.0, 10.0, 9.6, 0.9, 0], [0.0, 0.0, 10.0, 10.0, 0.8, 0]]
    metrics = evaluate_boxes(*one_picture(found, truth), 1)
    # at IoU 0.95: the first takes box 0 (0.96); the second has 0.8 with box 1 and counts as false
    assert metrics.per_class[0].ap50 == pytest.approx(1.0)
    assert_equals_pycocotools(*one_picture(found, truth), 1)
    assert metrics.map == pytest.approx((7 * 1.0 + 3 * 51 / 101) / 10, abs=1e-9)


def naive_counts(predictions, targets, kind, confidence):
    """Detections of a class with score >= confidence, and the true ones, by plain loops at IoU 0.5."""
    shown = true = 0
    for found, truth in zip(predictions, targets, strict=True):
        free = [row[1:] for row in truth.tolist() if row[0] == kind]
        rows = sorted((r for r in found.tolist() if r[5] == kind and r[4] >= confidence), key=lambda r: -r[4])
        shown += len(rows)
        for x1, y1, x2, y2, *_ in rows:
            overlaps = []
            for a1, b1, a2, b2 in free:
                inter = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
                overlaps.append(inter / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inter))
            if overlaps and max(overlaps) >= 0.5:
                free.pop(overlaps.index(max(overlaps)))
                true += 1
    return shown, true


def test_curves_count_what_plain_loops_count():
    predictions, targets = pictures(10, 12, 3, 15, 6)
    metrics = evaluate_boxes(predictions, targets, 3)
    curves, f1s = metrics.curves, []
    assert curves.classes == (0, 1, 2)
    for step in range(0, 1000, 111):
        rows = []
        for kind in range(3):
            shown, true = naive_counts(predictions, targets, kind, CONFIDENCES[step])
            total = sum(int((t[:, 0] == kind).sum()) for t in targets)
            p, r = (true / shown if shown else 1.0), true / total
            assert float(curves.precision[kind, step]) == pytest.approx(p)
            assert float(curves.recall[kind, step]) == pytest.approx(r)
            rows.append(2 * p * r / (p + r) if p + r else 0.0)
        f1s.append(np.mean(rows))
        assert float(curves.f1[:, step].mean()) == pytest.approx(f1s[-1])
    best = int(np.searchsorted(CONFIDENCES, metrics.confidence))
    assert float(curves.f1.mean(0)[best]) == float(curves.f1.mean(0).max())
    assert float(curves.f1.mean(0)[best]) >= max(f1s) - 1e-12
    assert metrics.precision == pytest.approx(float(curves.precision[:, best].mean()))
    assert metrics.recall == pytest.approx(float(curves.recall[:, best].mean()))


def test_classes_without_labels_have_no_part_in_the_means():
    predictions, targets = pictures(11, 20, 2, 10, 5)
    narrow, wide = evaluate_boxes(predictions, targets, 2), evaluate_boxes(predictions, targets, 5)
    assert (wide.map, wide.precision, wide.recall) == (narrow.map, narrow.precision, narrow.recall)
    assert [row.index for row in wide.per_class] == [0, 1]
    for row in wide.per_class:
        assert row.images == sum(bool((t[:, 0] == row.index).any()) for t in targets)
        assert row.instances == sum(int((t[:, 0] == row.index).sum()) for t in targets)


def test_the_order_of_pictures_does_not_matter_without_ties():
    predictions, targets = pictures(12, 20, 3, 15, 5)
    backwards = evaluate_boxes(predictions[::-1], targets[::-1], 3)
    assert backwards.map == pytest.approx(evaluate_boxes(predictions, targets, 3).map, abs=1e-12)


def test_nothing_at_all_is_zero():
    for lists in (([], []), ([torch.zeros(0, 6)], [torch.zeros(0, 5)])):
        metrics = evaluate_boxes(*lists, 3)
        assert (metrics.precision, metrics.recall, metrics.map50, metrics.map, metrics.per_class) == (0, 0, 0, 0, [])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="1 pictures predicted, 2 with targets"):
        evaluate_boxes([torch.zeros(0, 6)], [torch.zeros(0, 5)] * 2, 1)
    with pytest.raises(ValueError, match="class 2 where there are 2"):
        evaluate_boxes(*one_picture([[0.0, 0.0, 1.0, 1.0, 0.5, 2]], []), 2)
    with pytest.raises(ValueError, match="class -1"):
        evaluate_boxes(*one_picture([], [[-1.0, 0.0, 0.0, 1.0, 1.0]]), 2)


def test_tensors_made_in_inference_mode_can_be_scored():
    predictions, targets = pictures(13, 5, 2, 10, 5)
    with torch.inference_mode():
        made = [p + 0 for p in predictions]
    assert evaluate_boxes(made, targets, 2).map == evaluate_boxes(predictions, targets, 2).map


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_a_cpu_gives():
    predictions, targets = pictures(14, 50, 5, 60, 10, levels=20)
    there = evaluate_boxes([p.cuda() for p in predictions], targets, 5)
    here = evaluate_boxes(predictions, targets, 5)
    assert (there.map50, there.map, there.precision) == pytest.approx((here.map50, here.map, here.precision), abs=1e-12)
