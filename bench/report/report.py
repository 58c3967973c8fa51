"""Write the report on a folder of records: Markdown, LaTeX, CSV, Parquet, plots and a web page."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench import UserError
from bench.disk import demand_writable, writing
from bench.report import csvs, latex, markdown, page, plots
from bench.report.ablation import fold
from bench.report.contents import contents
from bench.report.group import Group
from bench.report.tables import named_columns
from bench.spec import nearest, parse_calls

REFERENCE = "lora"
"""What methods are compared with unless another method or call is named."""
TABLES = "latex"
"""The folder of the LaTeX tables, within the folder of the report."""


def write(
    frame: pd.DataFrame,
    groups: list[Group],
    results: Path,
    out: Path,
    *,
    reference: str | None = None,
    methods: str | None = None,
    columns: str | None = None,
    pdf: bool = False,
    gallery: Callable[[Group], str] | None = None,
    left_out: Sequence[str] = (),
) -> list[Path]:
    """Write a report to the folder `out`; returns its files.

    The same records give the same bytes. LaTeX tables of an earlier report are removed.

    frame: the records below `results`, from `bench.record.load`; groups: the same records, from
    `group_records`. reference, methods, columns, pdf: the options of `bench report`. gallery: makes
    the block of the page with a group's hits and misses. left_out: sentences on the records that
    could not be read.
    """
    groups = [fold(group) for group in groups]
    if methods:
        groups = only(groups, methods)
    base = _checked_reference(groups, reference, methods)
    # Commas in brackets are those of a call.
    parts = re.split(r",(?![^(\[]*[)\]])", columns or "")
    names = [part.strip() for part in parts if part.strip()]
    chosen = named_columns(groups, base, names) if names else None
    demand_writable(out / TABLES / "report.tex")
    drawn = plots.draw(groups, results, out, pdf=pdf)
    report = contents(frame, groups, results, base, drawn, chosen, left_out)
    galleries = {group.name: gallery(group) for group in groups} if gallery else {}
    tidy = csvs.tidy(frame)
    texts = {
        "report.md": markdown.write(report),
        **{
            f"{TABLES}/{section.name}-{part.name}.tex": latex.write(section, part)
            for section in report.sections
            for part in section.parts
        },
        "records.csv": tidy.to_csv(index=False, lineterminator="\n"),
        "table.csv": csvs.table(groups, base),
        "index.html": page.html(frame, report, groups, _link(results, out), galleries),
    }
    _remove_tables(out / TABLES)
    with writing(out):
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    files = [out / name for name in texts]
    if csvs.parquet(tidy, out / "records.parquet"):
        files.append(out / "records.parquet")
    return [*files, *(path for paths in drawn.values() for path in paths)]


def _remove_tables(folder: Path) -> None:
    """Remove the LaTeX tables of an earlier report, which may be out of date."""
    for path in folder.glob("*.tex"):
        with path.open(encoding="utf-8", errors="replace") as file:
            old = file.readline().startswith(latex.MADE)
        if old:
            path.unlink()


def only(groups: list[Group], methods: str) -> list[Group]:
    """The groups with the rows of these method calls; raises UserError for a call without any."""
    known = {name for group in groups for row in group.every for name in (row.call, row.method)}
    wanted = set()
    for name, settings in parse_calls(methods):
        inner = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        wanted.add(f"{name}({inner})" if settings else name)
    for call in sorted(wanted - known):
        raise UserError(f"no trial of {call!r} is recorded{nearest(call, known)}")
    chosen = []
    for group in groups:
        rows = [row for row in group.every if {row.call, row.method} & wanted]
        if rows:
            chosen.append(replace(group, rows=rows, folded=[]))
    return chosen


def _checked_reference(groups: list[Group], reference: str | None, methods: str | None) -> str:
    """The method or call to compare with, in a report on `methods` (None: on all).

    Raises UserError for one without a good trial, and for a call that several rows share.
    """
    if reference is None:
        return REFERENCE
    found = [rows for group in groups if (rows := group.named(reference))]
    if not found:
        known = [row.label for group in groups for row in group.every]
        hint = "; name it in --methods too" if methods else nearest(reference, known)
        raise UserError(
            f"the report has no trial of {reference!r} that ended well, so nothing can be compared "
            f"with it{hint}"
        )
    for rows in found:
        # A bare method name, such as lora, stands for the best of its rows.
        if len(rows) > 1 and rows[0].call == reference and rows[0].method != reference:
            labels = ", ".join(repr(row.label) for row in rows)
            raise UserError(
                f"{reference!r} is the call of several rows; give one of these as --reference: "
                f"{labels}"
            )
    return reference


def _link(results: Path, out: Path) -> str:
    try:
        return Path(os.path.relpath(results.resolve(), out.resolve())).as_posix()
    except ValueError:  # another drive
        return results.resolve().as_uri()
