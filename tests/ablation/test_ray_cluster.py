"""Studies on a Ray cluster of several nodes, all on this machine: some are lost, some join, some are too small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ablation import records
from ablation.view import FINISHED
from tests.ablation.studies import STUDY, assert_same_study, child, statuses, study, words
from tests.trainer import Runs, wait_for

ray = pytest.importorskip("ray", reason="pip install -r requirements-ray.txt")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster whose head takes no run."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        yield made
        made.shutdown()


@contextmanager
def nodes(cluster: Any, *kinds: dict[str, int]) -> Iterator[list[Any]]:
    """Nodes for a while; those that were removed in between are gone already."""
    added = [cluster.add_node(**kind) for kind in kinds]
    try:
        yield added
    finally:
        for node in added:
            if node in cluster.worker_nodes:
                cluster.remove_node(node, allow_graceful=False)


def epochs(name: str, number: int) -> Callable[[], bool]:
    return lambda: records.epochs_done(STUDY / "runs" / name) >= number


def test_a_node_is_lost_and_another_joins(runs: Runs, cluster: Any) -> None:
    """For a while there is none. The new one takes up the run from its last checkpoint, on a worker of its own."""
    flags = "--optim adamw --save-steps 1"
    with nodes(cluster, {"num_cpus": 1}) as added:
        process = child(words(runs, f"{flags} --ray {cluster.address}", epochs=6))
        wait_for(process, epochs("linear-adamw-s0", 2))
        cluster.remove_node(added[0], allow_graceful=False)
        assert statuses() != {"linear-adamw-s0": FINISHED}
        added.append(cluster.add_node(num_cpus=1))
        text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text
    assert "linear-adamw-s0: its worker was lost" in text
    assert len(records.read(STUDY / "runs" / "linear-adamw-s0").sessions) == 2
    assert study(runs, f"{flags} --name whole", epochs=6) == 0
    assert_same_study(STUDY, STUDY.with_name("whole"))


def test_runs_of_several_gpus(runs: Runs, cluster: Any) -> None:
    """The node says that it has GPUs; a run is told of two, which train.py then misses."""
    with nodes(cluster, {"num_cpus": 1, "num_gpus": 5}):
        process = child(words(runs, f"--ray {cluster.address} --gpus-per-run 2", device=None))
        text = process.communicate(timeout=300)[0]
    assert process.returncode == 1, text
    assert "1 run, 1 to do, 2 at once" in text
    assert "error: --device 0" in records.read(STUDY / "runs" / "linear-sgd-s0").error


def test_what_is_asked_for_in_vain(runs: Runs, cluster: Any) -> None:
    with nodes(cluster, {"num_cpus": 1}):
        for flags, says in {
            "--gpus-per-run 2": "no GPU of the cluster is used",
            "--cpus-per-run 2": "--cpus-per-run 2: no node of the cluster has more than 1",
        }.items():
            process = child(words(runs, f"--ray {cluster.address} {flags}"))
            last = process.communicate(timeout=300)[0].splitlines()[-1]
            assert process.returncode == 2
            assert last.startswith("error: ")
            assert says in last
