"""See a schedule before it costs anything: `python -m schedulers sgdr --epochs 30 --steps-per-epoch 36`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from schedulers import Schedule, build, describe, from_facts, listing, names, options, parse_args, warmup_steps
from schedulers.plot import curve, plot, write_csv
from utils import config
from utils.config import flag, option
from utils.config.key_value import key_of
from utils.errors import UserError, nearest
from utils.registry import import_plugin

RUN = ("epochs", "steps_per_epoch", "lr0")  # what --from knows
OWN = ("momentum", "warmup_epochs", "warmup_bias_lr", "warmup_momentum", "lr_arg")  # what only named policies use


@dataclass
class Options:
    """Plot learning-rate policies."""

    names: list[str] = option([], "policies; several overlay; 'help' lists them", positional=True)
    epochs: float = option(100.0, "length of the run", above=0)
    steps_per_epoch: int = option(100, "optimizer steps an epoch", low=1)
    lr0: float = option(0.01, "base rate", above=0)
    momentum: float = option(0.937, "momentum, where the policy leaves it alone", low=0, below=1)
    warmup_epochs: float = option(3.0, "warm-up of policies that do not ramp themselves", low=0)
    warmup_bias_lr: float = option(0.1, "rate from which biases warm up", low=0)
    warmup_momentum: float = option(0.8, "momentum from which it warms up", low=0, below=1)
    lr_arg: list[str] = option([], "option of the policies, KEY=VALUE; 'help' lists them")
    plugin: list[str] = option([], "module to import first, which registers policies")
    from_: str = option("", "a run's own schedule: its folder, or its last.pt")
    out: str = option("lr.png", "picture to write")
    csv: str = option("", "table of every step to write")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 2 and one line on stderr for a UserError."""
    try:
        (asked,), given = config.parse(
            [Options], argv, prog="python -m schedulers", description="Plot learning-rate policies; docs/schedules.md."
        )
        _run(asked, given)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(asked: Options, given: set[str]) -> None:
    for module in asked.plugin:
        import_plugin(module)
    if asked.names == ["help"]:
        print(listing())
        return
    if "help" in asked.lr_arg:
        print("\n".join(describe(name) for name in asked.names or names()))
        return
    if not asked.names and not asked.from_:
        raise UserError(f"name a policy, or give --from RUN; known: {', '.join(names())}")
    if not asked.out.endswith(".png"):
        raise UserError(f"--out {asked.out}: only PNG is written; give a name that ends in .png")
    schedules, now = [], None
    total = math.ceil(asked.epochs * asked.steps_per_epoch)
    run: dict[str, Any] = {"total_steps": total, "steps_per_epoch": asked.steps_per_epoch, "lr0": asked.lr0}
    if asked.from_:
        _check_idle(asked, given)
        schedule, now = read_checkpoint(Path(asked.from_))
        policy = schedule.policy
        schedules.append((f"{Path(asked.from_).resolve().name} ({policy.name})", schedule))
        run = {"total_steps": policy.total_steps, "steps_per_epoch": policy.steps_per_epoch, "lr0": policy.lr0}
    shared = shared_args(asked.names, asked.lr_arg)
    schedules += [(name, _schedule(name, asked, run, shared[name])) for name in dict.fromkeys(asked.names)]
    paths = [Path(path) for path in (asked.out, asked.csv) if path]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    plot(paths[0], [curve(schedule, label) for label, schedule in schedules], now=now)
    if asked.csv:
        write_csv(paths[1], [curve(schedule, label, most=None) for label, schedule in schedules])
    for path in paths:
        print(f"wrote {path}")


def _check_idle(asked: Options, given: set[str]) -> None:
    """Refuse flags that would do nothing beside --from."""
    for name in (*RUN, *(() if asked.names else OWN)):
        if name in given:
            raise UserError(f"{flag(name)} does nothing with --from {asked.from_}; leave it out")


def _schedule(name: str, asked: Options, run: dict[str, Any], options: dict[str, Any]) -> Schedule:
    policy = build(name, **run, **options)
    return Schedule(
        policy,
        stand_in(run["lr0"], asked.momentum),
        warmup_steps(policy, run["total_steps"], run["steps_per_epoch"], asked.warmup_epochs),
        warmup_bias_lr=asked.warmup_bias_lr,
        warmup_momentum=asked.warmup_momentum,
    )


def stand_in(lr0: float, momentum: float | None) -> SimpleNamespace:
    """The three groups of a detector, without parameters: enough for a Schedule."""
    own = {} if momentum is None else {"momentum": momentum}
    decays = {"norm": 0.0, "weight": 1.0, "bias": 0.0}  # which group decays, for a run with normalised decay
    return SimpleNamespace(
        param_groups=[{"name": name, "lr": lr0, "weight_decay": decay, **own} for name, decay in decays.items()]
    )


def shared_args(policies: Sequence[str], pairs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options by policy: each `key=value` goes to every named policy that has the key, and at least one must."""
    known = {name: [option.name for option in options(name)] for name in policies}
    for pair in pairs:
        key = key_of(pair)
        if not any(key in keys for keys in known.values()):
            hint = nearest(key, set().union(*known.values()))
            raise UserError(f"--lr-arg {pair}: no option '{key}' in {', '.join(policies) or 'no policy'}; {hint}")
    return {name: parse_args(name, [pair for pair in pairs if key_of(pair) in known[name]]) for name in policies}


def read_checkpoint(path: Path) -> tuple[Schedule, int]:
    """The schedule of a run, given by its folder or a checkpoint, and the step it stands at.

    Its plug-ins are imported first. UserError for a file without a schedule.
    """
    from utils import checkpoint  # torch takes seconds to start, which a plot does not need

    path = path / "weights" / "last.pt" if path.is_dir() else path
    state = checkpoint.load(path)
    if not isinstance(state.get("schedule"), dict):
        raise UserError(f"--from {path}: holds no schedule; give a run's weights/last.pt")
    for module in state.get("plugins") or []:
        import_plugin(module)
    facts = state["schedule"]
    return from_facts(facts, stand_in(facts["lr0"], facts["momentum"])), state["step"]


if __name__ == "__main__":
    sys.exit(main())
