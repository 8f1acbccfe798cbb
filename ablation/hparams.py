"""Each finished run's settings and final metrics for TensorBoard's HPARAMS tab, in STUDY/hparams."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from typing import Any

from ablation.ranking import text
from ablation.view import FINISHED, METRICS, StudyView

LOGGER = logging.getLogger("anneal")


def write(study: StudyView) -> None:
    """A record for each finished run that has none yet; nothing where tensorboard is not installed."""
    kept = {path.parent.name for path in study.folder.glob("hparams/*/events.out.tfevents.*")}
    missing = [run for run in study.runs if run.status == FINISHED and run.name not in kept]
    if not missing:
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams
    except ImportError as error:
        LOGGER.warning(f"no hyper-parameters are written for TensorBoard ({error}); pip install tensorboard")
        return
    for run in missing:
        metrics = {f"final/{name}": float(run.metrics[name]) for name in METRICS}
        folder = study.folder / "hparams" / run.name
        begun = folder.with_name(f".{run.name}")  # whole or not there: a record is never written again
        shutil.rmtree(begun, ignore_errors=True)
        with SummaryWriter(str(begun)) as writer:
            for summary in hparams(_plain(run.settings | {"lr0": run.lr0}), metrics):
                writer.file_writer.add_summary(summary)
            for name, value in metrics.items():
                writer.add_scalar(name, value, 0)
        shutil.rmtree(folder, ignore_errors=True)
        begun.rename(folder)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """TensorBoard takes numbers, texts and truth values."""
    return {name: value if isinstance(value, str | int | float) else text(value) for name, value in settings.items()}
