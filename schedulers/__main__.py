"""See a schedule before it costs anything: `python -m schedulers sgdr --epochs 30 --steps-per-epoch 36`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from schedulers import Schedule, build, describe, from_facts, names, options, parse_args, warmup_steps
from schedulers.plot import curve, plot, write_csv
from utils.errors import UserError, nearest
from utils.registry import import_plugin


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m schedulers", description="Plot learning-rate policies.")
    p.add_argument("names", nargs="*", metavar="NAME", help="policies; several overlay")
    p.add_argument("--epochs", type=float, default=100, help="length of the run")
    p.add_argument("--steps-per-epoch", type=int, default=100, help="optimizer steps an epoch")
    p.add_argument("--lr0", type=float, default=0.01, help="base rate")
    p.add_argument("--momentum", type=float, default=0.937, help="momentum, where the policy leaves it alone")
    p.add_argument("--warmup-epochs", type=float, default=3.0, help="warm-up of policies that do not ramp themselves")
    p.add_argument("--warmup-bias-lr", type=float, default=0.1, help="rate from which biases warm up")
    p.add_argument("--warmup-momentum", type=float, default=0.8, help="momentum from which it warms up")
    p.add_argument("--lr-arg", action="append", default=[], metavar="KEY=VALUE", help="policy option; help lists them")
    p.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="import this module first")
    p.add_argument("--from", dest="checkpoint", type=Path, metavar="LAST.PT", help="a run's own schedule")
    p.add_argument("--out", type=Path, default=Path("lr.png"), help="picture to write")
    p.add_argument("--csv", type=Path, help="table of every step to write")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 2 and one line on stderr for a UserError."""
    args = parser().parse_args(argv)
    try:
        _run(args)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    for module in args.plugin:
        import_plugin(module)
    if not args.names and args.checkpoint is None:
        raise UserError(f"name a policy, or give --from last.pt; known: {', '.join(names())}")
    if "help" in args.lr_arg:
        print("\n".join(describe(name) for name in args.names))
        return
    schedules, now = [], None
    run = {"total_steps": math.ceil(args.epochs * args.steps_per_epoch), "steps_per_epoch": args.steps_per_epoch}
    run["lr0"] = args.lr0
    if args.checkpoint is not None:
        schedule, now = read_checkpoint(args.checkpoint)
        schedules.append((f"{args.checkpoint.name} ({schedule.policy.name})", schedule))
        policy = schedule.policy
        run = {"total_steps": policy.total_steps, "steps_per_epoch": policy.steps_per_epoch, "lr0": policy.lr0}
    given = shared_args(args.names, args.lr_arg)
    schedules += [(name, _schedule(name, args, run, given[name])) for name in dict.fromkeys(args.names)]
    plot(args.out, [curve(schedule, label) for label, schedule in schedules], now=now)
    if args.csv is not None:
        write_csv(args.csv, [curve(schedule, label, most=None) for label, schedule in schedules])
    for path in filter(None, (args.out, args.csv)):
        print(f"wrote {path}")


def _schedule(name: str, args: argparse.Namespace, run: dict[str, Any], options: dict[str, Any]) -> Schedule:
    policy = build(name, **run, **options)
    return Schedule(
        policy,
        stand_in(run["lr0"], args.momentum),
        warmup_steps(policy, run["total_steps"], run["steps_per_epoch"], args.warmup_epochs),
        warmup_bias_lr=args.warmup_bias_lr,
        warmup_momentum=args.warmup_momentum,
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
    known = {name: [option[0] for option in options(name)] for name in policies}
    for pair in pairs:
        key = pair.partition("=")[0].strip().replace("-", "_")
        if not any(key in keys for keys in known.values()):
            hint = nearest(key, set().union(*known.values()))
            raise UserError(f"--lr-arg {pair}: no option '{key}' in {', '.join(policies) or 'no policy'}; {hint}")
    keep = {name: [p for p in pairs if p.partition("=")[0].strip().replace("-", "_") in known[name]] for name in known}
    return {name: parse_args(name, keep[name]) for name in policies}


def read_checkpoint(path: Path) -> tuple[Schedule, int]:
    """A run's schedule and the step it stands at, its plug-ins imported first; UserError for a file without them."""
    from utils import checkpoint  # torch takes seconds to start, which a plot does not need

    state = checkpoint.load(path)
    if not isinstance(state.get("schedule"), dict):
        raise UserError(f"--from {path}: holds no schedule; give a run's weights/last.pt")
    for module in state.get("plugins") or []:
        import_plugin(module)
    facts = state["schedule"]
    return from_facts(facts, stand_in(facts["lr0"], facts["momentum"])), state["step"]


if __name__ == "__main__":
    sys.exit(main())
