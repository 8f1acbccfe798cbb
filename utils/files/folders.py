"""Numbered folders for what a command leaves."""

from __future__ import annotations

from pathlib import Path

from utils.errors import UserError


def numbered(project: str | Path, name: str, exist_ok: bool = False) -> Path:
    """Make `project/name`, or name2, name3 ... where it is taken and `exist_ok` is off. Returns its path."""
    number = 1
    while True:
        folder = Path(project) / (name if number == 1 else f"{name}{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if exist_ok and folder.is_dir():
                return folder
            number += 1
        except OSError as error:
            raise UserError(f"{folder}: cannot make the folder ({error.strerror}); choose another --project") from error
