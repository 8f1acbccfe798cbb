"""An exported file comes to its place whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from exporters.formats import Export, Format, require
from utils.errors import UserError


def write(form: Format, export: Export, out: Path) -> None:
    """Write `export` in a hidden folder beside `out`, then move it there, in place of what an earlier export left.

    UserError where a package is missing, the format refuses, the disk does, or a folder at `out` is somebody else's.
    """
    require(form.needs, f"--include {form.name}")
    if out.is_dir() and not form.owns(out):
        raise UserError(f"{out}: is a folder with other contents; move it away")
    scratch = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        scratch.mkdir(parents=True)
        form.write(export, scratch / out.name)
        if out.is_dir():
            shutil.rmtree(out)
        os.replace(scratch / out.name, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}); choose another --out") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def megabytes(path: Path) -> float:
    """The size of a file, or of the files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6
