"""The workers of a cluster as its nodes come and go: on a Ray that answers what it is told to."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ablation import ray_actor, ray_pool
from ablation.ray_pool import RayWorkerPool
from ablation.slots import Demand
from ablation.study import FILE
from utils.errors import UserError


class RayError(Exception):
    """The kinds of errors are Ray's."""


class RayActorError(RayError):
    """An actor that is gone, or its node."""


class RayTaskError(RayError):
    """A fault in an actor's method."""


class Methods:
    """An actor's methods: each call is the name of its answer."""

    def __init__(self, node: str, cluster: FakeRay) -> None:
        self.node, self.cluster = node, cluster

    def __getattr__(self, name: str) -> Any:
        def remote(*_: Any) -> tuple[str, str, int]:
            self.cluster.calls.append((name, self.node))
            return (name, self.node, len(self.cluster.calls))

        return SimpleNamespace(remote=remote)


@dataclass
class FakeRay:
    """Ray as the pool sees it. `answers`: what methods return or raise, by method and node; without one they wait."""

    has: dict[str, dict[str, float]]
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    killed: int = 0
    exceptions = SimpleNamespace(RayError=RayError, RayActorError=RayActorError, RayTaskError=RayTaskError)
    util = SimpleNamespace(
        scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
    )

    def init(self, address: str, **settings: Any) -> None:
        if address == "auto":
            raise ConnectionError("Could not find any\nrunning Ray instance.")

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": True, "Resources": kind} for name, kind in self.has.items()]

    def remote(self, scheduling_strategy: str, **asked: Any) -> Any:
        return lambda kind: SimpleNamespace(remote=lambda *_: Methods(scheduling_strategy, self))

    def wait(self, pending: list[tuple], num_returns: int, timeout: float) -> tuple[list[tuple], list[tuple]]:
        return [p for p in pending if p[:2] in self.answers], []

    def get(self, pending: Any, timeout: float = 0) -> Any:
        answer = self.answers.get(pending[:2]) if isinstance(pending, tuple) else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, actor: Methods) -> None:
        self.killed += 1

    def shutdown(self) -> None:
        pass


