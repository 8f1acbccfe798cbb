"""Deterministic values for the golden cases: every number follows from the tensor's name alone.

    rng(name)             numpy Generator seeded with crc32 of the name
    parameter(name, shape) float64 array for one state-dict entry of a detector
    uniform(name, shape, low, high)

The same names give the same numbers on every machine, so a golden file holds outputs only.
"""

import zlib

import numpy as np


def rng(name):
    return np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))


def uniform(name, shape, low=0.0, high=1.0):
    return rng(name).uniform(low, high, size=shape)


def parameter(name, shape):
    """Values for one entry of a detector's state dict (float64, `shape` as in the JSON lists).

    4-D convolution weights: normal, std sqrt(2 / fan_in). `bn.weight`: 1 + 0.1 normal. `running_var`:
    uniform [0.5, 1.5). `running_mean` and every other 1-D entry: 0.1 normal. `anchors` and
    `num_batches_tracked` are not filled: they keep what the model sets.
    """
    g = rng(name)
    if name.endswith("running_var"):
        return g.uniform(0.5, 1.5, size=shape)
    if name.endswith("bn.weight"):
        return 1.0 + 0.1 * g.standard_normal(shape)
    if len(shape) == 4:
        return g.standard_normal(shape) * np.sqrt(2.0 / (shape[1] * shape[2] * shape[3]))
    return 0.1 * g.standard_normal(shape)
