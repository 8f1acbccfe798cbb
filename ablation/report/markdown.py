"""The report as Markdown (GitHub's): the same sections as the page, with pictures for its chart."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ablation.report.blocks import Block, Bullets, Chart, Code, Details, Picture, Section, Table, Text, Value

SPECIAL = re.compile(r"([\\`*{}\[\]<>#|~$])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def render(title: str, sections: Sequence[Section], drawn: Collection[str]) -> str:
    """The whole file. drawn: paths of the pictures there are."""
    parts = [f"# {plain(title)}"]
    for section in sections:
        parts += [f"## {plain(section.title)}", *_blocks(section.blocks, drawn)]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text on one line, with what Markdown and HTML would read as theirs escaped.

    >>> plain("a|b <script> lr_policy")
    'a\\\\|b \\\\<script\\\\> lr_policy'
    """
    return SPECIAL.sub(lambda found: "\\" + found[0], " ".join(text.split())).replace("&", "&amp;")


def _blocks(blocks: Sequence[Block], drawn: Collection[str]) -> list[str]:
    return [made for block in blocks if (made := _block(block, drawn))]


def _block(block: Block, drawn: Collection[str]) -> str:
    match block:
        case Text(text, kind):
            return f"**{plain(text)}**" if kind in ("lead", "warn") else plain(text)
        case Bullets(items):
            return "\n".join(f"- {plain(item)}" for item in items)
        case Table():
            return _table(block)
        case Code(text):
            return _code(text)
        case Chart(_, path, alt) | Picture(path, alt):
            return f"![{plain(alt)}]({path})" if path in drawn else ""
        case Details(page_only=True):
            return ""
        case Details(summary, inner):
            return "\n\n".join([f"**{plain(summary)}**", *_blocks(inner, drawn)])


def _table(table: Table) -> str:
    rows = [[plain(value.text if isinstance(value, Value) else value) for value in row] for row in table.rows]
    rule = ["---:" if i in table.numeric else "---" for i in range(len(table.columns))]
    lines = [[plain(name) for name in table.columns], rule, *rows]
    return f"{plain(table.caption)}:\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    """A fence longer than any run of backticks inside."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
