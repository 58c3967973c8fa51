"""The report as one static web page: no network, tables to sort and filter, records to compare."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bench import robustness
from bench.ablation import ablation_tables
from bench.conditions import footnotes, legend
from bench.groups import Group
from bench.significance import Significance
from bench.tables import (
    WORDS,
    Cell,
    Table,
    calibration,
    caption,
    cost_table,
    counted,
    details,
    not_ok,
    plural,
    published_table,
    recall_table,
)

if TYPE_CHECKING:
    import pandas as pd

TEMPLATE = Path(__file__).with_name("page.html")
LEFT_OUT = ("curve", "traceback", "schema")
"""Entries of a record that the page does not carry: the curves are in the plots."""


def html(
    frame: "pd.DataFrame",
    groups: list[Group],
    significance: Significance,
    reference: str,
    drawn: dict[str, list[Path]],
    galleries: dict[str, str] | None = None,
) -> str:
    """The page; drawn: the plots' files of each group, of which the SVG are built in.

    galleries: a block of `bench.gallery` for groups that have one.
    """
    parts = [
        _group(
            one,
            significance,
            reference,
            drawn.get(one.name, []),
            (galleries or {}).get(one.name, ""),
        )
        for one in groups
    ]
    for dataset in sorted({one.dataset for one in groups}):
        table = published_table(groups, dataset)
        if table is not None:
            about = "Other backbones and protocols are other tasks: read each row with its columns."
            parts.append(
                f'<section><h2 id="published-{_id(dataset)}">Published on {escape(dataset)}</h2>'
                f'<p class="soft">{about} Figures as printed at the source.</p>'
                f"<details><summary>{plural(len(table.rows), 'row')}</summary>"
                f"{_table(table)}</details></section>"
            )
    links = "".join(f'<a href="#{_id(one.name)}">{escape(one.title)}</a>' for one in groups)
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in calibration(groups))
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        counts=escape(counted(frame)),
        warnings=warnings,
        links=links,
        groups="\n".join(parts),
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


def _group(
    one: Group, significance: Significance, reference: str, drawn: list[Path], gallery: str
) -> str:
    figures = []
    for path in drawn:
        if path.suffix == ".svg":
            what = path.stem.removeprefix(f"{one.name}-").replace("_", " ")
            wide = ' class="wide"' if what == "learning curves" else ""
            about = escape(f"{what}, {one.title}; the figures are in the tables above")
            figures.append(
                f'<figure{wide}><img loading="lazy" alt="{about}" src="{_inline(path)}"></figure>'
            )
    wrong = "".join(f"<li>{escape(line)}</li>" for line in not_ok(one))
    settings = "".join(
        f"<h3>{escape(about)}</h3>{_table(table)}"
        for about, table in ablation_tables(one, significance)
    )
    more = "".join(
        f"<details><summary>{escape(about)}</summary>{_table(table)}</details>"
        for about, table in [
            *robustness.tables(one, significance.results),
            *details(one, significance),
        ]
    )
    notes = "".join(
        f'<p class="soft">{escape(note)}</p>' for note in (legend(one), *footnotes(one)) if note
    )
    return (
        f'<section aria-labelledby="{_id(one.name)}"><h2 id="{_id(one.name)}">{escape(one.title)}'
        f'</h2><p class="soft">{escape(caption(one, significance, reference))}</p>'
        f"{_table(recall_table(one, significance))}"
        f"{_table(cost_table(one, significance, reference))}{notes}"
        f"{f'<ul class=soft>{wrong}</ul>' if wrong else ''}"
        f'<div class="plots">{"".join(figures)}</div>{settings}{more}{gallery}</section>'
    )


def _inline(path: Path) -> str:
    """An SVG as the value of `src`, inside double quotes; shorter than base64 would be."""
    svg = path.read_text(encoding="utf-8").partition("<svg")
    text = "<svg" + svg[2].replace('"', "'").replace("\n", " ")
    return "data:image/svg+xml," + quote(text, safe=" '/:;=,()!*@?+-._~|")


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
