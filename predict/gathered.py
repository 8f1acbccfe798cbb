"""What several processes find in the pictures of a loader, each in its share of the batches, in the loader's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from data.batch import Batch
from data.loader import ValLoader
from predict.batches import Predictions, predictions
from utils.ranks import Ranks


def gathered_predictions(
    model: nn.Module, loader: ValLoader, ranks: Ranks, with_images: int = 0, **options: Any
) -> Iterator[Predictions]:
    """`predictions` of all batches, in every process, computed by all of them together.

    Of one process alone they come as they are made. Of several they come at the end, on the CPU and without images;
    `with_images`: of so many batches, read once more.
    """
    if ranks.world == 1:
        yield from predictions(model, loader, **options)
        return
    own = [_as_sent(result) for result in predictions(model, loader.dealt(ranks.rank, ranks.world), **options)]
    found = [result for results in ranks.gather(own) for result in results]
    place = {number: place for place, number in enumerate(loader.order)}
    found.sort(key=lambda result: place[int(result.batch.indices[0])])
    images: dict[int, Tensor] = {}
    for batch in islice(loader, with_images):
        images |= zip(batch.indices.tolist(), batch.images, strict=True)
    for result in found:
        numbers = result.batch.indices.tolist()
        if all(number in images for number in numbers):
            result.batch.images = torch.stack([images[number] for number in numbers])
        yield result


def _as_sent(result: Predictions) -> Predictions:
    batch = result.batch
    kept = Batch(batch.images[:0], batch.targets, batch.indices, batch.letterbox).to("cpu")
    letterboxed, boxes = ([rows.cpu() for rows in each] for each in (result.letterboxed, result.boxes))
    losses = None if result.losses is None else result.losses.cpu()
    return replace(result, batch=kept, letterboxed=letterboxed, boxes=boxes, losses=losses)
