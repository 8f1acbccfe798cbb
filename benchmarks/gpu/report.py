"""The result as a table: each figure with its bar and whether it meets it."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.gpu.bars import BARS
from benchmarks.gpu.findings import DONE
from benchmarks.gpu.parts import PARTS


def slug(chip: str) -> str:
    """A chip's name for a file's."""
    short = re.search(r"\b([HABLV]\d{2,3}\w*|GB?\d{3}|RTX \d+\w*( Ti)?)\b", chip)
    return re.sub(r"[^a-z0-9]+", "-", (short[1] if short else chip).lower()).strip("-")


def shown(value: float | str) -> str:
    """A figure for a reader: whole numbers whole, others to three places that count."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Part, what, figure, bar, verdict; a part that did not come to its end has a row that says so."""
    found = []
    for part in PARTS:
        each = result["parts"].get(part.name)
        if each is None:
            continue
        for figure in each["figures"]:
            value = f"{shown(figure['value'])} {figure['unit']}".strip()
            bar = BARS[figure["bar"]].text if figure["bar"] else ""
            found.append((part.title, figure["name"], value, bar, figure.get("verdict", "")))
        if each["state"] != DONE:
            found.append((part.title, f"{each['state'].upper()}: {each.get('why', '')}".rstrip(": "), "", "", ""))
    return found


def table(result: dict[str, Any]) -> str:
    """For a terminal."""
    lines = rows(result)
    wide = [max((len(line[k]) for line in lines if k == 0 or line[2]), default=0) for k in range(5)]
    each = ("  ".join(cell.ljust(width) for cell, width in zip(line, wide, strict=True)).rstrip() for line in lines)
    return "\n".join(each)


def markdown(result: dict[str, Any]) -> str:
    """For a reader of the repository."""
    facts = {"chip": result["chip"], "command": f"`{result['command']}`", "date": result["date"]}
    facts |= {"minutes": f"{result['seconds'] / 60:.1f}", "machine": result["machine"]["processor"]}
    facts |= {
        "cores": result["machine"]["cores"],
        "versions": ", ".join(f"{k} {v}" for k, v in result["versions"].items()),
    }
    facts |= {"data": result["data"], "not installed": ", ".join(result["missing"]) or "nothing"}
    head = ["part", "what", "figure", "bar", "verdict"]
    lines = [f"# {result['chip']}", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += [_row(head), _row(["---"] * len(head)), *(_row([_cell(c) for c in line]) for line in rows(result))]
    return "\n".join(lines) + "\n"


def _row(cells: list[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
