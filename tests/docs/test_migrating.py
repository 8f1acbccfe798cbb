"""docs/migrating.md against the commands: every flag of YOLOv5 v7.0 is there, and is what the page says."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
YOLOV5 = {
    "train.py": "weights cfg data hyp epochs batch-size imgsz img img-size rect resume nosave noval noautoanchor "
    "noplots evolve bucket cache image-weights device multi-scale single-cls optimizer sync-bn workers project name "
    "exist-ok quad cos-lr label-smoothing patience freeze save-period seed local-rank entity upload-dataset "
    "bbox-interval artifact-alias",
    "val.py": "data weights batch-size imgsz img img-size conf-thres iou-thres max-det task device workers single-cls "
    "augment verbose save-txt save-hybrid save-conf save-json project name exist-ok half dnn",
    "detect.py": "weights source data imgsz conf-thres iou-thres max-det device view-img save-txt save-csv save-conf "
    "save-crop nosave classes agnostic-nms augment visualize update project name exist-ok line-thickness hide-labels "
    "hide-conf half dnn vid-stride",
    "export.py": "data weights imgsz batch-size device half inplace keras optimize int8 dynamic simplify opset "
    "workspace nms agnostic-nms topk-per-class topk-all iou-thres conf-thres include",
}
HYP = (
    "lr0 lrf momentum weight_decay warmup_epochs warmup_momentum warmup_bias_lr box cls cls_pw obj obj_pw iou_t "
    "anchor_t anchors fl_gamma hsv_h hsv_s hsv_v degrees translate scale shear perspective flipud fliplr mosaic "
    "mixup copy_paste"
)


def rows(section: str) -> list[tuple[str, str]]:
    """The two cells of each row of a section's tables, without the heads."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (.*?) ?\| (.+) \|$", text, flags=re.MULTILINE)
    return [(left, right) for left, right in cells if not left.startswith(("YOLOv5", "---"))]


def flags_of(command: str) -> tuple[set[str], set[str]]:
    """The flags that a command takes, and those that it refuses by name."""
    module = importlib.import_module("training.options" if command == "train.py" else command.removesuffix(".py"))
    kinds = [module.RunOptions, module.Hyp] if command == "train.py" else [module.Options]
    taken = set()
    for field in (field for kind in kinds for field in dataclasses.fields(kind)):
        taken |= {"--" + field.name.replace("_", "-"), *field.metadata["aliases"]}
    return taken, set(module.REFUSED)


@pytest.mark.parametrize("command", [name for name in YOLOV5 if (ROOT / name).exists()])
def test_every_flag_is_what_the_page_says(command: str) -> None:
    taken, refused = flags_of(command)
    told: set[str] = set()
    for left, right in rows(command):
        names = set(re.findall(r"`(--[a-z0-9-]+)`", left))
        told |= names
        if right.startswith("same"):
            assert names <= taken
        elif right.startswith("refused"):
            assert names <= refused
        else:
            assert names <= taken | refused
        named = set(re.findall(r"`(--[a-z0-9-]+)", right))
        assert named <= taken, f"{command}: {named - taken}"
    assert told == {"--" + name for name in YOLOV5[command].split()}
    assert not told - taken - refused


def test_every_hyper_parameter_is_what_the_page_says() -> None:
    options = importlib.import_module("training.options")
    known = {field.name for field in dataclasses.fields(options.Hyp)}
    told: set[str] = set()
    for left, right in rows("Hyper-parameter files")[: HYP.count(" ")]:
        names = set(re.findall(r"`([a-z0-9_]+)`", left))
        told |= names
        assert names <= (set(options.UNUSED_HYP) if right.startswith("accepted without effect") else known)
    assert told - {"label_smoothing"} == set(HYP.split())


def test_every_file_named_here_exists() -> None:
    here = [right for section in ("Hyper-parameter files", "Programs and files") for _, right in rows(section)]
    named = [name for text in here for name in re.findall(r"`((?:models|data|utils|training|tests)/[\w./]*)`", text)]
    assert len(named) > 12
    assert [name for name in named if not (ROOT / name).exists()] == []
