"""BatchNorm over several processes, here threads, is BatchNorm over all of their pictures."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import models
from models.layout import read
from models.loss import DetectionLoss
from models.sync_batchnorm import SyncBatchNorm2d, synchronise
from training.session import nothing
from utils.ranks import ALONE, Ranks

RATE = 1e-4  # at a hundred times this, training on noise diverges, and rounding with it


class Threads(Ranks):
    """A rank in a thread, which exchanges rows with the others' through a list."""

    def __init__(self, rank: int, world: int, table: list, barrier: threading.Barrier) -> None:
        super().__init__(rank, world)
        self.table, self.barrier = table, barrier

    def rows(self, own: Tensor, counts: list[int]) -> Tensor:
        self.table[self.rank] = own
        self.barrier.wait(30)
        found = torch.cat(self.table)
        self.barrier.wait(30)
        return found


def norm_of(ranks: Ranks | None = None) -> nn.BatchNorm2d:
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(5, eps=1e-3, momentum=0.03)
    with torch.no_grad():
        norm.weight.normal_(1, 0.2)
        norm.bias.normal_()
    if ranks is not None:
        synchronise(norm, ranks)
        assert isinstance(norm, SyncBatchNorm2d)
    return norm


@pytest.mark.parametrize("sizes", [(4,), (2, 1, 1), (3, 0), (1, 5)])
def test_parts_are_normalised_as_the_whole(sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = 3 + 10 * torch.rand(sum(sizes), 5, 6, 4, generator=generator)
    slope = torch.randn(images.shape, generator=generator)
    plain, whole = norm_of(), images.clone().requires_grad_()
    expected = plain(whole)
    (expected * slope).sum().backward()
    table, barrier = [None] * len(sizes), threading.Barrier(len(sizes))

    ranks = [ALONE if len(sizes) == 1 else Threads(rank, len(sizes), table, barrier) for rank in range(len(sizes))]
    made = [norm_of(each) for each in ranks]

    def part(rank: int) -> tuple[Tensor, Tensor, nn.Module]:
        norm = made[rank]
        own = images.split(sizes)[rank].clone().requires_grad_()
        out = norm(own)
        (out * slope.split(sizes)[rank]).sum().backward()
        return out, own.grad, norm

    with ThreadPoolExecutor(len(sizes)) as pool:
        outs, grads, norms = zip(*pool.map(part, range(len(sizes))), strict=True)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(torch.cat(outs), expected, **close)
    torch.testing.assert_close(torch.cat(grads), whole.grad, **close)
    for name in ("weight", "bias"):
        total = sum(getattr(norm, name).grad for norm in norms)
        torch.testing.assert_close(total, getattr(plain, name).grad, rtol=1e-5, atol=1e-4)
    for norm in norms:
        assert torch.equal(norm.running_mean, norms[0].running_mean)
        torch.testing.assert_close(norm.running_mean, plain.running_mean, **close)
        torch.testing.assert_close(norm.running_var, plain.running_var, **close)
        norm.eval()
        assert torch.equal(norm(images), norms[0].eval()(images))


def test_twenty_steps_are_those_of_the_unsplit_batch(narrow: Path) -> None:
    """In float64, to 1e-5: a deep network makes more of a rounding at every step."""
    sizes, steps = (2, 1, 0), 20
    generator = torch.Generator().manual_seed(0)
    table, barrier = [None] * 3, threading.Barrier(3)

    def model_of(ranks: Ranks | None) -> tuple[models.Detector, DetectionLoss]:
        torch.manual_seed(0)
        model = models.build(read(narrow), classes=3).double().train()
        if ranks is not None:
            synchronise(model, ranks)
        return model, DetectionLoss(model)

    whole, loss_of = model_of(None)
    parts = [model_of(Threads(rank, 3, table, barrier)) for rank in range(3)]
    for _ in range(steps):
        images = torch.rand(3, 3, 64, 64, generator=generator, dtype=torch.float64)
        boxes = torch.rand(6, 4, generator=generator, dtype=torch.float64) * 0.5 + 0.25
        place = torch.tensor([0, 0, 1, 1, 2, 2.0], dtype=torch.float64)
        targets = torch.cat((place[:, None], place[:, None] % 3, boxes), 1)
        loss_of(whole(images), targets)[0].backward()

        def gradient(rank: int, images: Tensor = images, targets: Tensor = targets) -> None:
            model, criterion = parts[rank]
            own, start = images.split(sizes)[rank], sum(sizes[:rank])
            heads = model(own)
            if not len(own):
                nothing(heads)[0].backward()
                return
            mine = (targets[:, 0] >= start) & (targets[:, 0] < start + len(own))
            here = targets[mine] - torch.tensor([start, 0, 0, 0, 0, 0], dtype=torch.float64)
            criterion(heads, here, (len(images), targets))[0].backward()

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(gradient, range(3)))
        with torch.no_grad():
            each = zip(whole.parameters(), *(model.parameters() for model, _ in parts), strict=True)
            for weight, *copies in each:
                total = sum(copy.grad for copy in copies)
                for copy in copies:
                    copy -= RATE * total
                    copy.grad = None
                weight -= RATE * weight.grad
                weight.grad = None
    state = whole.state_dict()
    for model, _ in parts:
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, state[name], rtol=1e-5, atol=1e-5 * float(state[name].abs().max()))
