"""A step of our optimizers against torch's faster one, over the parameters of whole networks."""

from __future__ import annotations

from benchmarks.gpu.findings import Findings
from benchmarks.gpu.setting import Setting
from benchmarks.optimizers import RULES, compare


def run(setting: Setting, findings: Findings) -> None:
    """The figures of `benchmarks.optimizers`; torch's fused optimizer against itself shows the noise."""
    for name in ("yolov5s", "yolov5x")[: setting.either(2, 1)]:
        for rule in RULES:
            rows = compare(setting.layout(name), rule, setting.where, setting.either(60, 3))
            findings.detail(f"{name}, {rule}", rows)
            for row in rows:
                fused = row["optimizer"].startswith(rule)  # in one kernel, as torch's: that is the bar
                if fused or rule == "others" or row["optimizer"] == "torch fused again":
                    what = f"{name}, {row['optimizer']}: over torch's ({row['ms']:.2f} ms)"
                    findings.add(what, round(row["ratio"], 2), bar="optimizers" * fused)
