"""The command line of ablate.py: its own flags, and those of train.py with comma lists for what varies."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablation import definition as definitions
from ablation.axes import EXECUTION_OPTIONS, OWN, PLACE, default, fields, split
from ablation.definition import Definition
from ablation.slots import Demand
from training import options
from utils.config import flag, option
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")
ABOUT = """Policies x optimizers x seeds as one study, in runs/ablate/NAME. A comma list makes an option an axis:
--lr0 0.003,0.01. The same command, or --resume STUDY, goes on; ablate.py report STUDY writes the report anew.
See docs/ablation.md."""
FREE = {"device", "workers", "cache", "noplots"}  # what a study that goes on may be given anew


@dataclass
class StudyOptions:
    """The study."""

    study: str = option("", "study file (YAML): grid, exclude, variants, common; see docs/ablation.md")
    seeds: str = option("1", "repeats of each cell: how many (3 is seeds 0, 1, 2), or a list such as 0,4,7")
    dry_run: bool = option(False, "list the runs and estimate their time without starting any")
    retry_failed: bool = option(False, "also retry the runs that failed before")
    per_gpu: int = option(1, "runs at once on each GPU, while memory allows, or on the CPU, sharing its cores", low=1)
    gpus_per_run: int = option(1, "GPUs that each run is given, all of one machine", low=1)
    ray: str = option("", "run on a Ray cluster: its address, or 'local' to start one here")
    cpus_per_run: float | None = option(None, "CPUs that a run requests from Ray; 0 and fractions are allowed", low=0)

    def demand(self, device: str) -> Demand:
        """What each run asks of a machine. Raises UserError."""
        return Demand(device, self.per_gpu, self.gpus_per_run, self.cpus_per_run)


@dataclass
class Asked:
    """A command line as it was read. `resume` is the folder of a study to go on with, whose file then defines it."""

    study: StudyOptions
    definition: Definition
    folder: Path
    resume: bool
    device: str

    def __post_init__(self) -> None:
        if self.study.ray and self.device not in ("auto", "", "cpu"):
            what = f"--device {self.device} with --ray"
            raise UserError(f"{what}: Ray assigns the GPUs; leave --device out, or give cpu")


def parse(argv: Sequence[str] | None = None) -> Asked:
    """Read the command line and the study file. Raises UserError."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options.import_plugins(options.plugins_of(argv))
    lists, left = split(argv)
    asked, (study,) = options.parse(left, "ablate.py", ABOUT, [StudyOptions])
    for name in sorted(asked.given & set(OWN)):
        raise UserError(f"{flag(name)} is not an option of a study; {OWN[name]}")
    given = {name: _value(asked, name) for name in fields() if name in asked.given}
    if asked.run.resume:
        return _resumed(study, given, lists, asked)
    found = definitions.read(Path(study.study))[0] if study.study else Definition()
    if "seeds" in asked.given:
        lists = lists | {"seed": definitions.seeds(study.seeds, "--seeds")}
    for name in sorted(set(lists) & set(given)):
        raise UserError(f"{flag(name)} is given as a list and again as one value; give it once")
    for variant, bundle in found.variants.items():
        for name in [name for name in bundle if name in given or name in lists]:
            raise UserError(f"{flag(name)}: variant {variant} of {study.study} sets it too; give it in one of the two")
    found.override(lists, {name: value for name, value in given.items() if name not in PLACE})
    _say_unnamed(found)
    found.complete()
    project = asked.run.project if "project" in asked.given else "runs/ablate"
    return Asked(study, found, Path(project) / asked.run.name, False, str(found.common.get("device", "auto")))


def _say_unnamed(found: Definition) -> None:
    """A study does not let auto choose policy and optimizer, as train.py does: say which it takes in their place."""
    unnamed = [name for name in ("lr_policy", "optim") if name not in found.grid | found.common]
    if unnamed and found.common.get("hyp", "auto") == "auto":
        taken = " and ".join(f"{flag(name)} {default(name)}" for name in unnamed)
        LOGGER.warning(f"not named, so this study uses {taken}; train.py would let --hyp auto choose")


def _value(asked: options.Options, name: str) -> object:
    return getattr(asked.hyp if hasattr(asked.hyp, name) else asked.run, name)


def _resumed(study: StudyOptions, given: dict, lists: dict, asked: options.Options) -> Asked:
    """`--resume STUDY`: everything comes from its file; only the manner of carrying it out may be given anew."""
    refused = sorted(((set(given) | set(lists)) - FREE - {"resume"}) | asked.given & {"study", "seeds"})
    if refused:
        flags = ", ".join(map(flag, refused))
        raise UserError(f"--resume continues a study as it was defined; give {flags} with its --name instead")
    if asked.run.resume == "newest":
        raise UserError("--resume: give the study's folder, such as runs/ablate/NAME")
    folder = Path(asked.run.resume)
    if not (folder / "study.yaml").is_file():
        raise UserError(f"--resume {folder}: no study there; give a folder that ablate.py made")
    found, _ = definitions.read(folder / "study.yaml", recorded=True)
    found.common |= {name: value for name, value in given.items() if name in EXECUTION_OPTIONS and name != "resume"}
    return Asked(study, found, folder, True, str(found.common.get("device", "auto")))