ANYWHERE = Demand()
STARTED = {"host": "h", "gpus": "", "wrong": ""}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes a pool on a fake cluster, which looks at the nodes every time."""
    monkeypatch.setattr(ray_pool, "LOOK", 0.0)
    (tmp_path / FILE).touch()

    def make(has: dict[str, dict[str, float]], demand: Demand = ANYWHERE, **answers: Any) -> tuple:
        fake = FakeRay(has, {tuple(name.split("_")): answer for name, answer in answers.items()})
        monkeypatch.setattr(ray_pool, "_ray", lambda: fake)
        pool = RayWorkerPool("local", demand, tmp_path, "faces.yaml")
        pool.keep(None)
        return fake, pool

    return make


def at(pool: RayWorkerPool) -> list[str]:
    pool.wait([], 0.0)
    return sorted(worker.node for worker in pool.workers)


def test_nodes_come_and_go(made: Any) -> None:
    fake, pool = made({"a": {"CPU": 2.0}}, Demand("cpu"), start_a=STARTED, start_b=STARTED, start_c=STARTED)
    assert pool.size == 1
    assert at(pool) == ["a"]
    fake.has |= {"b": {"CPU": 4.0}, "head": {}, "c": {"CPU": 1.0, "GPU": 1.0}}
    assert at(pool) == ["a", "b", "c"]
    assert pool.size == 3
    del fake.has["a"]
    assert at(pool) == ["b", "c"]
    assert fake.calls.count(("start", "b")) == 1


def test_only_workers_that_have_started_take_runs(made: Any) -> None:
    """What others use is waited for."""
    fake, pool = made({"a": {"GPU": 2.0, "CPU": 4.0}, "b": {"CPU": 4.0}}, Demand())
    assert at(pool) == []
    fake.answers["start", "a"] = STARTED | {"gpus": "0"}
    assert at(pool) == ["a", "a"]
    assert pool.workers[0].place == pool.workers[1].place  # this Ray gave both the same GPU: they share its memory
    assert fake.calls.count(("start", "b")) == 0


def test_a_run_of_several_gpus_is_told_which(made: Any) -> None:
    _, pool = made({"a": {"GPU": 4.0}}, Demand(gpus=2), start_a=STARTED | {"gpus": "2,3"})
    assert at(pool) == ["a", "a"]
    assert {worker.place.device for worker in pool.workers} == {"0,1"}


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RayActorError("x\nThe actor died because its node has died. Node Id: 7"), True),
        (RayTaskError("Traceback ...\nOSError: [Errno 28] No space left"), False),
    ],
)
def test_an_actor_that_is_gone_is_replaced(made: Any, error: Exception, is_lost: bool) -> None:
    fake, pool = made({"a": {"CPU": 1.0}}, Demand("cpu"), start_a=STARTED)
    assert at(pool) == ["a"]
    (worker,) = pool.workers
    worker.begin({})
    assert pool.wait([worker], 0.0) == []
    fake.answers["do", "a"] = error
    ((found, answer),) = pool.wait([worker], 0.0)
    assert found is worker
    assert answer == {
        "lost" if is_lost else "died": True,
        "how": "its node has died" if is_lost else "OSError: [Errno 28] No space left",
    }
    assert (worker in pool.workers) == (not is_lost)
    assert at(pool) == ["a"]
    assert (pool.workers[0] is worker) == (not is_lost)
    assert fake.killed == is_lost


def test_an_unfit_node_takes_no_run(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake, pool = made(
        {"a": {"CPU": 1.0}, "b": {"CPU": 1.0}},
        Demand("cpu"),
        start_a=STARTED,
        start_b=STARTED | {"host": "bad", "wrong": "/data: no such folder there"},
    )
    for _ in range(3):
        assert at(pool) == ["a"]
    assert caplog.text.count("node not used: bad: /data: no such folder there") == 1
    del fake.has["a"]
    with pytest.raises(UserError, match="no node can run one; bad: /data"):
        at(pool)


def test_a_node_where_no_actor_starts_is_given_up(made: Any) -> None:
    why = RayActorError(
        "x\nThe actor died because of a fault: Traceback\nModuleNotFoundError: No module named 'ablation'"
    )
    fake, pool = made({"abc": {"CPU": 1.0}}, Demand("cpu"), start_abc=why)
    for _ in range(ray_pool.ATTEMPTS):
        assert at(pool) == []
    with pytest.raises(UserError, match="node abc: ModuleNotFoundError: No module named 'ablation'"):
        at(pool)
    assert fake.calls.count(("start", "abc")) == ray_pool.ATTEMPTS


def test_what_is_waited_for_is_said_once(made: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake, pool = made({"a": {"CPU": 1.0}}, Demand("cpu"))
    monkeypatch.setattr(ray_pool, "STARTING", -1.0)
    for _ in range(4):
        at(pool)
    assert caplog.text.count("waiting for the cluster: the resources of its nodes are in use") == 1
    fake.answers["start", "a"] = STARTED
    assert at(pool) == at(pool) == ["a"]
    fake.has.clear()
    for _ in range(4):
        at(pool)
    assert caplog.text.count("no remaining node has room for a run") == 1


def test_a_cluster_that_is_not_reached(made: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made({"a": {"CPU": 1.0}})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # bound, and nobody listens
        for given, says in {
            address: f"--ray {address}: .*refused; give HOST:PORT",
            "ray://a:10001": "Ray Client is not supported: start ablate.py on a node of the cluster",
            "auto": "--ray auto: Could not find any running Ray instance.; give HOST:PORT",
        }.items():
            with pytest.raises(UserError, match=says) as error:
                RayWorkerPool(given, Demand("cpu"), tmp_path, "faces.yaml")
            assert "\n" not in str(error.value)


def test_a_cluster_that_is_gone(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, pool = made({"a": {"CPU": 1.0}}, Demand("cpu"))

    def gone() -> None:
        raise RuntimeError("rpc failed")

    monkeypatch.setattr(fake, "nodes", gone)
    with pytest.raises(UserError, match=r"the cluster is gone .rpc failed.; start it again, then --resume"):
        at(pool)


def test_what_must_be_shared(tmp_path: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "study"
    study.mkdir()
    (study / FILE).write_text("a")

    def wrong(**changed: Any) -> str:
        here = ray_actor.shared(study, str(faces))
        actor = ray_actor.RayActor("cpu", study / "workers.log", SimpleNamespace(**{**vars(here), **changed}), 1.0)
        return actor.start()["wrong"]

    assert wrong() == ""
    assert wrong(cwd="/nowhere/at/all").startswith("/nowhere/at/all: no such folder there")
    assert wrong(seen="other").startswith(f"{study}: is not this study's folder there")
    assert wrong(study=tmp_path).startswith(f"{tmp_path}: is not this study's folder there")
    assert wrong(code="other").endswith("differs from this one; bring it to the same commit")
    assert wrong(data="none.yaml").startswith("no data set file 'none.yaml'")
