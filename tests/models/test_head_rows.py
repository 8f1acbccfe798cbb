"""A head that starts from another's with other classes: which rows it takes, and which it leaves."""

from __future__ import annotations

import torch

import models
from models.head_rows import transfer_rows


def heads(seed: int, names: list[str]) -> models.Detector:
    torch.manual_seed(seed)
    model = models.build("yolov5n", len(names))
    model.names = names
    return model


def test_box_objectness_and_classes_of_the_same_name_are_taken() -> None:
    theirs, ours = heads(0, ["cat", "dog", "emu"]), heads(1, ["fox", "dog"])
    before = [conv.weight.detach().clone() for conv in ours.head.m]
    assert transfer_rows(ours, theirs.state_dict(), ["cat", "dog", "emu"]) == (True, ["dog"])
    for old, own, other in zip(before, ours.head.m, theirs.head.m, strict=True):
        own_rows, their_rows = own.weight.view(3, 7, -1), other.weight.view(3, 8, -1)
        assert torch.equal(own_rows[:, :5], their_rows[:, :5])
        assert torch.equal(own_rows[:, 6], their_rows[:, 6])  # dog is the second in both
        assert torch.equal(own_rows[:, 5], old.view(3, 7, -1)[:, 5])  # fox starts anew
        assert torch.equal(own.bias.view(3, 7)[:, [0, 1, 2, 3, 4, 6]], other.bias.view(3, 8)[:, [0, 1, 2, 3, 4, 6]])


def test_the_box_of_an_untrained_class_is_the_other_networks() -> None:
    theirs, ours = heads(0, ["cat", "dog"]), heads(1, ["fox"])
    models.transfer(ours, theirs.state_dict())
    transfer_rows(ours, theirs.state_dict(), ["cat", "dog"])
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        mine, other = ours.eval()(picture)[1], theirs.eval()(picture)[1]
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a[..., :5], b[..., :5], rtol=1e-5, atol=1e-5)


def test_another_networks_head_is_left_alone() -> None:
    ours = heads(1, ["fox"])
    before = [p.detach().clone() for p in ours.head.parameters()]
    wide = models.build("yolov5s", 2).state_dict()
    for state, names in ((wide, ["a", "b"]), ({}, ["a"]), (heads(0, ["a", "b"]).state_dict(), ["a", "b", "c"])):
        assert transfer_rows(ours, state, names) == (False, [])
    assert all(torch.equal(a, b) for a, b in zip(before, ours.head.parameters(), strict=True))
