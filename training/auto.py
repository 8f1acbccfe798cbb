"""`--hyp auto`: what depends on the data set and on the run's length, worked out from them.

YOLOv5's numbers were made for long runs on a large set. How long a run is, is told by the pictures it draws, pictures x
epochs: from LONG_RUN on every formula gives YOLOv5's number; the fewer, the further it goes towards what was seen to
be better in short runs (docs/choices.md: on which sets, with how few seeds). Everything here is a pure function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import optimizers
import schedulers

LONG_RUN = 160_000  # pictures drawn: 10,000 steps of 16
NOMINAL_STEPS = 10_000  # that the nominal batch is made to give
SMALLEST_NOMINAL_BATCH, NOMINAL_BATCH = 16, 64
COCO_CLASSES = 80  # for which the class gain is stated
CLASS_GAIN = 0.5
MOST_RATE = 3.0  # times the optimizer's own
CURVED = 1.5  # times as high is the peak of a policy that is near it only for a while
CURVES = ("cosine", "sgdr")  # of those, the ones that do not ramp up to it by themselves
PRETRAINED = 0.25  # of the rate, where the run starts from weights
WARMUP_EPOCHS, WARMUP_SHARE = 3.0, 0.1
SGDR_CYCLES, SGDR_EPOCHS, SGDR_STEPS = 3, 20.0, 100  # at most, and what the first cycle has at least
SGDR_T_MULT = 2.0
CLR_CYCLES, CLR_EPOCHS, CLR_BASE = 3, 30.0, 0.01
OF_SHORT_RUN = ("adamw", "onecycle")  # optimizer and policy, where none is named
OF_LONG_RUN = ("sgd", "linear")


@dataclass(frozen=True)
class Facts:
    """What the formulas are of.

    Attributes:
        pictures: to train on, 1 or more.
        boxes: on all of them.
        classes: of the network, 1 or more.
        size: of a picture's longer side in training, pixels.
        epochs: of the run.
        batch: pictures a forward pass.
        pretrained: whether the run starts from weights.
    """

    pictures: int
    boxes: int
    classes: int
    size: int
    epochs: int
    batch: int = 16
    pretrained: bool = False

    @property
    def drawn(self) -> int:
        """Pictures drawn in the whole run."""
        return self.pictures * self.epochs


def nominal_batch(drawn: int) -> int:
    """Pictures a step: 64, or as few as give 10,000 steps, but at least 16. The batch itself may be larger."""
    return round(min(max(drawn / NOMINAL_STEPS, SMALLEST_NOMINAL_BATCH), NOMINAL_BATCH))


def steps(facts: Facts, nbs: int) -> int:
    """Optimizer steps of the whole run at a nominal batch of `nbs`."""
    batches = math.ceil(facts.pictures / facts.batch)
    return math.ceil(batches / max(1, round(nbs / facts.batch))) * facts.epochs


def rate(own: float, drawn: int, curved: bool, pretrained: bool = False) -> float:
    """The rate lr0: an optimizer's `own`, times sqrt(LONG_RUN / drawn) from 1 to 3, and up to half as much again where
    the policy is `curved`; a quarter of that from weights."""
    factor = min(max(math.sqrt(LONG_RUN / drawn), 1.0), MOST_RATE)
    return own * factor * (min(factor, CURVED) if curved else 1.0) * (PRETRAINED if pretrained else 1.0)


def class_gain(classes: int) -> float:
    """The gain `cls`, which the loss scales by classes / 80: below 80 classes it rises with the fourth root."""
    return CLASS_GAIN * max(1.0, (COCO_CLASSES / classes) ** 0.25)


def warmup_epochs(epochs: int) -> float:
    """A tenth of the run, at most three."""
    return min(WARMUP_EPOCHS, WARMUP_SHARE * epochs)


def sgdr_cycles(epochs: int, total: int) -> int:
    """Cycles, each twice as long as the one before: as many, up to three, as leave the first 20 epochs and a hundred
    steps. One of them is a plain cosine."""
    for cycles in range(SGDR_CYCLES, 1, -1):
        first = 1 / sum(SGDR_T_MULT**i for i in range(cycles))  # of the run
        if first * epochs >= SGDR_EPOCHS and first * total >= SGDR_STEPS:
            return cycles
    return 1


def policy_options(policy: str, lr0: float, epochs: int, total: int) -> list[str]:
    """--lr-arg of a policy: sgdr's cycles; clr's, which halve from one to the next and end near zero."""
    if policy == "sgdr":
        return [f"cycles={sgdr_cycles(epochs, total)}"]
    if policy == "clr":
        cycles = min(max(1, int(epochs / CLR_EPOCHS)), CLR_CYCLES)
        return ["mode=triangular2", f"cycles={cycles}", f"base_lr={lr0 * CLR_BASE:.4g}"]
    return []


def choice(drawn: int) -> tuple[str, str]:
    """Optimizer and policy where none is named."""
    return OF_SHORT_RUN if drawn < LONG_RUN else OF_LONG_RUN


def settings(
    facts: Facts, optimizer: str = "", policy: str = "", nbs: int = 0, lr0: float | None = None
) -> dict[str, Any]:
    """Every option that auto decides, by its name; what is given of optimizer, policy, nominal batch and rate stays."""
    nbs = nbs or nominal_batch(facts.drawn)
    chosen = choice(facts.drawn)
    optimizer = optimizer or chosen[0]
    policy = policy or optimizers.facts(optimizer).get("policy") or chosen[1]
    if lr0 is None:
        curved = schedulers.get(policy).ramps or policy in CURVES
        lr0 = float(f"{rate(optimizers.facts(optimizer)['lr'], facts.drawn, curved, facts.pretrained):.3g}")
    decided = {
        "nbs": nbs,
        "optim": optimizer,
        "lr_policy": policy,
        "lr_arg": policy_options(policy, lr0, facts.epochs, steps(facts, nbs)),
        "lr0": lr0,
        "cls": float(f"{class_gain(facts.classes):.3g}"),
    }
    if not schedulers.get(policy).ramps:
        decided["warmup_epochs"] = warmup_epochs(facts.epochs)
    return decided
