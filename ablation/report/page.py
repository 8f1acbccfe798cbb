"""The report as one HTML file: styles, scripts and data inside, nothing fetched from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ablation.report.blocks import Block, Bullets, Chart, Code, Details, Picture, Section, Table, Text, Value

HERE = Path(__file__).resolve().parent
SCRIPTS = ("chart.js", "controls.js", "page.js")
# the page may run what it holds and load nothing at all
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def render(title: str, sections: Sequence[Section]) -> str:
    """The whole page. Everything that is not the page's own is escaped."""
    links = "".join(f'<a href="#{s.name}">{escape(s.title)}</a>' for s in sections[1:])
    body = "".join(_section(section) for section in sections)
    scripts = "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{(HERE / "style.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>
<nav aria-label="Sections">{links}</nav></header>
<main>
{body}</main>
<script>
{scripts}</script>
</body>
</html>
"""


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f'<section id="{section.name}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>\n'


def _block(block: Block) -> str:
    match block:
        case Text(text, kind):
            return f'<p class="{kind}">{escape(text)}</p>'
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Table():
            return _table(block)
        case Code(text):
            return (
                f'<div class="code"><button type="button" class="copy">Copy</button><pre tabindex="0">{escape(text)}'
                "</pre></div>"
            )
        case Chart(data, _, alt):
            return (HERE / "chart.html").read_text(encoding="utf-8").format(data=embed(data), alt=escape(alt))
        case Picture():
            return ""
        case Details(summary, inner):
            inside = "\n".join(_block(item) for item in inner)
            return f"<details><summary>{escape(summary)}</summary>\n{inside}\n</details>"


def embed(data: Mapping[str, Any]) -> str:
    """JSON that no HTML parser reads as the end of its script element, nor as the start of a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_class("number" if i in table.numeric else "")}>{escape(name)}</th>'
        for i, name in enumerate(table.columns)
    )
    rows = "".join(_row(table, row) for row in table.rows)
    caption = f"<caption>{escape(table.caption)}</caption>"
    return (
        f'<div class="table" role="region" aria-label="{escape(table.caption)}" tabindex="0"><table>{caption}'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )


def _row(table: Table, row: Sequence[Value | str]) -> str:
    values = [value if isinstance(value, Value) else Value(value) for value in row]
    cells = [f'<th scope="row">{escape(values[0].text)}</th>']
    for i, value in enumerate(values[1:], 1):
        heat, shade = ("", "") if value.heat is None else ("heat", f' style="--heat:{value.heat:.3f}"')
        names = " ".join(filter(None, ["number" if i in table.numeric else "", value.kind, heat]))
        cells.append(f"<td{_class(names)}{shade}>{_span(value)}</td>")
    return f"<tr>{''.join(cells)}</tr>\n"


def _class(names: str) -> str:
    return f' class="{escape(names)}"' if names else ""


def _span(value: Value) -> str:
    """The text, after an interval as a line with its mean as a dot where there is one."""
    if value.span is None:
        return escape(value.text)
    low, middle, high = (5 + 80 * end for end in value.span)
    return (
        '<div class="span"><svg viewBox="0 0 90 12" width="90" height="12" aria-hidden="true">'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="6" y2="6"/><circle cx="{middle:.1f}" cy="6" r="3"/></svg>'
        f"<span>{escape(value.text)}</span></div>"
    )
