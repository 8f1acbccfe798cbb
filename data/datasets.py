"""The data YAML: which classes there are and where the pictures lie; and the built-in sample where there are none."""

from __future__ import annotations

import difflib
import logging
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.sample import is_sample, render
from data.sources import absolute, find_root, find_sources
from utils.config.safe_yaml import load_yaml, place
from utils.console.log import one_line
from utils.errors import UserError, nearest

LOGGER = logging.getLogger("anneal")
KEYS = ("path", "train", "val", "test", "names", "nc", "sample", "download")
OTHER_SPLITS = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}
NEAR = 0.8  # likeness from which an unknown key is a misspelt one of ours, and not a key of another tool
SAMPLES = ("faces",)
PACKAGE = Path(__file__).resolve().parent

_RENDERING = """{root} does not exist: drawing the built-in sample there and using it.
  The sample is drawn faces. It shows that everything works; what is learned from it does not carry over to photographs.
  For the real set, download https://www.kaggle.com/datasets/andrewmvd/face-mask-detection; this replaces the sample:
    python -m data.convert voc PATH/TO/face-mask-detection --out {out} --val 0.15 --seed 0"""


@dataclass(frozen=True)
class DatasetConfig:
    """A data set as its YAML describes it. Sources are absolute: folders, or `.txt` lists of pictures."""

    file: Path
    root: Path
    names: tuple[str, ...]
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    test: tuple[Path, ...]  # may be empty, and unlike the other two need not exist yet
    sample: bool  # the pictures are the built-in sample
    poses: bool = False  # key points follow the box in a label row (`kpt_shape`)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.names)


def load_dataset(data: str | Path, render_sample: bool = True) -> DatasetConfig:
    """Read a data YAML, found as a path or in this package's folder.

    `path` is taken from the current folder or the YAML's, whichever has the pictures. Where neither exists and the
    YAML says `sample: faces`, the built-in sample is drawn, with a notice, unless `render_sample` is false. Text under
    `download` is never run. UserError, naming file and line, for a missing file or source, and for missing, unknown or
    wrong keys.
    """
    file = _find(data)
    content = load_yaml(file, as_written="names")
    _check_keys(file, content)
    names = _names(file, content)
    root = find_root(file, content)
    if "sample" in content and content["sample"] not in SAMPLES:
        hint = nearest(str(content["sample"]), SAMPLES)
        raise UserError(f"{place(file, 'sample')}: sample '{content['sample']}' is unknown; {hint}")
    if "sample" in content and render_sample and not root.exists():
        LOGGER.warning("%s", _RENDERING.format(root=_short(root), out=shlex.quote(_short(root))))
        render(root)
    elif is_sample(root):
        LOGGER.warning("%s holds the built-in sample of drawn faces, not photographs.", _short(root))
    train, val = (find_sources(file, content, key, root, must_exist=True) for key in ("train", "val"))
    test = find_sources(file, content, "test", root, must_exist=False) if content.get("test") else ()
    return DatasetConfig(file, root, names, train, val, test, is_sample(root), bool(content.get("kpt_shape")))


def _find(data: str | Path) -> Path:
    if not str(data):  # of a checkpoint that does not say what it was trained on
        raise UserError("no data set is named; give --data with the set's YAML")
    looked = [absolute(data), PACKAGE / data]
    for path in looked:
        if os.path.isfile(path):
            return path
        if os.path.isdir(path):
            raise UserError(f"{path} is a folder; give the data set's YAML file")
    near = [path.parent for path in looked if path.parent == PACKAGE or path == looked[0]]
    known = {path.name for folder in near for path in sorted(folder.glob("*.yaml"))[:100]}
    folders = " and ".join(dict.fromkeys(str(path.parent) for path in looked))
    broken = ", only a broken link" if any(os.path.islink(path) for path in looked) else ""
    hint = f"; {nearest(Path(data).name, known)}" if known else ""
    raise UserError(f"no data set file '{data}'{broken} (looked in {folders}); give --data with the set's YAML{hint}")


def _check_keys(file: Path, content: dict[Any, Any]) -> None:
    for key in content:
        if key not in KEYS and difflib.get_close_matches(str(key).lower(), KEYS, n=1, cutoff=NEAR):
            raise UserError(f"{place(file, key)}: unknown key '{key}'; {nearest(str(key), KEYS)}")
    for key in ("train", "val", "names"):
        if content.get(key) in (None, "", [], {}):
            other = next((name for name in content if OTHER_SPLITS.get(name) == key), None)
            remedy = f"rename '{other}' to '{key}'" if other else f"add a line '{key}: ...' (see data/mask.yaml)"
            raise UserError(f"{file}: no '{key}'; {remedy}")
    if content.get("download"):
        LOGGER.warning("%s: 'download' is ignored: commands in data files are never run.", place(file, "download"))
    foreign = [str(key) for key in content if key not in KEYS]
    if foreign:
        LOGGER.warning("%s: keys of other tools, ignored: %s", file, one_line(", ".join(foreign))[:300])


def _names(file: Path, content: dict[Any, Any]) -> tuple[str, ...]:
    names, where = content["names"], place(file, "names")
    if isinstance(names, dict):
        numbered = {_whole(key): name for key, name in names.items()}
        if set(numbered) != set(range(len(names))):
            raise UserError(f"{where}: the keys of 'names' must be 0 to {len(names) - 1}; number them without gaps")
        names = [numbered[i] for i in range(len(names))]
    if not isinstance(names, list):
        raise UserError(f"{where}: 'names' must be a list, or a mapping from class number to name")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{where}: name {i} is {name!r}, not text; put it in quotes")
        if one_line(name) != name:
            raise UserError(f"{where}: name {i} is {name[:80]!r}, which cannot be printed in a line; rename it")
    for i, name in enumerate(names):
        if (first := names.index(name)) != i:
            LOGGER.warning("%s: classes %s and %s are both called '%s'", where, first, i, name)
    nc = len(names) if content.get("nc") is None else content["nc"]
    if _whole(nc) != len(names):
        there = "there is 1 name" if len(names) == 1 else f"there are {len(names)} names"
        raise UserError(f"{place(file, 'nc')}: nc is {nc}, but {there}; correct one, or remove nc")
    return tuple(names)


def _whole(value: Any) -> int | None:
    """A whole number by its value: 2, "2" and 2.0 are one; None for anything else."""
    try:
        return int(value) if not isinstance(value, bool) and float(value) == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _short(path: Path) -> str:
    """A path as seen from the current folder, where it lies within."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
