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
            broken = [path for path in (folder, *folder.parents) if path.is_symlink() and not path.exists()]
            if broken:
                raise UserError(f"{broken[0]}: a broken link; fix it, or choose another --project") from None
            if not folder.exists():
                raise UserError(f"{folder}: cannot make the folder; choose another --project") from None
            number += 1
        except OSError as error:
            raise UserError(f"{folder}: cannot make the folder ({error.strerror}); choose another --project") from error
