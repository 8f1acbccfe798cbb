"""SGD with L2 regularisation: torch's, on its fused path where there is one."""

from __future__ import annotations

from typing import Annotated, Any

from torch.optim import SGD

import optimizers
from optimizers._step import fused_or_foreach


@optimizers.register(
    "sgd",
    lr=0.01,
    weight_decay=0.0005,
    momentum=0.937,
    warmup_bias_lr=0.1,
    paper="On the importance of initialization and momentum in deep learning, ICML 2013",
)
def sgd(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    nesterov: Annotated[bool, "look ahead along the momentum"] = True,
    dampening: Annotated[float, "share of the gradient kept out of the momentum"] = 0.0,
    maximize: Annotated[bool, "climb instead of descend"] = False,
) -> SGD:
    """torch's SGD: L2 in the gradient, so that the decay passes through the momentum."""
    path = fused_or_foreach(groups)
    return SGD(groups, lr, momentum, dampening, nesterov=nesterov and momentum > 0, maximize=maximize, **path)
