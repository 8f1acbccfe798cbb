"""The folder that a detection leaves."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from predict.addresses import plain
from predict.frames import Origin
from predict.names import film_names
from predict.options import Options
from utils.errors import UserError
from utils.files.folders import numbered

MARK = "detect.yaml"  # the options; where it lies, the folder is one of ours
OURS = ("labels", "crops", "predictions.csv", "predictions.json")


def begin(options: Options, origins: Sequence[Origin]) -> Path:
    """Make the folder. Where one is used again, the tables, labels and crops of the earlier detection go.

    Raises UserError where it cannot be made, and where a source in it would be lost.
    """
    if options.exist_ok:
        _spare(Path(options.project, options.name), origins, not options.nosave)
    folder = numbered(options.project, options.name, options.exist_ok)
    try:
        if (folder / MARK).is_file():
            for name in OURS:
                place = folder / name
                shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        facts = dataclasses.asdict(options) | {"source": plain(options.source)}
        (folder / MARK).write_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another --project") from None
    return folder


def _spare(folder: Path, origins: Sequence[Origin], media: bool) -> None:
    """Raise UserError where a source is what would be written over, or deleted with an earlier detection."""
    films = film_names(origins)
    written = {os.path.realpath(folder / films.get(origin.name, origin.name)) for origin in origins if media}
    gone = [os.path.join(os.path.realpath(folder / name), "") for name in OURS] if (folder / MARK).is_file() else []
    for origin in origins:
        place = os.path.realpath(origin.file)
        if origin.kind in ("picture", "video") and (place in written or place.startswith(tuple(gone))):
            raise UserError(f"{origin.shown}: would be overwritten: the results go to {folder}; choose another --name")
