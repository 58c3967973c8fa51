"""The report as one static web page: no network, tables to sort and filter, records to compare."""

import base64
import json
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from bench.report.contents import Contents, Part, Section
from bench.report.tables import WORDS, Cell, Table

if TYPE_CHECKING:
    import pandas as pd

TEMPLATE = Path(__file__).with_name("page.html")
WIDE = ("learning curves", "corruption")
"""Plots of several panels."""
LEFT_OUT = ("curve", "traceback", "schema")
"""Entries of a record that the page does not carry: the curves are in the plots."""


def html(frame: "pd.DataFrame", report: Contents, galleries: dict[str, str] | None = None) -> str:
    """The page, with its pictures (PNG) built in.

    galleries: a block of `bench.report.gallery_page` for sections that have one, by their names.
    """
    shown = galleries or {}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        counts=escape(report.counts),
        warnings="".join(f'<p class="warning">{escape(text)}</p>' for text in report.warnings),
        links="".join(
            f'<a href="#{_id(one.name)}">{escape(one.title)}</a>' for one in report.sections
        ),
        groups="\n".join(_section(one, shown.get(one.name, "")) for one in report.sections),
        data=_data(frame),
    )


def _data(frame: "pd.DataFrame") -> str:
    """The records as JSON that can stand inside a script element."""
    records: list[dict[str, Any]] = []
    if len(frame):
        for path, document in zip(frame["path"], frame["record"], strict=True):
            kept = {key: value for key, value in document.items() if key not in LEFT_OUT}
            records.append({**kept, "path": path})
    text = json.dumps(records, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _id(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)


def _section(one: Section, gallery: str) -> str:
    figures = []
    for path in one.pictures:
        if path.suffix == ".png":
            what = path.stem.removeprefix(f"{one.name}-").replace("_", " ")
            wide = ' class="wide"' if what in WIDE else ""
            about = escape(f"{what}, {one.title}; the figures are in the tables above")
            figures.append(
                f'<figure{wide}><img loading="lazy" alt="{about}" src="{_inline(path)}"></figure>'
            )
    source = f" From <code>{escape(one.source)}</code>." if one.source else ""
    wrong = "".join(f"<li>{escape(line)}</li>" for line in one.wrong)
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in one.notes)
    first = "".join(_part(part) for part in one.parts if not part.about)
    rest = "".join(_part(part) for part in one.parts if part.about)
    return (
        f'<section aria-labelledby="{_id(one.name)}"><h2 id="{_id(one.name)}">{escape(one.title)}'
        f'</h2><p class="soft">{escape(one.about)}{source}</p>{first}{notes}'
        f"{f'<ul class=soft>{wrong}</ul>' if wrong else ''}"
        f'<div class="plots">{"".join(figures)}</div>{rest}{gallery}</section>'
    )


def _part(part: Part) -> str:
    about, table = escape(part.about), _table(part.table)
    if part.folded:
        return f"<details><summary>{about}</summary>{table}</details>"
    return f"<h3>{about}</h3>{table}" if about else table


def _inline(path: Path) -> str:
    """A PNG as the value of `src`."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


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
    return text + escape(cell.sign)
