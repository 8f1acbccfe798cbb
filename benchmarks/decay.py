"""Rate by decay, coupled against decoupled: `python -m benchmarks.decay --data mask.yaml --out docs/images/decay`.

The grids of "Decoupled Weight Decay Regularization" (arXiv 1711.05101, figures 1 and 2) in the small: the same short
run for each pair of a learning rate and a weight decay, under an optimizer with L2 and under its decoupled twin.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import train
from benchmarks import machine
from utils.console.log import progress
from utils.tracker import read_csv

RATES = (0.001, 0.002, 0.004)
# adam: added to the gradient; adamw (paper): what each step takes off the weights at the peak of the schedule
DECAYS = {"adam": (0.0, 0.0005, 0.005, 0.05), "adamw": (0.0, 0.001, 0.005, 0.02)}
EXTRA = {"adam": [], "adamw": ["--optim-arg", "convention=paper"]}


def run_one(options: argparse.Namespace, optim: str, rate: float, decay: float, seed: int) -> dict[str, float]:
    """Train one cell of the grid; returns the last row of its results.csv."""
    with tempfile.TemporaryDirectory() as folder:
        argv = f"--data {options.data} --hyp small.yaml --cfg yolov5n --imgsz {options.imgsz} --epochs {options.epochs}"
        argv += f" --batch-size 16 --nbs 16 --lr-policy cosine --optim {optim} --lr0 {rate} --weight-decay {decay}"
        argv += f" --seed {seed} --device {options.device} --noval --nosave --noplots --project {folder} --name run"
        if train.main([*argv.split(), *EXTRA[optim]]) != 0:  # a diverged run is a result too
            return {"metrics/mAP_0.5": float("nan"), "val/obj_loss": float("nan")}
        return read_csv(Path(folder) / "run" / "results.csv")[-1]


def draw(rows: Sequence[dict], out: Path) -> None:
    """A heat map of mAP50 for each optimizer, rates down and decays across."""
    from matplotlib.figure import Figure

    optims = list(dict.fromkeys(row["optim"] for row in rows))
    top = max(row["map50"] for row in rows if row["map50"] == row["map50"])
    figure = Figure(figsize=(5 * len(optims), 4), layout="constrained")
    for axes, optim in zip(np.atleast_1d(figure.subplots(1, len(optims))), optims, strict=True):
        decays = DECAYS[optim]
        cells = {(row["lr0"], row["weight_decay"]): [] for row in rows if row["optim"] == optim}
        for row in rows:
            if row["optim"] == optim:
                cells[row["lr0"], row["weight_decay"]].append(row["map50"])
        grid = np.array([[np.mean(cells[rate, decay]) for decay in decays] for rate in RATES])
        axes.imshow(grid, vmin=0, vmax=top, cmap="viridis", aspect="auto")
        for (y, x), value in np.ndenumerate(grid):
            axes.text(x, y, f"{value:.3f}", ha="center", va="center", color="w" if value < 0.6 * top else "k")
        axes.set_xticks(range(len(decays)), [f"{decay:g}" for decay in decays])
        axes.set_yticks(range(len(RATES)), [f"{rate:g}" for rate in RATES])
        axes.set(title=f"{optim}: mAP50", xlabel="weight decay", ylabel="learning rate")
    figure.savefig(out, dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the grid, writing the table as it grows and the picture at the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decay", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mask.yaml")
    parser.add_argument("--imgsz", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("docs/images/decay"))
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    cells = [(o, r, d, s) for s in range(options.seeds) for o in DECAYS for r, d in itertools.product(RATES, DECAYS[o])]
    rows: list[dict] = []
    with open(options.out / "decay.csv", "w", newline="", encoding="utf-8") as file:
        columns = ["optim", "lr0", "weight_decay", "seed", "map50", "val_obj_loss"]
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        for optim, rate, decay, seed in progress(cells, desc="grid", unit="run"):
            last = run_one(options, optim, rate, decay, seed)
            row = {"optim": optim, "lr0": rate, "weight_decay": decay, "seed": seed}
            rows.append(row | {"map50": last["metrics/mAP_0.5"], "val_obj_loss": last["val/obj_loss"]})
            table.writerow(rows[-1])
            file.flush()
    draw(rows, options.out / "decay.png")
    machine.write(options.out / "machine.json", vars(options) | {"out": str(options.out)}, options.device)


if __name__ == "__main__":
    main()
