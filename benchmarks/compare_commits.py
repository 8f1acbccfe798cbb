"""Whether two commits train alike, to the bit: `python -m benchmarks.compare_commits HEAD~1 HEAD`.

Each commit is checked out into a folder of its own, and the same small trainings run in both, on the same drawn
pictures. results.csv, lr.csv and cycles.csv are compared by bytes, checkpoints by every tensor's bits and every value.
Exit code 1 where anything differs. For a change that is not to change a run: refactoring, speed, new options.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.compare import run_differences
from data.sample import render
from utils.console.log import progress

ROOT = Path(__file__).resolve().parents[1]
COMMON = (
    "--hyp default.yaml --imgsz 64 --batch-size 4 --nbs 8 --epochs 3 --workers 0 --noplots --device cpu --dtype fp32"
)
TRAININGS = {
    "sgd": "--optim sgd --lr-policy linear",
    "sgdr": "--optim adamw --lr-policy sgdr --lr-arg cycles=2 --save-period 1",
    "onecycle": "--optim sgdw --lr-policy onecycle --batch-size 3 --clip-grad 10",
    "clr": "--optim adam --lr-policy clr --multi-scale --single-cls",
    "accumulated": "--optim sgdw --lr-policy cosine --batch-size 2 --nbs 8 --save-steps 2",
}
MAY_DIFFER = (".options", ".environment", ".data")  # new options, another machine, another folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trainings in both commits and print what differs. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare_commits", description=__doc__.splitlines()[0])
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", help="another one; `WORK` is the working tree as it is")
    parser.add_argument("--only", choices=TRAININGS, nargs="+", default=list(TRAININGS), help="these trainings alone")
    given = parser.parse_args(argv)
    differing = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = prepare(folder)
        with checkout(given.before, folder / "before") as before, checkout(given.after, folder / "after") as after:
            for training in progress(given.only, desc="trainings"):
                runs = [run(tree, folder / f"runs-{tree.name}", training, words) for tree in (before, after)]
                found = run_differences(*runs, but=MAY_DIFFER)
                differing += bool(found)
                print(f"{training}: " + ("identical" if not found else "; ".join(found[:5])), flush=True)
    return 1 if differing else 0


def prepare(folder: Path) -> list[str]:
    """Draw the pictures and describe a narrow network; returns the flags that name them."""
    render(folder / "faces", seed=0, train=11, val=4)
    data, cfg = folder / "faces.yaml", folder / "narrow.yaml"
    data.write_text(f"path: {folder / 'faces'}\ntrain: images/train\nval: images/val\nnames: [bare, masked, wrong]\n")
    cfg.write_text("layout: yolov5\ndepth: 0.33\nwidth: 0.0625\n")
    return ["--data", str(data), "--cfg", str(cfg), *COMMON.split()]


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """The tree of a commit in `folder`, as a git worktree that is removed afterwards; the working tree for WORK."""
    if commit == "WORK":
        folder.symlink_to(ROOT)
        yield folder
        return
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def run(tree: Path, project: Path, name: str, words: Sequence[str]) -> Path:
    """One training with the code of `tree`, on one thread; returns its folder. RuntimeError where it fails."""
    command = [sys.executable, "train.py", *words, *TRAININGS[name].split(), "--project", str(project), "--name", name]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name} failed in {tree.name}: {(done.stderr or done.stdout).strip()[-500:]}")
    return project / name


if __name__ == "__main__":
    sys.exit(main())
