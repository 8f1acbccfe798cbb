"""`--hyp auto` put into a run's options: what nobody gave takes the numbers of `training.auto`."""

from __future__ import annotations

from data.index import Index
from training import auto
from training.options import Options
from utils.console.wording import counted

# Who gives one of these means it for YOLOv5's optimizer, or its policy, where none is named.
OF_OPTIMIZER = {"lr0", "momentum", "weight_decay", "warmup_bias_lr", "optim_arg", "wd_norm"}
OF_POLICY = {"lr0", "lrf", "lr_arg", "warmup_epochs", "warmup_momentum", "warmup_bias_lr"}


def settle(options: Options, index: Index, classes: int) -> None:
    """Put what auto decides into the options of a new run, whose training pictures are `index`.

    May be called again, when the batch is found by trial: what was given at first still stands.
    """
    if not options.auto:
        return
    run, hyp, given = options.run, options.hyp, options.given
    facts = auto.Facts(
        pictures=len(index),
        boxes=sum(len(index.labels[i]) for i in range(len(index))),
        classes=classes,
        size=run.imgsz,
        epochs=run.epochs,
        batch=int(run.batch_size),
        pretrained=bool(run.weights),
    )
    decided = auto.settings(
        facts,
        optimizer=run.optim if given & (OF_OPTIMIZER | {"optim"}) else "",
        policy=run.lr_policy if given & (OF_POLICY | {"lr_policy", "cos_lr"}) else "",
        nbs=run.nbs if "nbs" in given else 0,
        lr0=hyp.lr0 if "lr0" in given and isinstance(hyp.lr0, float) else None,
    )
    for name in decided.keys() - given:
        setattr(hyp if hasattr(hyp, name) else run, name, decided[name])
    options.decided = told(options, facts, decided)


def told(options: Options, facts: auto.Facts, decided: dict) -> list[str]:
    """What was decided, in a few lines for the log; what was given is left out."""
    start = "from weights" if facts.pretrained else "from scratch"
    each = auto.steps(facts, options.run.nbs) // facts.epochs
    data = f"{counted(facts.pictures, 'picture')}, {counted(facts.boxes, 'box', 'boxes')}, "
    data += counted(facts.classes, "class", "classes")
    length = f"{counted(facts.epochs, 'epoch')} of {counted(each, 'step')}"
    shown = {name: value for name, value in decided.items() if name not in options.given and value != []}
    values = ", ".join(f"{name.replace('_', '-')} {_text(value)}" for name, value in shown.items())
    return [
        f"auto: {data}, {length}, {start}",
        f"auto: {values or 'nothing left to decide'} (--hyp yolov5 uses YOLOv5's numbers)",
    ]


def _text(value: object) -> str:
    return (
        " ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
