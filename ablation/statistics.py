"""How sure a mean over a few repeats is: intervals, and the difference that a whole study can tell apart."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
COARSE = 5  # with fewer repeats a bootstrap interval is too narrow to be taken at its word


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` lies in it."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Summary:
    """Of n values: their mean, standard deviation (n - 1), bootstrap and Student intervals; None where n is 1."""

    n: int
    mean: float
    sd: float | None
    interval: Interval | None
    student: Interval | None


@dataclass(frozen=True)
class Noise:
    """What is left of the values when each cell's and each seed's own level is taken away.

    sd: its standard deviation, pooled over all cells. freedom: its degrees of freedom. cells: how many were compared.
    """

    sd: float
    freedom: int
    cells: int


def summarise(values: Sequence[float]) -> Summary:
    """The summary of (n,) finite values. Raises ValueError where there is none."""
    data = np.sort(np.asarray(values, dtype=float))  # sorted: the order of runs must not change the resamples
    if not data.size or not np.isfinite(data).all():
        raise ValueError(f"a summary needs finite values, not {values}")
    sd = float(data.std(ddof=1)) if data.size > 1 else None
    return Summary(data.size, float(data.mean()), sd, bootstrap_interval(data), student_interval(data))


def bootstrap_interval(values: Sequence[float], level: float = LEVEL, resamples: int = RESAMPLES) -> Interval | None:
    """The percentile bootstrap interval of the mean of (n,) values; None for fewer than two.

    Means of `resamples` draws of n values with replacement, from a generator of fixed seed; the interval holds the
    middle `level` of them (B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979).

    It is too narrow for few values. Of 95 % intervals from normal values, so many hold the true mean: 50 % with n = 2,
    75 % with 3 (it is then the range of the values), 84 % with 5, 90 % with 10. `student_interval` holds it in 95 %.
    """
    data = np.asarray(values, dtype=float)
    if data.size < 2:
        return None
    means = data[_resamples(data.size, resamples)].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


@functools.cache
def _resamples(n: int, resamples: int) -> np.ndarray:
    """Indices (resamples, n) of draws with replacement: the same for every cell, so that equal spreads look equal."""
    return np.random.default_rng(0).integers(0, n, (resamples, n))


def student_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Student's interval of the mean of (n,) values; None for fewer than two. Right at any n, if they are normal."""
    from scipy.stats import t

    data = np.asarray(values, dtype=float)
    if data.size < 2:
        return None
    half = float(t.ppf((1 + level) / 2, data.size - 1)) * float(data.std(ddof=1)) / math.sqrt(data.size)
    return Interval(float(data.mean()) - half, float(data.mean()) + half)


def noise(table: Mapping[int, Mapping[str, float]]) -> Noise | None:
    """The noise of a study whose cell i has the value `table[i][seed]`; None where nothing is left to measure it by.

    Least squares of value = cell + seed over the values there are, so cells may lack seeds.
    """
    rows = [(cell, seed, value) for cell, values in table.items() for seed, value in values.items()]
    cells, seeds = sorted({cell for cell, _, _ in rows}), sorted({seed for _, seed, _ in rows})
    design = np.zeros((len(rows), len(cells) + len(seeds)))
    for i, (cell, seed, _) in enumerate(rows):
        design[i, cells.index(cell)] = design[i, len(cells) + seeds.index(seed)] = 1
    target = np.array([value for _, _, value in rows])
    if len(cells) < 2 or not rows:
        return None
    fit, _, rank, _ = np.linalg.lstsq(design, target - target.mean(), rcond=None)
    freedom = len(rows) - int(rank)
    if freedom < 1:
        return None
    rest = target - target.mean() - design @ fit
    return Noise(float(np.sqrt(rest @ rest / freedom)), freedom, len(cells))


def margin(noise: Noise, pairs: int, level: float = LEVEL) -> float:
    """The difference between two cells over `pairs` common seeds that noise passes in 1 - level of studies at most.

    Tukey's honestly significant difference: it allows for every pair of cells, so for picking the best of them too. It
    takes the noise to be normal and as wide in every cell.
    """
    return _studentized_range(level, noise.cells, noise.freedom) * noise.sd / math.sqrt(pairs)


@functools.cache
def _studentized_range(level: float, cells: int, freedom: int) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(level, cells, freedom))
