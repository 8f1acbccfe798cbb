"""Two launchers, as on two hosts: when a process of one has died, both start theirs again and go on with the run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer import ROOT, Runs, assert_identical, wait_for

LIMIT = 240  # seconds, on a loaded machine


def launchers(runs: Runs, words: list[str]) -> list[subprocess.Popen]:
    """torchrun twice, for a process each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=3"]
    line += [
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{port}",
        "--rdzv-id=two",
        str(ROOT / "train.py"),
        *words,
    ]
    env = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return [subprocess.Popen(line, cwd=runs.folder, env=env, **pipes) for _ in range(2)]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")
def test_both_go_on_when_a_process_of_one_has_died(runs: Runs) -> None:
    """The launcher whose own process was well counts no restart; the parts asked for stay."""
    flags = "--optim adamw --parts 3 --save-steps 1"
    begun = launchers(runs, runs.flags(f"{flags} --name two --timeout 60", epochs=6, batch_size=4))
    try:
        wait_for(begun[0], (runs.run("two") / "weights" / "last.pt").is_file, LIMIT)
        children = Path(f"/proc/{begun[1].pid}/task/{begun[1].pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        said = [launcher.communicate(timeout=LIMIT)[0] for launcher in begun]
    finally:
        for launcher in begun:
            launcher.kill()
    assert [launcher.returncode for launcher in begun] == [0, 0], said
    assert "resuming" in "".join(said)
    assert not runs.run("two2").exists()
    assert runs(f"{flags} --name one", epochs=6, batch_size=4) == 0
    assert_identical(runs.run("two"), runs.run("one"), but=(".options.run.name", ".options.run.timeout"))
