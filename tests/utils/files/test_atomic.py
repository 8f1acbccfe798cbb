"""Atomic writing: whatever fails and whenever, the file holds the old content or the new."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils.files.atomic import previous, write_atomic

CRASHES = ("fsync", "replace")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    write_atomic(path, b"first")
    return path


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


@pytest.mark.parametrize("data", [b"bytes", memoryview(b"bytes"), "text with ü"])
def test_writes_and_leaves_nothing_else(file: Path, data: bytes | memoryview | str) -> None:
    write_atomic(file, data)
    assert file.read_bytes() == (data.encode() if isinstance(data, str) else bytes(data))
    assert names(file.parent) == {"last.pt"}


@pytest.mark.parametrize("step", CRASHES)
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("keep", [False, True])
def test_a_failure_before_the_rename_keeps_the_old(
    file: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, keep: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_atomic(file, b"second", keep_previous=keep)
    assert file.read_bytes() == b"first"
    assert names(file.parent) == {"last.pt"}


def test_a_failure_of_the_last_rename_keeps_the_old_with_its_previous(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(file, b"second", keep_previous=True)
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if target == file:
            raise OSError("gone")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="gone"):
        write_atomic(file, b"third", keep_previous=True)
    assert file.read_bytes() == b"second"
    assert names(file.parent) == {"last.pt", "last.previous.pt"}


@pytest.mark.parametrize("links", [True, False])
def test_keeps_one_generation(file: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no hard links here")))
    for content in (b"second", b"third"):
        write_atomic(file, content, keep_previous=True)
    assert (file.read_bytes(), previous(file).read_bytes()) == (b"third", b"second")
    assert names(file.parent) == {"last.pt", "last.previous.pt"}


def test_the_first_write_has_no_previous(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new.pt", b"x", keep_previous=True)
    assert names(tmp_path) == {"new.pt"}


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_removes_what_a_killed_process_left_but_not_what_another_is_writing(file: Path) -> None:
    old, new = file.with_name(".last.pt.1-1.tmp"), file.with_name(".last.pt.2-2.tmp")
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    write_atomic(file, b"second")
    assert names(file.parent) == {"last.pt", new.name}


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "no" / "file", b"x")


def test_a_killed_writer_leaves_whole_files(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    code = (
        "import sys, itertools; from utils.files.atomic import write_atomic\n"
        "for i in itertools.count(): write_atomic(sys.argv[1], bytes([i % 256]) * 3_000_000, keep_previous=True)"
    )
    for i in range(4):
        writer = subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=Path(__file__).parents[3])
        while not previous(file).exists():
            assert writer.poll() is None
            time.sleep(0.005)
        time.sleep(0.013 * (i + 1))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        for path in (file, previous(file)):
            content = path.read_bytes()
            assert len(content) == 3_000_000
            assert len(set(content)) == 1
        previous(file).unlink()
