"""What a head keeps of another's, for other classes: each anchor's box and objectness, and classes of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.detector import Detector

SHARED = 5  # rows of an anchor before its classes: box and objectness


@torch.no_grad()
def transfer_rows(model: Detector, state: Mapping[str, Tensor], names: Sequence[str]) -> tuple[bool, list[str]]:
    """Copy the rows of the head's convolutions that mean the same in `state`, whose classes are `names`.

    Returns whether there were any, and the names of the classes that were kept. Rows of other shape stay as they are.
    """
    own_names = [str(name) for name in model.names]
    theirs = {str(name): SHARED + i for i, name in enumerate(names)}
    same = [(SHARED + i, theirs[name]) for i, name in enumerate(own_names) if name in theirs]
    to, source = map(list, zip(*[(i, i) for i in range(SHARED)], *same, strict=True))
    found = False
    for prefix, conv in model.named_modules():
        if not any(conv is own for own in model.head.m):
            continue
        pairs = [(own, state.get(f"{prefix}.{name}")) for name, own in conv.named_parameters()]
        anchors = conv.out_channels // (SHARED + len(own_names))
        rows = anchors * (SHARED + len(names))
        if any(other is None or other.shape != (rows, *own.shape[1:]) for own, other in pairs):
            continue
        for own, other in pairs:
            each = own.view(anchors, -1, *own.shape[1:])
            each[:, to] = other.to(own).view(anchors, -1, *own.shape[1:])[:, source]
        found = True
    return found, [own_names[i - SHARED] for i, _ in same] if found else []
