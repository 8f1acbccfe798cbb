"""results.csv, the same bytes for the same study, and timings.csv, which holds all that depends on the day."""

from __future__ import annotations

import csv
import datetime
import io
from typing import Any

from ablation.axes import EXECUTION_OPTIONS, FIRST, label, labels
from ablation.study import Study
from ablation.view import FINISHED, METRICS, RUNNING, WAITING
from utils.files.atomic import write_atomic

ALWAYS = ("epochs", "imgsz", "batch_size", "cfg", "data")  # options that have a column though nobody gave them


def write(study: Study) -> None:
    """Write both tables, a row a run in the grid's order."""
    write_atomic(study.folder / "results.csv", _csv(results(study)))
    write_atomic(study.folder / "timings.csv", _csv(timings(study)))


def results(study: Study) -> list[dict[str, Any]]:
    """Settings, the rate used, the other options as asked for, the metrics of the best weights, the status."""
    varied = list(dict.fromkeys(name for cell in study.cells for name in cell.settings))
    bundled = [name for bundle in study.definition.variants.values() for name in bundle]
    given = [name for name in study.definition.common if name not in EXECUTION_OPTIONS]
    others = [n for n in dict.fromkeys([*bundled, *ALWAYS, *given]) if n not in varied and n != "lr0"]
    columns = {name: labels([cell.settings[name] for cell in study.cells]) for name in (*FIRST, *varied)}
    rows = []
    for i, cell in enumerate(study.cells):
        record = study.record(cell)
        options = vars(cell.asked.run) | vars(cell.asked.hyp)
        if options["weights"] and "cfg" not in (*varied, *bundled, *given):
            options["cfg"] = ""  # the network is the checkpoint's, not the default
        row: dict[str, Any] = {name: shown[i] for name, shown in columns.items()}
        row["lr0_used" if "lr0" in varied else "lr0"] = "" if record.lr0 is None else f"{record.lr0:.6g}"
        row |= {name: _text(options[name]) for name in others}
        row |= {name: record.metrics.get(name, "") for name in METRICS}
        row["best_epoch"] = record.metrics.get("best_epoch", "")
        row["epochs_done"] = record.metrics.get("epochs", "")
        row["status"] = WAITING if record.status == RUNNING else record.status
        rows.append({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()})
    return rows


def timings(study: Study) -> list[dict[str, Any]]:
    """Seconds of training and validation, pictures a second, memory, where and when."""
    pictures = study.seen.get("train", {}).get("pictures", 0)
    rows = []
    for cell in study.cells:
        record = study.record(cell)
        row: dict[str, Any] = {"run": cell.name} | {name: label(cell.settings[name]) for name in FIRST}
        row["seconds"] = "" if record.seconds is None else f"{record.seconds:.2f}"
        done = record.facts.get("epoch", 0) * pictures
        row["images_per_second"] = f"{done / record.seconds:.2f}" if done and record.seconds else ""
        row |= {name: record.last(name) for name in ("memory_gb", "device", "host")}
        row["sessions"] = len(record.sessions)
        started = record.sessions[0]["started"] if record.sessions else None
        row["started"] = started and datetime.datetime.fromtimestamp(started).astimezone().isoformat(timespec="seconds")
        row["status"] = record.status if record.status == FINISHED else ""
        rows.append(row)
    return rows


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
