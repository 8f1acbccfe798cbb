"""What a resume's command line changes of its run: some things may change, and to repeat the run's own is no change."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.layout import largest_stride, read
from training.hyp import Hyp
from training.options import Options, idle_for
from utils.config import flag
from utils.config.key_value import key_of
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
MAY_CHANGE = {"resume", "epochs", "device", "workers", "batch_size", "data", "cache", "project", "noplots", "force"}
MAY_CHANGE |= {"processes", "parts", "timeout"}
NO_MATTER = {"exist_ok"}  # it is about how the folder was made
FORCED = {"lr0", "lrf", "weight_decay"}  # may change with --force
HYP = tuple(field.name for field in dataclasses.fields(Hyp))


def apply(asked: Options, run: Options, layout: dict[str, Any], folder: Path, place: str) -> None:
    """Put what may change into the run's options, of what was `asked` for with --resume.

    `layout`: the run's network. `place`: where the run stands, for its history. Raises UserError that names whatever
    else differs from what the run was started with.
    """
    is_same = _Comparison(asked, run, layout, folder)
    different = [name for name in sorted(asked.given - MAY_CHANGE - NO_MATTER) if not is_same(name)]
    if "hyp" in asked.given and "hyp" not in different and asked.run.hyp != "auto":  # the file may have been edited
        different += [name for name in HYP if name not in asked.given and not is_same(name)]
    forced = [name for name in different if name in FORCED and asked.hyp.lr0 != "find"]
    if different and not (asked.run.force and different == forced):
        flags = ", ".join(map(flag, different))
        remedy = "--force changes that" if different == forced else "start a new run for that"
        own = f"the run has {', '.join(_shown(name, run) for name in different)}; {remedy}"
        raise UserError(f"--resume continues the run as it was; {flags} cannot change ({own})")
    for name in forced:
        _force(name, getattr(asked.hyp, name), run, place)
    for name in asked.given & MAY_CHANGE - {"resume", "project"}:
        if (name, getattr(asked.run, name)) != ("batch_size", "auto"):  # which was found when the run was new
            setattr(run.run, name, getattr(asked.run, name))


def _force(name: str, value: float, run: Options, place: str) -> None:
    """Change one of FORCED, say so, and enter it into the run's history. UserError where it would do nothing."""
    why = idle_for(run.run.lr_policy).get(name, "")
    if name == "weight_decay" and run.run.wd_norm is not None:
        why = "--wd-norm sets the decay"
    if why:
        raise UserError(f"{flag(name)} would do nothing: {why}; leave it out")
    before = getattr(run.hyp, name)
    setattr(run.hyp, name, value)
    if name == "lrf":  # which may have been given as the policy's own option
        run.run.lr_arg = [pair for pair in run.run.lr_arg if key_of(pair) != "lrf"]
    run.run.history = [*run.run.history, f"{place}: {name} {before:g} becomes {value:g}"]
    LOGGER.warning(f"{name} {before:g} becomes {value:g} (--force): the run continues, but as a different one")


@dataclass(frozen=True)
class _Comparison:
    """Whether an option that is asked for is what the run has, in whatever words."""

    asked: Options
    run: Options
    layout: dict[str, Any]
    folder: Path

    def __call__(self, name: str) -> bool:
        if name in HYP:
            return self.hyp(name)
        if not hasattr(self.run.run, name):
            return False
        value, own = getattr(self.asked.run, name), getattr(self.run.run, name)
        others = {
            "cos_lr": lambda: self.run.run.lr_policy == "cosine",
            "cfg": lambda: self.network(value),
            "imgsz": lambda: self.rounded(value) == own,
            "name": lambda: value == self.folder.name,
            "lr_arg": lambda: sorted(value) == sorted(own),
            "optim_arg": lambda: sorted(value) == sorted(own),
            **dict.fromkeys(("weights", "hyp"), lambda: bool(own) and os.path.realpath(value) == os.path.realpath(own)),
        }
        return (value == own and name != "cfg") or (name in others and others[name]())

    def hyp(self, name: str) -> bool:
        """None leaves a value to the optimizer; a rate that was found has left its table in the run's folder."""
        value = getattr(self.asked.hyp, name)
        if value == "find":
            return (self.folder / "lr_find.csv").is_file()
        return value is None or value == getattr(self.run.hyp, name)

    def network(self, cfg: str) -> bool:
        """A file that is there must still describe the run's network; of one that is not, the name counts."""
        try:
            return read(cfg) == self.layout
        except UserError:
            return Path(cfg).stem == self.layout["name"] and not os.path.exists(cfg)

    def rounded(self, size: int) -> int:
        stride = largest_stride(self.layout)
        return math.ceil(size / stride) * stride


def _shown(name: str, run: Options) -> str:
    value = getattr(run.hyp if name in HYP else run.run, name, "")
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{name} {text or 'none'}"[:80]
