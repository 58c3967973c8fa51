"""Writing a report: Markdown, LaTeX, CSV, Parquet, plots and page of a folder of records."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import UserError, record
from bench.report import csvs, latex, markdown, page, plots
from bench.report.ablation import fold
from bench.report.contents import Contents, contents
from bench.report.groups import Group, group_records
from bench.report.significance import Significance
from bench.report.tables import check_columns
from bench.spec import nearest, parse_calls

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("md", "tex", "csv", "parquet", "html")
REFERENCE = "lora"
"""What ratios refer to unless another method or call is named."""
TABLES = "latex"
"""The folder of the LaTeX tables in that of the report."""
GALLERY_BYTES = 12 * 2**20
"""When the galleries on the page have so many bytes, no other is begun (one has 2 MiB at most)."""
NO_ROOM = (
    '<p class="soft">No gallery: those above fill the page. A report of this data set\'s records '
    "alone (--results) shows it.</p>"
)


def write(
    results: Path,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    reference: str | None = None,
    methods: str | None = None,
    columns: str | None = None,
    gallery: Callable[[Group], str] | None = None,
    frame: "pd.DataFrame | None" = None,
    left_out: Sequence[str] = (),
) -> list[Path]:
    """Write the report of all records below `results` to `out`; returns the files written.

    `report.md`, a LaTeX file for each table in `latex/`, `records.csv` and, where pyarrow is
    installed, `records.parquet` (one row per record), `table.csv` (one row per method and group),
    `index.html`, plots. The same records give the same bytes. LaTeX tables of an earlier report
    that this one does not have are removed.

    methods: method calls as in `cmer,lora(rank=16)`; only these are in tables and plots, and a
    name stands for all calls of its method. columns: headings without units, with commas; one
    table of these stands for those of recall and cost. gallery: makes a block of the page for a
    group (bench.report.gallery_page). frame: what bench.record.load gave for `results`, and
    left_out the sentences it gave on records that cannot be read; they stand at the report's top.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise UserError(f"no report is written as {unknown[0]}; choose from {', '.join(FORMATS)}")
    unreadable = list(left_out)
    frame = record.load(results, left_out=unreadable.append) if frame is None else frame
    groups = [fold(group) for group in group_records(frame)]
    if methods:
        groups = only(groups, methods)
    _check_reference(groups, reference)
    names = [name.strip() for name in (columns or "").split(",") if name.strip()]
    check_columns(names, groups, reference or REFERENCE)
    out.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(groups, results, out)
    significance = Significance(results)
    report = contents(frame, groups, significance, reference or REFERENCE, drawn, names, unreadable)
    texts = _tables(report, out, formats)
    tidy = csvs.tidy(frame)
    if "csv" in formats:
        texts["records.csv"] = tidy.to_csv(index=False, lineterminator="\n")
        texts["table.csv"] = csvs.table(groups, reference or REFERENCE)
    if "html" in formats:
        galleries = _galleries(groups, gallery) if gallery else {}
        texts["index.html"] = page.html(frame, report, groups, _link(results, out), galleries)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    files = [out / name for name in texts]
    if "tex" in formats:
        _remove_old(out, files)
    if "parquet" in formats and csvs.parquet(tidy, out / "records.parquet"):
        files.append(out / "records.parquet")
    return [*files, *(path for paths in drawn.values() for path in paths)]


def _tables(report: Contents, out: Path, formats: Sequence[str]) -> dict[str, str]:
    """The report's text as Markdown and LaTeX, by file name, as far as they are asked for."""
    texts: dict[str, str] = {}
    if "md" in formats:
        texts["report.md"] = markdown.write(report)
    if "tex" in formats:
        (out / TABLES).mkdir(exist_ok=True)
        texts |= _latex(report)
    return texts


def only(groups: list[Group], methods: str) -> list[Group]:
    """The groups with the rows of some method calls; raises UserError for one without records."""
    calls = parse_calls(methods)
    known = {row.label for group in groups for row in group.every}
    known |= {row.method for group in groups for row in group.every}
    wanted = {_call(name, settings) for name, settings in calls}
    for call in sorted(wanted - known):
        raise UserError(f"no trial of {call!r} is recorded{nearest(call, known)}")
    chosen = []
    for group in groups:
        rows = [row for row in group.every if {row.label, row.method} & wanted]
        if rows:
            chosen.append(replace(group, rows=rows, folded=[]))
    return chosen


def _call(name: str, settings: dict[str, object]) -> str:
    inside = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    return f"{name}({inside})" if settings else name


def _check_reference(groups: list[Group], reference: str | None) -> None:
    if reference is not None and not any(group.row(reference) for group in groups):
        raise UserError(
            f"no trial of {reference!r} ended well, so ratios cannot refer to it"
            f"{nearest(reference, [row.label for group in groups for row in group.every])}"
        )


def _latex(report: Contents) -> dict[str, str]:
    """The LaTeX file of each table, by its path in the report's folder."""
    return {
        f"{TABLES}/{section.name}-{part.name}.tex": latex.write(section, part)
        for section in report.sections
        for part in section.parts
    }


def _remove_old(out: Path, written: list[Path]) -> None:
    """Remove LaTeX files of an earlier report that this one did not write: they are out of date."""
    for path in {*out.glob("*.tex"), *(out / TABLES).glob("*.tex")} - set(written):
        with path.open(encoding="utf-8", errors="replace") as file:
            if file.readline().startswith(latex.MADE):
                path.unlink()


def _link(results: Path, out: Path) -> str:
    """The way from the report's folder to the records, for links on the page."""
    try:
        return Path(os.path.relpath(results.resolve(), out.resolve())).as_posix()
    except ValueError:  # another drive
        return results.resolve().as_uri()


def _galleries(groups: list[Group], gallery: Callable[[Group], str]) -> dict[str, str]:
    """The block of each group, as long as there is room on the page."""
    shown: dict[str, str] = {}
    for group in groups:
        full = sum(map(len, shown.values())) > GALLERY_BYTES
        shown[group.name] = NO_ROOM if full else gallery(group)
    return shown
