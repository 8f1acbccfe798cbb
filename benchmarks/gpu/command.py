"""The command: the parts in turn, their figures judged, shown and written."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.gpu import bars, child, packages, pictures, report
from benchmarks.gpu.findings import DONE, FAILED, LATE, RUNNING
from benchmarks.gpu.parts import AHEAD, PARTS, Part
from benchmarks.gpu.setting import Setting
from utils import config
from utils.config import option
from utils.console import log
from utils.device import select_device
from utils.errors import UserError
from utils.files.atomic import write_atomic

LOGGER = logging.getLogger("anneal")
RESULTS = Path(__file__).resolve().parents[1] / "results"
UNDISTURBED = "memory"  # the first part that has the GPU to itself
SPARE = 10.0  # seconds of the time given that no part gets
DRAWN, DRAWN_QUICK = (512, 128), (24, 8)  # pictures to train on and to validate on


@dataclass
class Command:
    """Everything a GPU has to show, in one command."""

    out: str = option(str(RESULTS), "folder for gpu_<chip>.json, gpu_<chip>.md and the parts' console")
    quick: bool = option(False, "every part small, to see that it runs; nothing is judged")
    peer: str = option("", "a YOLOv5 checkout, whose trainer is measured on the same pictures, in turns with ours")
    data: str = option("", "data set YAML (default: pictures drawn for this)")
    device: str = option("auto", "auto, cpu, cuda:N")
    minutes: float = option(9.0, "for everything, shared out among the parts", above=0)
    parts: str = option("", "only these, such as resume,memory")


class Run:
    """One run of the command: its result so far, in memory and on the disk."""

    def __init__(self, command: Command, setting: Setting) -> None:
        self.setting = setting
        about = machine.describe(setting.device)
        chip = about["machine"].get("gpu", setting.where.type)
        self.result: dict[str, Any] = {"chip": chip, **about, "device": setting.device, "quick": setting.quick}
        self.result |= {"data": "drawn pictures" if setting.drawn else command.data, "missing": packages.missing()}
        self.result |= {"seconds": 0.0, "parts": {}}
        self.mask = bars.is_mask_set(setting)
        self.began = time.time()
        self.ends = self.began + 60 * command.minutes - SPARE
        self.out = Path(command.out)
        self.console = self.out / f"gpu_{report.slug(chip)}.log"

    def do(self, part: Part) -> None:
        """Run a part within its time and say what it found."""
        self.setting.until = self.limit(part)
        found = child.run(part, self.setting, self.console, lambda found: self.take(part, found))
        self.take(part, found)
        if found["state"] != DONE:
            LOGGER.warning(f"{part.title}: {found['state']}{': ' * bool(found.get('why'))}{found.get('why', '')}")

    def limit(self, part: Part) -> float:
        """When a part is ended: so that those after it have their share, and not after twice its own."""
        scale = (self.ends - self.began) / sum(each.seconds for each in PARTS)
        after = sum(each.seconds for each in PARTS[PARTS.index(part) + 1 :])
        return min(time.time() + 2 * scale * part.seconds, self.ends - scale * after)

    def compiling(self, chosen: Sequence[Part]) -> ExitStack:
        """In a whole run on a GPU, have networks compiled beside the first parts, until this is closed."""
        stack = ExitStack()
        if self.setting.on_gpu and not self.setting.quick and list(chosen) == list(PARTS):
            stack.callback(child.end, child.start(AHEAD, self.setting, self.console)[0])
        return stack

    def take(self, part: Part, found: dict[str, Any]) -> None:
        """Judge what a part has found so far and write it."""
        for figure in found["figures"]:
            if figure["bar"]:
                bar = bars.BARS[figure["bar"]]
                figure["verdict"] = bars.verdict(bar, figure["value"], self.result["chip"], self.setting, self.mask)
        self.result["parts"][part.name] = found
        self.result["seconds"] = round(time.time() - self.began, 1)
        self.write(self.out)

    def write(self, folder: Path) -> None:
        """The two files of the result."""
        stem = folder / f"gpu_{report.slug(self.result['chip'])}"
        write_atomic(stem.with_suffix(".json"), json.dumps(self.result, indent=2) + "\n")
        write_atomic(stem.with_suffix(".md"), report.markdown(self.result))

    def failed(self) -> bool:
        """Whether a part did not come to its end, or a figure misses its bar."""
        found = self.result["parts"].values()
        broken = any(each["state"] in (FAILED, LATE, RUNNING) for each in found)
        return broken or any(f.get("verdict") == bars.FAIL for each in found for f in each["figures"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, 1 where something failed, 2 for a mistake, 130 where it was stopped."""
    log.setup()
    try:
        (command,), _ = config.parse(
            [Command], argv, prog="python -m benchmarks.gpu", description="The proof on a GPU; see docs/speed.md."
        )
        chosen = which(command.parts)
        Path(command.out).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            run = Run(command, prepare(command, Path(folder)))
            run.console.unlink(missing_ok=True)
            with run.compiling(chosen) as compiler:
                for number, part in enumerate(chosen, 1):
                    if part.name == UNDISTURBED:
                        compiler.close()
                    LOGGER.info(f"{number} of {len(chosen)}: {part.title}")
                    run.do(part)
        print(report.table(run.result))
        if run.setting.on_gpu and not command.quick and list(chosen) == list(PARTS):
            run.write(RESULTS)
        LOGGER.info(f"{run.result['seconds']:.0f} s; figures, table and console are in {run.out}")
        return int(run.failed())
    except UserError as error:
        LOGGER.error(str(error))
        return 2
    except OSError as error:
        LOGGER.error(f"{error.filename or command.out}: {error.strerror or error}; give another --out")
        return 1
    except KeyboardInterrupt:
        LOGGER.warning("stopped; what was found so far is in --out")
        return 130


def which(names: str) -> tuple[Part, ...]:
    """The parts asked for. Raises UserError."""
    asked = [name.strip() for name in names.split(",") if name.strip()]
    known = {part.name for part in PARTS}
    if unknown := [name for name in asked if name not in known]:
        raise UserError(f"--parts {unknown[0]}: unknown; there are {', '.join(part.name for part in PARTS)}")
    return tuple(part for part in PARTS if not asked or part.name in asked)


def prepare(command: Command, folder: Path) -> Setting:
    """The setting of a run that works in `folder`. Raises UserError for what is not there."""
    device = select_device(command.device)
    peer = str(Path(command.peer).resolve()) if command.peer else ""
    if peer and not (Path(peer) / "train.py").is_file():
        raise UserError(f"--peer {command.peer}: no train.py there; give the folder of a YOLOv5 checkout")
    if command.data:
        data, drawn = pictures.pinned(folder, command.data)
    else:
        LOGGER.info("drawing pictures")
        data, drawn = pictures.draw(folder, *(DRAWN_QUICK if command.quick else DRAWN)), True
    return Setting(str(device), command.quick, str(data), drawn, peer, str(folder))


if __name__ == "__main__":
    sys.exit(main())
