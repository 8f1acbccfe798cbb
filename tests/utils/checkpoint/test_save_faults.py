"""A checkpoint's save with each of its system calls failing in turn: the older or the newer one is whole, always."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from utils import checkpoint
from utils.checkpoint.format import plain
from utils.files import atomic
from utils.files.atomic import previous

KEEP = ["unlink", "link", "replace", "unlink"]  # then, a second name for the generation before
COPY = ["unlink", "copyfile", "replace", "unlink"]  # the same where there are no hard links
SWAP = ["replace", "open", "fsync", "close"]  # last, the new name, and the folder
FORGIVEN = {"scandir", "link"}  # tidying up can wait; a copy does for a link
REAL = {name: getattr(os, name) for name in ("scandir", "fsync", "unlink", "link", "replace", "open", "close")}
COPYFILE = shutil.copyfile


def writes() -> list[str]:
    """The writes of a save: as many as torch makes of its archive."""
    torch.save(plain({"format": "", "version": 1, **state(0)}), counter := Counter())
    return ["write"] * counter.writes


class Counter(io.BytesIO):
    writes = 0

    def write(self, data: bytes | memoryview) -> int:
        self.writes += 1
        return super().write(data)


class Faults:
    """Counts what a save asks of the system; the `at`th call, or each from there on, fails by `how`.

    ENOSPC and EIO fail with nothing done; "partly" fails with half of a write done, or all of another call.
    """

    def __init__(self, at: int = 0, how: str = "EIO", lasting: bool = False) -> None:
        self.at, self.how, self.lasting = at, how, lasting
        self.calls: list[str] = []

    def call(self, name: str, do: Callable[[], Any], part: Callable[[], Any] | None = None) -> Any:
        self.calls.append(name)
        if len(self.calls) != self.at and not (self.lasting and len(self.calls) > self.at):
            return do()
        if self.how == "partly":
            with contextlib.suppress(OSError):
                (part or do)()
        raise OSError(number := getattr(errno, self.how, errno.EIO), os.strerror(number))

    def install(self, patch: pytest.MonkeyPatch, links: bool = True) -> Faults:
        for name, real in REAL.items():
            patch.setattr(os, name, lambda *a, _n=name, _r=real, **k: self.call(_n, lambda: _r(*a, **k)))
        patch.setattr(shutil, "copyfile", self.copyfile)
        patch.setattr(atomic, "open", lambda *a: self.call("open", lambda: File(self, open(*a))), raising=False)  # noqa: SIM115
        if not links:
            patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
        return self

    def copyfile(self, source: Path, target: Path) -> None:
        def half() -> None:
            if not (target.exists() and target.samefile(source)):  # which the real one refuses too
                target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])

        self.call("copyfile", lambda: COPYFILE(source, target), half)


class File:
    """A file whose calls may fail."""

    def __init__(self, faults: Faults, file: Any) -> None:
        self.faults, self.file, self.fileno = faults, file, file.fileno

    def write(self, data: bytes | memoryview) -> int:
        half = data[: len(data) // 2]
        return self.faults.call("write", lambda: self.file.write(data), lambda: self.file.write(half))

    def flush(self) -> None:
        self.faults.call("flush", self.file.flush)

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()  # a close that fails has closed all the same
        self.faults.call("close", lambda: None)


def state(step: int) -> dict[str, Any]:
    return {"step": step, "model": torch.full((5000,), float(step))}


WRITE = ["scandir", "open", *writes(), "flush", "fsync", "close"]  # first, the temporary file


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """Two generations: step 0 and, the newer, step 1."""
    for step in (0, 1):
        checkpoint.save(tmp_path / "last.pt", state(step), keep_previous=True)
    return tmp_path / "last.pt"


def generations(last: Path) -> tuple[int, int]:
    """The steps of both, each whole by its checksums and its values, and no other file beside them."""
    assert {path.name for path in last.parent.iterdir()} == {"last.pt", "last.previous.pt"}
    return step_of(last), step_of(previous(last))


def step_of(path: Path) -> int:
    found = checkpoint.load(path)
    assert torch.equal(found["model"], state(found["step"])["model"])
    return found["step"]


def save(last: Path, faults: Faults, patch: pytest.MonkeyPatch, links: bool = True) -> bool:
    """Save step 2 under faults. False where that raised OSError; any other error is one of the test."""
    with patch.context() as context:
        faults.install(context, links)
        try:
            checkpoint.save(last, state(2), keep_previous=True)
        except OSError:
            return False
    return True


@pytest.fixture
def put_back(last: Path) -> Callable[[], None]:
    """Puts the two generations back as they were, alone in their folder."""
    contents = {path: path.read_bytes() for path in last.parent.iterdir()}

    def put_back() -> None:
        for path in last.parent.iterdir():
            path.unlink()
        for path, content in contents.items():
            path.write_bytes(content)

    return put_back


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_the_calls_are_those_that_are_made_to_fail(last: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    faults = Faults()
    assert save(last, faults, monkeypatch, links)
    assert faults.calls == WRITE + (KEEP if links else COPY) + SWAP
    assert generations(last) == (2, 1)


@pytest.mark.parametrize("how", ["ENOSPC", "EIO", "partly"])
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_each_call_failing_once(last: Path, put_back, monkeypatch: pytest.MonkeyPatch, how: str, links: bool) -> None:
    """The error surfaces, both generations are whole, nothing else is left; only what can be forgiven is."""
    calls = WRITE + (KEEP if links else COPY) + SWAP
    swap = len(calls) - len(SWAP)
    for at, name in enumerate(calls):
        put_back()
        saved = save(last, faults := Faults(at + 1, how), monkeypatch, links)
        assert faults.calls[at] == name
        assert saved == (name in FORGIVEN and (how != "partly" or name == "scandir")), name
        renamed = saved or at > swap or (at == swap and how == "partly")
        newest, older = generations(last)
        assert newest == (2 if renamed else 1), name
        assert older in ((1,) if renamed else (0, 1)), name


@pytest.mark.parametrize("how", ["ENOSPC", "EIO", "partly"])
def test_each_call_failing_and_all_after_it(last: Path, put_back, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A mount that vanishes: what is there loads, and the next save, on a sound disk, tidies up."""
    for at in range(1, len(WRITE + KEEP + SWAP) + 1):
        put_back()
        assert not save(last, Faults(at, how, lasting=True), monkeypatch)
        assert step_of(last) in (1, 2)
        assert step_of(previous(last)) in (0, 1)
        checkpoint.save(last, state(3), keep_previous=True)
        assert generations(last)[0] == 3


def test_a_disk_that_takes_only_a_part(last: Path) -> None:
    """The kernel itself cuts the write short, at a limit on the size of files."""
    size, limits = last.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1, size // 2, size - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(OSError) as caught:
                checkpoint.save(last, state(2), keep_previous=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.EFBIG
        assert generations(last) == (1, 0)
    checkpoint.save(last, state(2), keep_previous=True)
    assert generations(last) == (2, 1)
