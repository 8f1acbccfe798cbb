"""Which network a run has, by whole commands: layouts in YOLOv5's format, and weights with and without --cfg."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import models
import val
from tests.published import save_published
from tests.trainer import Killed, Runs, at_step, kill
from utils import checkpoint

P6 = """
nc: 80
depth_multiple: 0.33
width_multiple: 0.0625
anchors: 3
backbone: [[-1, 1, Focus, [64, 3]], [-1, 1, Conv, [128, 3, 2]], [-1, 3, BottleneckCSP, [128]],
  [-1, 1, Conv, [128, 3, 2]], [-1, 1, Conv, [256, 3, 2]], [-1, 1, Conv, [256, 3, 2]], [-1, 1, Conv, [512, 3, 2]],
  [-1, 1, SPP, [512, [3, 5]]]]
head: [[-1, 1, Conv, [256, 1, 1]], [-1, 1, nn.Upsample, [None, 2, 'nearest']], [[-1, 5], 1, Concat, [1]],
  [-1, 3, C3, [256, False]], [[2, 3, 11, 8], 1, Detect, [nc, anchors]]]
"""


def state_of(run: Path) -> dict:
    return checkpoint.load(run / "weights" / "last.pt")


def test_a_layout_of_yolov5s_format_trains_resumes_and_is_evaluated(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Maps of strides 4 to 64: sides are multiples of 64, anchors are estimated since only their number is given."""
    (runs.folder / "p6.yaml").write_text(P6)
    flags = {"cfg": "p6.yaml", "epochs": 2, "imgsz": 96}
    with monkeypatch.context() as patch:
        at_step(patch, 3, kill)
        with pytest.raises(Killed):
            runs("--multi-scale", **flags)
    out = capsys.readouterr().out
    assert "--imgsz 96 is not a multiple of 64; using 128" in out
    assert "estimated from the data set" in out
    assert runs("--multi-scale --resume", **flags) == 0
    state = state_of(runs.run())
    assert (state["layout"]["name"], state["finished"], state["imgsz"]) == ("p6", True, 128)
    found = val.load_detector(runs.run() / "weights" / "best.pt")
    assert (found.stride.tolist(), found.max_stride, found.head.anchors.shape) == ([4, 8, 32, 64], 64, (4, 3, 2))
    areas = (found.head.anchors * found.head.stride.view(-1, 1, 1)).prod(2).flatten()
    assert areas.tolist() == sorted(areas.tolist())
    weights = ["--weights", str(runs.run() / "weights" / "best.pt"), "--noplots", "--device", "cpu"]
    assert val.main([*weights, "--imgsz", "100"]) == 0
    assert "--imgsz 100 is not a multiple of 64; using 128" in capsys.readouterr().out
    assert runs("--noautoanchor", **flags) == 2
    assert "p6 gives a number of anchors, not their sizes; leave it out" in capsys.readouterr().out


def test_weights_alone_bring_their_network(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    """Ours and published ones; with as many classes nothing is left out, with others the head."""
    torch.manual_seed(0)
    spec = models.build(str(runs.narrow), 3)
    fewer = "the head keeps box, objectness and no class, for 3 classes in place of 1"
    for names, classes, said in ((["bare", "masked", "wrong"], 3, ""), (["a"], 1, fewer)):
        model = models.build(spec.layout, classes)
        kept = {"layout": spec.layout, "classes": classes, "names": names, "ema": model.state_dict()}
        checkpoint.save(runs.folder / "w.pt", {"kind": "weights", **kept})
        capsys.readouterr()
        assert runs("--weights w.pt", cfg=None, epochs=1) == 0
        out = capsys.readouterr().out
        assert "network: narrow, from w.pt; --cfg chooses another" in out
        assert said in out
        assert state_of(runs.run())["layout"] == spec.layout
    published = save_published(runs.folder / "p.pt", models.build("yolov5n", 3).state_dict(), names=names * 3)
    assert runs(f"--weights {published} --name p", cfg=None, epochs=1) == 0
    assert state_of(runs.run("p"))["options"]["run"]["cfg"] == "yolov5n"


def test_weights_of_another_network_than_cfg_asks_for(runs: Runs, capsys: pytest.CaptureFixture) -> None:
    deeper = models.build(models.build(str(runs.narrow), 3).layout | {"name": "deeper", "depth": 1.0}, 3)
    kept = {"layout": deeper.layout, "classes": 3, "names": ["a", "b", "c"], "ema": deeper.state_dict()}
    checkpoint.save(runs.folder / "d.pt", {"kind": "weights", **kept})
    assert runs("--weights d.pt", epochs=1) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if "tensors taken" in line)
    assert said.startswith("warning: weights: ")
    assert "taken from d.pt; it holds deeper, so only what fits was copied" in said
    assert runs("--weights d.pt", cfg="yolov5s") == 2
    assert (
        "of 177 tensors fit yolov5s; it holds deeper; give the --cfg it was trained with, or leave --cfg out"
        in capsys.readouterr().out
    )
    assert runs("--weights none.pt") == 2
    assert "none.pt: no such checkpoint" in capsys.readouterr().out
    (runs.folder / "yolov5n.pt").symlink_to("gone.pt")
    assert runs("--weights yolov5n.pt") == 2
    assert "yolov5n.pt: a broken link" in capsys.readouterr().out
