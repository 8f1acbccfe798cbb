"""Do the anchors reach the boxes of a data set? If not, find better ones: k-means, then a little evolution."""

from __future__ import annotations

import numpy as np
import torch

from models.detector import Detector

ENOUGH = 0.98  # best possible recall at which the anchors stay as they are
MINIMUM = 2.0  # pixels; smaller boxes are not trained on
_SAMPLE = 10_000  # boxes that the search looks at
_RESTARTS = 10
_GENERATIONS = 300


def fit_anchors(model: Detector, sizes: np.ndarray, *, anchor_t: float = 4.0, seed: int = 0, anew: bool = False) -> str:
    """Check the anchors of `model` against boxes of `sizes` (N, 2) pixels at training size; better them if need be.

    A box is reachable when some anchor differs from it by under a factor of `anchor_t` in both sides; the share of
    these is the best recall training can reach. Below 98 %, or with `anew` whatever it is, the anchors are estimated
    anew from the boxes, and taken if they reach more. Equal arguments give equal anchors; no global random state is
    touched. Returns the line to log.
    """
    head = model.head
    sizes = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    usable = sizes[(sizes >= MINIMUM).all(1)]
    if not len(usable):
        return f"anchors: no boxes of {MINIMUM:g} px or more to check them against; kept as they are"
    current = (head.anchors * head.stride.view(-1, 1, 1)).detach().double().cpu().numpy().reshape(-1, 2)
    before = recall(usable, current, anchor_t)
    line = f"anchors: {before:.1%} of {len(usable)} boxes reachable (ratio of sides under {anchor_t:g})"
    if before >= ENOUGH and not anew:
        return line
    distinct = len(np.unique(usable, axis=0))
    if distinct < len(current):
        return f"{line}; {distinct} different sizes are too few to estimate {len(current)} anchors, kept as they are"
    found = estimate(usable, len(current), anchor_t, seed)
    after = recall(usable, found, anchor_t)
    if after < before or (after == before and not anew):
        return f"{line}; k-means reaches no more ({after:.1%}), kept as they are"
    by_map = torch.from_numpy(found).view(*head.anchors.shape)
    head.set_anchors(by_map[head.stride.argsort().argsort()])  # the smallest to the finest map
    listing = " ".join(f"{w:.0f},{h:.0f}" for w, h in found)
    return f"{line}; estimated from the data set: {after:.1%} with {listing}"


def recall(sizes: np.ndarray, anchors: np.ndarray, anchor_t: float) -> float:
    """Share of `sizes` (N, 2) that some anchor of `anchors` (k, 2) answers for, same unit."""
    return float((_closeness(sizes, anchors) > 1 / anchor_t).mean())


def estimate(sizes: np.ndarray, k: int, anchor_t: float, seed: int) -> np.ndarray:
    """(k, 2) anchors for `sizes` (N, 2), from small to large area. Needs at least k different sizes."""
    rng = np.random.default_rng(seed)
    if len(sizes) > _SAMPLE:
        sizes = np.concatenate((rng.choice(sizes, _SAMPLE, replace=False), _spread(sizes, k)))
    anchors = _evolve(_k_means(sizes, k, rng), sizes, anchor_t, rng)
    return anchors[np.argsort(anchors.prod(1), kind="stable")]


def _closeness(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """For every box the worse ratio of sides, in (0, 1], with the anchor where that is best: (N,)."""
    ratio = sizes[:, None] / anchors[None]
    return np.minimum(ratio, 1 / ratio).min(2).max(1)


def _spread(sizes: np.ndarray, k: int) -> np.ndarray:
    """k different sizes, evenly spread over those there are by area."""
    distinct = np.unique(sizes, axis=0)
    distinct = distinct[np.argsort(distinct.prod(1), kind="stable")]
    return distinct[np.linspace(0, len(distinct) - 1, k).round().astype(int)]


def _k_means(sizes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Means of the best of several runs on whitened sizes, each from k different boxes."""
    from scipy.cluster.vq import kmeans  # slow to import, and rarely needed

    spread = sizes.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    distinct = np.unique(sizes, axis=0)
    best, least = _spread(sizes, k), np.inf
    for _ in range(_RESTARTS):
        start = distinct[rng.choice(len(distinct), k, replace=False)]
        means, distortion = kmeans(sizes / spread, start / spread)
        if len(means) == k and distortion < least:  # a mean that lost all its boxes is dropped
            best, least = means * spread, distortion
    return best


def _evolve(anchors: np.ndarray, sizes: np.ndarray, anchor_t: float, rng: np.random.Generator) -> np.ndarray:
    """Random changes of a few sides, kept when more boxes are reached, or as many more closely."""

    def fitness(candidate: np.ndarray) -> float:
        closeness = _closeness(sizes, candidate)
        return float(np.where(closeness > 1 / anchor_t, closeness, 0).mean())

    best = fitness(anchors)
    for _ in range(_GENERATIONS):
        change = np.where(rng.random(anchors.shape) < 0.5, np.exp(0.1 * rng.standard_normal(anchors.shape)), 1)
        candidate = np.maximum(anchors * change, MINIMUM)
        score = fitness(candidate)
        if score > best:
            anchors, best = candidate, score
    return anchors
