"""The benchmark of several processes, small: it runs, and counts the bytes that docs/distributed.md says are sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import models
from benchmarks import distributed
from tests.trainer import Runs


@pytest.mark.slow
def test_two_processes_send_what_the_page_says(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    tiny = (
        f"--data {runs.faces} --cfg {runs.narrow} --imgsz 64 --batch-size 4 --nbs 4 --epochs 1 --workers 0 --dtype fp32"
    )
    assert distributed.main(f"--processes 1,2 --rounds 1 --device cpu --out {out} {tiny}".split()) == 0
    alone, two = json.loads(out.read_text())["results"]["by_processes"].values()
    assert alone["images_per_s"] > 0
    assert alone["bytes_sent_a_step"] == alone["least_bytes_a_step"] == alone["share_waiting"] == 0
    assert alone["exchanged_by"] == "nobody"
    network = models.build(str(runs.narrow), classes=3)
    weights = sum(parameter.numel() for parameter in network.parameters())
    statistics = sum(b.numel() for name, b in network.named_buffers() if name.endswith(("_mean", "_var")))
    assert two["least_bytes_a_step"] == 4 * weights
    assert two["bytes_sent_a_step"] == pytest.approx(4 * (weights + statistics), abs=64)
    assert two["images_per_s"] > 0
    assert 0 < two["share_exchanging"] <= two["share_between_backward_and_step"] < 1
    assert two["exchanged_by"] == "Gloo"
