"""What the figures are held against."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.gpu.setting import Setting
from data.datasets import load_dataset

PASS, FAIL, NOT_JUDGED = "pass", "fail", "not judged"
H100_SHARE = 0.8  # of what an H200 has to reach in pictures a second
MASK = ("with_mask", "without_mask", "mask_weared_incorrect")


@dataclass(frozen=True)
class Bar:
    """`least` and `most` allowed. `by_chip`: stated for an H200, less on an H100, and nothing elsewhere. `hopper`: for
    these two chips alone. `mask`: for the public face-mask set alone. The others hold on every GPU."""

    text: str
    least: float = float("-inf")
    most: float = float("inf")
    by_chip: bool = False
    hopper: bool = False
    mask: bool = False


BARS = {
    "tests": Bar("none fails", most=0),
    "agreement": Bar("within its tolerance", most=1),
    "resume": Bar("identical to the bit", most=0),
    "memory": Bar("the run goes on to its end", least=1),
    "ratio": Bar("at least 0.95 of the bare step", least=0.95, hopper=True),
    "yolov5s": Bar("over 3,000 (H200), 2,400 (H100)", least=3000, by_chip=True),
    "yolov5n": Bar("over 12,000 (H200), 9,600 (H100)", least=12000, by_chip=True),
    "augmentation": Bar("at most 5 % of the step", most=5, hopper=True),
    "waits": Bar("none but the look at the losses every ten batches", most=0),
    "optimizers": Bar("at most 1.0 of torch's faster one", most=1, hopper=True),
    "peer": Bar("at least 3 times YOLOv5's trainer", least=3, hopper=True),
    "minutes": Bar("0.80 mAP50 in under 5 minutes", most=5, hopper=True, mask=True),
    "study": Bar("60 runs of 60 epochs in an hour", most=60, hopper=True, mask=True),
}


def verdict(bar: Bar, value: float | str, chip: str, setting: Setting, mask: bool) -> str:
    """Whether a figure meets its bar on this chip, which words in its place do not; on a CPU, and in a quick run, none
    is judged."""
    scale = 1.0
    if bar.by_chip or bar.hopper:
        known = [name for name in ("H100", "H200") if name in chip]
        if not known:
            return NOT_JUDGED
        scale = H100_SHARE if bar.by_chip and known == ["H100"] else 1.0
    if not setting.on_gpu or setting.quick or (bar.mask and not mask):
        return NOT_JUDGED
    reached = not isinstance(value, str) and bar.least * scale <= value <= bar.most
    return PASS if reached else FAIL


def is_mask_set(setting: Setting) -> bool:
    """Whether the pictures are those of the public face-mask set: its class names, and no drawn sample."""
    if setting.drawn:
        return False
    return set(load_dataset(setting.data, render_sample=False).names) == set(MASK)
