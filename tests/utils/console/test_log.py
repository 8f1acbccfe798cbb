"""What is said on the console and kept in train.log cannot steer a terminal, and an error is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.console import log

HOSTILE = "a\x1b[31m\r\x9b2J\u202e\udcff\0b"
ESCAPED = r"a\x1b[31m\r\x9b2J\u202e\udcff\x00b"


def test_what_steers_a_terminal_is_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = log.setup(tmp_path / "train.log")
    logger.info("info %s\nmore\tof it", HOSTILE)
    logger.error("error %s\nerror: another", HOSTILE)
    said = f"info {ESCAPED}\nmore\tof it\nerror: error {ESCAPED}\\nerror: another\n"
    assert capsys.readouterr().out == said
    assert (tmp_path / "train.log").read_text() == said


def test_letters_of_any_script_stay(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Größe, 大きさ, размер, \U0001f600, a\u00a0b"
    log.setup().warning(text)
    assert capsys.readouterr().out == f"warning: {text}\n"
