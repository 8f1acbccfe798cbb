"""The folder that a detection leaves."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import yaml

from predict.options import Options
from utils.errors import UserError
from utils.files.folders import numbered

MARK = "detect.yaml"  # the options; where it lies, the folder is one of ours
OURS = ("labels", "crops", "predictions.csv", "predictions.json")


def begin(options: Options) -> Path:
    """Make the folder. Where one is used again, the tables, labels and crops of the earlier detection go.

    Raises UserError where it cannot be made.
    """
    folder = numbered(options.project, options.name, options.exist_ok)
    try:
        if (folder / MARK).is_file():
            for name in OURS:
                place = folder / name
                shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        (folder / MARK).write_text(yaml.safe_dump(dataclasses.asdict(options), sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --project") from None
    return folder
