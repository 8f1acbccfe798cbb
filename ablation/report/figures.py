"""How numbers are written in reports: average precision to the decimals its noise leaves, times by the clock."""

from __future__ import annotations

import math

from ablation.ranking import Ranking
from ablation.statistics import Interval

NONE = "-"
FEWEST, MOST = 3, 8  # decimals of a score


def decimals(ranking: Ranking) -> int:
    """Of the scores of a study: two digits of the noise of a run, or of the largest mean where that is not known."""
    means = [entry.summary.mean for entry in ranking.entries]
    noise = ranking.noise.sd if ranking.noise else 0.0
    size = noise if noise > 10**-MOST else max(means, default=0.0)  # less is rounding
    return min(max(FEWEST, 1 - math.floor(math.log10(size))), MOST) if size > 0 else FEWEST


def score(value: float | None, digits: int = FEWEST) -> str:
    """A precision, recall or mAP.

    >>> score(0.41251), score(0.000123, 5)
    ('0.413', '0.00012')
    """
    return NONE if value is None else f"{value:.{digits}f}"


def gap(value: float | None, digits: int = FEWEST) -> str:
    """A difference of two scores, with its sign: it says on which side of zero what rounds to it lies.

    >>> gap(-0.0123), gap(-0.0001), gap(0)
    ('-0.012', '-0.000', '0.000')
    """
    if value is None:
        return NONE
    return f"{value:+.{digits}f}" if value else f"{0:.{digits}f}"


def interval(value: Interval | None, digits: int = FEWEST, signed: bool = False) -> str:
    """Both ends of an interval of scores, or of differences."""
    if value is None:
        return NONE
    show = gap if signed else score
    return f"{show(value.low, digits)} to {show(value.high, digits)}"


def rate(value: float | None) -> str:
    """A learning rate, to three digits."""
    return NONE if value is None else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them.

    >>> duration(7.25), duration(75), duration(7500)
    ('7.2 s', '1 min 15 s', '2 h 05 min')
    """
    if seconds is None:
        return NONE
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
