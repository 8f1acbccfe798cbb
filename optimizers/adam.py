"""Adam with L2 regularisation: torch's, on its fused path where there is one."""

from __future__ import annotations

from typing import Annotated, Any

from torch.optim import Adam

import optimizers
from optimizers._step import fused_or_foreach


@optimizers.register(
    "adam", lr=0.001, weight_decay=0.0005, momentum=0.937, warmup_bias_lr=0.0, paper="Adam, arXiv 1412.6980"
)
def adam(
    groups: list[dict[str, Any]],
    lr: float,
    momentum: float,
    beta2: Annotated[float, "decay of the mean squared gradient"] = 0.999,
    eps: Annotated[float, "added to the denominator"] = 1e-8,
    amsgrad: Annotated[bool, "divide by the largest mean squared gradient so far"] = False,
    maximize: Annotated[bool, "climb instead of descend"] = False,
) -> Adam:
    """torch's Adam: L2 in the gradient, so that the decay passes through both moments. `momentum` is its first beta."""
    path = fused_or_foreach(groups)
    return Adam(groups, lr, (momentum, beta2), eps, amsgrad=amsgrad, maximize=maximize, **path)
