"""The report as one static web page: no network, tables to sort and filter, records to compare."""

import base64
import json
import struct
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from bench.report.contents import Contents, Section
from bench.report.figure import DPI
from bench.report.group import Group
from bench.report.tables import WORDS, Cell, Part, Table

TEMPLATE = Path(__file__).with_name("page.html")
LEFT_OUT = ("curve", "traceback", "schema")
"""Entries of a record that the page does not carry; the curves are in the plots."""
PIXELS_PER_INCH = 84
"""The scale of all figures on the page, so that their letters have one size."""


def html(
    frame: pd.DataFrame,
    report: Contents,
    groups: list[Group],
    link: str,
    galleries: dict[str, str] | None = None,
) -> str:
    """The page, with its pictures (PNG) built in.

    link: the path from the page to the folder of the records. galleries: blocks of
    `bench.report.gallery`, by the names of their sections.
    """
    shown = galleries or {}
    data = {"link": link, "records": _records(frame, groups)}
    script = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        counts=escape(report.counts),
        warnings="".join(f'<p class="warning">{escape(text)}</p>' for text in report.warnings),
        links="".join(
            f'<a href="#{escape(section.name)}">{escape(section.title)}</a>'
            for section in report.sections
        ),
        summary=_part(report.summary),
        groups="\n".join(_section(s, shown.get(s.name, "")) for s in report.sections),
        data=script.replace("<", "\\u003c"),  # no record can end the script element
    )


def _records(frame: pd.DataFrame, groups: list[Group]) -> list[dict[str, Any]]:
    """Each record without LEFT_OUT, with its path and the group in whose tables it is."""
    group_of: dict[str, str] = {}
    for group in groups:
        words = " · ".join(group.special) or "default recipe"
        for row in group.every:
            group_of |= {entry.path: words for entry in row.entries}
            left_out = f"{words} (left out: another record counts instead)"
            group_of |= {entry.path: left_out for entry in row.replaced}
    return [
        {key: value for key, value in document.items() if key not in LEFT_OUT}
        | {"path": path, "group": group_of.get(path, "not in the tables")}
        for path, document in zip(frame["path"], frame["record"], strict=True)
    ]


def _section(section: Section, gallery: str) -> str:
    name, title = escape(section.name), escape(section.title)
    about = escape(" ".join([*section.conditions, *section.origin]))
    wrong = "".join(f"<li>{escape(line)}</li>" for line in section.wrong)
    figures = "".join(_figure(path, section) for path in section.pictures if path.suffix == ".png")
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>'
        f'<p class="soft">{about}</p>{"".join(map(_part, section.above))}'
        f"{f'<ul class=soft>{wrong}</ul>' if wrong else ''}"
        f'<div class="plots">{figures}</div>{"".join(map(_part, section.below))}{gallery}</section>'
    )


def _figure(path: Path, section: Section) -> str:
    content = path.read_bytes()  # a PNG has its width and height in bytes 16 to 24
    width, height = (n * PIXELS_PER_INCH // DPI for n in struct.unpack(">II", content[16:24]))
    plot = path.stem.removeprefix(f"{section.name}-").replace("_", " ")
    about = escape(f"{plot}, {section.title}; the figures are in the tables above")
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    size = f'width="{width}" height="{height}"'
    return f'<figure><img loading="lazy" {size} alt="{about}" src="{source}"></figure>'


def _part(part: Part) -> str:
    words = f'<p class="soft">{escape(part.words)}</p>' if part.words else ""
    table = _table(part.table) + words
    if part.folded:
        return f"<details><summary>{escape(part.title)}</summary>{table}</details>"
    return f"<h3>{escape(part.title)}</h3>{table}"


def _table(table: Table) -> str:
    def line(tag: str, cells: list[str]) -> str:
        kinds = [' class="word"' if head in WORDS else "" for head in table.heads]
        inner = (f"<{tag}{kind}>{c}</{tag}>" for kind, c in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    head = line("th", [escape(text) for text in table.heads])
    body = "\n".join(line("td", [_cell(cell) for cell in row]) for row in table.rows)
    return (
        f'<div class="scroll" tabindex="0"><table class="sortable"><thead>{head}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = f"<code>{text}</code>" if cell.code else text
    text = {"best": f"<b>{text}</b>", "second": f"<u>{text}</u>"}.get(cell.mark, text)
    text = f"{text} <small>± {escape(cell.spread)}</small>" if cell.spread else text
    text = f'<a href="#{escape(cell.link)}">{text}</a>' if cell.link else text
    return text + escape(cell.sign)
