"""How numbers are written in reports: average precision to three decimals, times by the clock."""

from __future__ import annotations

from ablation.statistics import Interval

NONE = "-"


def score(value: float | None) -> str:
    """A precision, recall or mAP.

    >>> score(0.41251)
    '0.413'
    """
    return NONE if value is None else f"{value:.3f}"


def gap(value: float | None) -> str:
    """A difference of two scores, with its sign: it says on which side of zero what rounds to it lies.

    >>> gap(-0.0123), gap(-0.0001), gap(0)
    ('-0.012', '-0.000', '0.000')
    """
    if value is None:
        return NONE
    return f"{value:+.3f}" if value else "0.000"


def interval(value: Interval | None, signed: bool = False) -> str:
    """Both ends of an interval of scores, or of differences."""
    if value is None:
        return NONE
    show = gap if signed else score
    return f"{show(value.low)} to {show(value.high)}"


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


def count(number: int, one: str, many: str = "") -> str:
    """
    >>> count(1, "run"), count(3, "run"), count(2, "entry", "entries")
    ('1 run', '3 runs', '2 entries')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
