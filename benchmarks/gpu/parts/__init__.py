"""The parts, in the order in which they run: a module of this package each, with `run(setting, findings)`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """`seconds`: its share of the time. What a part does not use, those after it may, up to twice their share."""

    name: str
    title: str
    seconds: float

    @property
    def module(self) -> str:
        return f"{__name__}.{self.name}"


PARTS = (
    Part("chip", "environment and chip", 20),
    Part("tests", "the tests marked gpu", 70),
    Part("agreement", "GPU against CPU", 40),
    Part("resume", "killed and resumed", 40),
    Part("memory", "out of memory", 35),
    Part("throughput", "throughput", 130),
    Part("hot_loop", "where the time goes", 25),
    Part("optimizers", "optimizers", 20),
    Part("saving", "saving", 20),
    Part("validation", "validation", 15),
    Part("peers", "other trainers", 30),
    Part("accuracy", "minutes to an accuracy", 50),
    Part("study", "a study of twelve runs", 35),
)
AHEAD = Part("compile_ahead", "", 0)  # beside the first of them
