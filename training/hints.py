"""What the curves of a finished run say about the next one: a line each, and none without evidence.

Every hint is a pure function of the rows of results.csv or of the last validation's figures; it returns its line, or
an empty one. `of_run` puts those of a run together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from training.run import Run
from utils.console.wording import counted
from utils.metrics import Metrics
from utils.tracker import METRICS, VAL_LOSSES

Rows = Sequence[Mapping[str, float]]
MAP50, MAP = METRICS[2:]
TRAIN_LOSSES = ("train/box_loss", "train/obj_loss", "train/cls_loss")
FEWEST = 10  # epochs from which curves are read
RISE = 0.01  # mAP50-95 from a fifth of the run to the next that counts as rising
NOISE = 2.0  # standard errors that a rise must be of
APART, TURNED = 1.5, 1.1  # validation's loss over training's; over its own lowest
JUMP, FALL = 1.5, 0.5  # a diverged epoch's loss over the lowest before; its mAP50 over the best before
DIFFERENCE = 0.02  # of mAP50 that one wants to see
FOUND = 0.005  # AP50 below which a class counts as never found


def of_run(run: Run, rows: Rows, metrics: Metrics | None) -> list[str]:
    """The hints of a run that is over; `metrics` are those of its best weights."""
    lines = [still_rising(rows), overfitting(rows), diverged(rows)]
    if metrics is not None and metrics.instances:
        index = run.data.train_index
        trained = [0] * run.data.classes
        for i in range(len(index)):
            for kind in index.labels[i][:, 0]:
                trained[int(kind)] += 1
        counts = {c.index: c.instances for c in metrics.per_class}
        ap50 = {c.index: c.ap50 for c in metrics.per_class}
        lines += [never_found(ap50, counts, trained, run.data.names), too_few(ap50, counts)]
    return [line for line in lines if line]


def still_rising(rows: Rows) -> str:
    """Where the last fifth of the epochs is above the fifth before, within itself too, by more than their noise."""
    curve = [row[MAP] for row in rows if math.isfinite(row[MAP])]
    if len(curve) < FEWEST or len(curve) < len(rows):
        return ""
    n = len(curve) // 5
    before, last = curve[-2 * n : -n], curve[-n:]
    steps = [b - a for a, b in zip(curve[-2 * n :], curve[-2 * n + 1 :], strict=False)]
    # of the difference of two means; a step has twice an epoch's variance
    noise = statistics.stdev(steps) / math.sqrt(n)
    rise = statistics.fmean(last) - statistics.fmean(before)
    if rise < max(RISE, NOISE * noise) or statistics.fmean(last[n // 2 :]) <= statistics.fmean(last[: (n + 1) // 2]):
        return ""
    return f"mAP50-95 was still rising, by {rise:.3f} over the last {counted(n, 'epoch')}: more --epochs may give more"


def overfitting(rows: Rows) -> str:
    """Where validation's loss is far above training's, and has turned."""
    train = [sum(row[name] for name in TRAIN_LOSSES) for row in rows]
    val = [sum(row[name] for name in VAL_LOSSES) for row in rows]
    if len(rows) < FEWEST or not all(map(math.isfinite, [*train, *val])):
        return ""
    n = len(rows) // 5
    ours, theirs = statistics.fmean(train[-n:]), statistics.fmean(val[-n:])
    lowest = min(range(len(val)), key=val.__getitem__)
    if theirs < APART * ours or theirs < TURNED * val[lowest] or lowest >= len(val) - n:
        return ""
    turned = f"validation's loss turned after epoch {lowest + 1} and ended at {theirs:.3f}, training's at {ours:.3f}"
    return f"{turned}: more pictures or stronger augmentation (--hyp high.yaml)"


def diverged(rows: Rows) -> str:
    """Where an epoch's loss jumped above the lowest before it and what had been learned was lost."""
    lowest, best = math.inf, 0.0
    for row in rows:
        loss = sum(row[name] for name in TRAIN_LOSSES)
        found = row[MAP50] if math.isfinite(row[MAP50]) else best
        if loss > JUMP * lowest and found < FALL * best:
            rose = f"in epoch {int(row['epoch']) + 1} the loss rose from {lowest:.3f} to {loss:.3f}"
            return f"{rose} at a rate of {row['x/lr1']:.3g}: a lower --lr0"
        lowest, best = min(lowest, loss), max(best, found)
    return ""


def never_found(
    ap50: Mapping[int, float], counts: Mapping[int, int], trained: Sequence[int], names: Sequence[str]
) -> str:
    """Classes of which validation has boxes and none was found; `counts` and `trained` are boxes a class."""
    lost = [kind for kind, found in ap50.items() if counts[kind] and found < FOUND]
    if not lost or len(lost) == len(ap50):  # where nothing at all was found, the table says so
        return ""
    each = [f"{names[kind]} ({trained[kind]} boxes to train on)" for kind in lost[:3]]
    others = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return f"never found: {', '.join(each)}{others}: more such boxes, or a higher --cls"


def too_few(ap50: Mapping[int, float], counts: Mapping[int, int]) -> str:
    """Where validation's boxes are too few to tell DIFFERENCE apart: twice the standard error is more than that.

    The standard error is that of the mean of shares found, sqrt(sum AP (1 - AP) / n) / classes: AP taken for the share
    of a class's n boxes that is found. It says how much is at stake by chance, not more.
    """
    kinds = [kind for kind in ap50 if counts[kind]]
    # none or all is no certainty
    shares = {kind: (ap50[kind] * counts[kind] + 1) / (counts[kind] + 2) for kind in kinds}
    variance = sum(p * (1 - p) / counts[kind] for kind, p in shares.items()) / max(len(kinds), 1) ** 2
    error = 2 * math.sqrt(variance)
    if error <= DIFFERENCE:
        return ""
    boxes = sum(counts.values())
    wanted = math.ceil(boxes * (error / DIFFERENCE) ** 2 / 100) * 100
    known = f"validation has {counted(boxes, 'box', 'boxes')}: mAP50 is known to about {error:.2f} either way"
    return f"{known}; to tell {DIFFERENCE} apart takes about {wanted:,}"
