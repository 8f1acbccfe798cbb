"""The plain mean of weights, while a run goes on or of finished runs: `python -m utils.average a.pt b.pt --out c.pt`.

The files must hold one network with one list of classes. BatchNorm's statistics are averaged like the rest here; where
the runs differ much they are not those of the averaged weights, which `train.py --average` estimates anew.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from utils import checkpoint, config
from utils.config import option
from utils.console import log
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
KEPT = ("layout", "classes", "names", "imgsz", "data", "sample", "date")


class WeightMean:
    """The mean of the state dicts taken in so far: m_n = m_(n-1) + (w_n - m_(n-1)) / n.

    Averaging Weights Leads to Wider Optima and Better Generalization, arXiv 1803.05407, section 3.1. Of integer
    entries, which count, the last one stays.

    Attributes:
        count: state dicts taken in.
        mean: their mean, empty before the first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, state: Mapping[str, Tensor]) -> None:
        """Take in a state dict, of the names and shapes of those before. Nothing waits for the device."""
        self.count += 1
        if self.count == 1:
            self.mean = {name: value.detach().clone() for name, value in state.items()}
            return
        floats = [name for name, value in self.mean.items() if value.is_floating_point()]
        others = [name for name, value in self.mean.items() if not value.is_floating_point()]
        torch._foreach_lerp_([self.mean[n] for n in floats], [state[n] for n in floats], 1 / self.count)
        for name in others:
            self.mean[name].copy_(state[name])


def average(paths: Sequence[Path]) -> dict[str, Any]:
    """A checkpoint of kind `weights` with the mean of the averaged (EMA) weights of several.

    Raises UserError for files that are not of one network and one list of classes.
    """
    if len(paths) < 2:
        raise UserError(f"an average needs two checkpoints or more, got {len(paths)}; name them all")
    mean, first = WeightMean(), checkpoint.load_weights(paths[0])
    place = {"epoch": 0, "step": 0}  # of the one that was trained longest
    for path in paths:
        state = checkpoint.load_weights(path)
        for what in ("layout", "classes", "names"):
            if state.get(what) != first.get(what):
                raise UserError(f"{path}: its {what} differ from those of {paths[0]}; average files of one network")
        if _shapes(state["ema"]) != _shapes(first["ema"]):
            raise UserError(f"{path}: its tensors are not those of {paths[0]}; average files of one network")
        mean.add(state["ema"])
        place = {key: max(value, int(state.get(key, 0))) for key, value in place.items()}
    kept = {key: first[key] for key in KEPT if key in first}
    return {"kind": "weights", **kept, **place, "averaged": mean.count, "ema": mean.mean}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in state.items()}


@dataclass
class Options:
    """Average checkpoints."""

    checkpoints: list[str] = option([], "checkpoints of one network: best.pt, last.pt, cycle1.pt, ...", positional=True)
    out: str = option("", "the file to write")
    force: bool = option(False, "write over a file that is there")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 where the disk refused, or 2 for a mistake."""
    log.setup()
    try:
        about = {"prog": "python -m utils.average", "description": "The mean of several checkpoints' weights."}
        (options,), _ = config.parse([Options], argv, **about)
        out = Path(options.out)
        if not options.out:
            raise UserError("--out is missing; name the file to write")
        if out.exists() and not options.force:
            raise UserError(f"--out {out}: already exists; give another name, or --force")
        checkpoint.save(out, average([Path(path) for path in options.checkpoints]))
        LOGGER.info(f"the mean of {len(options.checkpoints)} checkpoints is in {out}; measure it with val.py")
        return 0
    except UserError as error:
        LOGGER.error(str(error))
        return 2
    except OSError as error:
        LOGGER.error(f"{options.out}: could not be written ({error.strerror or error})")
        return 1


if __name__ == "__main__":
    sys.exit(main())
