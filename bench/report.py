"""Records as tables: Markdown, LaTeX and CSV, one set per group of comparable records."""

import csv
import importlib.util
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, drawing, page, record, robustness, searches
from bench.ablation import ablation_tables, fold
from bench.conditions import footnotes, legend
from bench.groups import Group, group
from bench.significance import Significance
from bench.tables import (
    MIB,
    WORDS,
    Cell,
    Column,
    Table,
    calibration,
    caption,
    cell_of,
    cost_table,
    costs,
    count,
    counted,
    details,
    not_ok,
    percent,
    percent2,
    published_table,
    rate,
    recall_table,
    recalls,
    seeds_of,
    size,
    states,
)

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as RichTable

FORMATS = ("md", "tex", "csv", "parquet", "html")


def write(
    results: Path,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    reference: str = "lora",
    gallery: Callable[[Group], str] | None = None,
) -> list[Path]:
    """Write the report of all records below `results` to `out`; returns the files written.

    `report.md`, one `.tex` per data set and backbone, `records.csv` and, where pyarrow is
    installed, `records.parquet` (one row per record), `table.csv` (one row per method and group),
    `index.html`, plots. The same records give the same bytes. `gallery` makes a block of the page
    for a group (bench.gallery).
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise UserError(f"no report is written as {unknown[0]}; choose from {', '.join(FORMATS)}")
    frame = record.load(results)
    groups = [fold(one) for one in group(frame)]
    significance = Significance(results)
    out.mkdir(parents=True, exist_ok=True)
    drawn = drawing.write(groups, out)
    for one in groups:
        drawn[one.name] += robustness.draw(one, results, out)
    texts: dict[str, str] = {}
    if "md" in formats:
        texts["report.md"] = markdown(frame, groups, significance, reference, drawn)
        texts["report.md"] += searches.section(results)
    if "tex" in formats:
        for one in groups:
            name = f"{one.dataset}-{one.backbone}".replace(":", "_").replace("/", "_")
            name = name.replace(" ", "-") + ".tex"
            texts[name] = texts.get(name, TEX_HEAD) + latex(one, significance, reference)
    tidy = frame.drop(columns=["record", "curve", "traceback"], errors="ignore")
    tidy = tidy[sorted(tidy.columns)]
    if "csv" in formats:
        texts["records.csv"] = tidy.to_csv(index=False, lineterminator="\n")
        texts["table.csv"] = table_csv(groups, reference)
    if "html" in formats:
        shown = {one.name: gallery(one) for one in groups} if gallery else {}
        texts["index.html"] = page.html(frame, groups, significance, reference, drawn, shown)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    files = [out / name for name in texts]
    if "parquet" in formats and parquet(tidy, out / "records.parquet"):
        files.append(out / "records.parquet")
    return [*files, *(path for paths in drawn.values() for path in paths)]


def parquet(tidy: "pd.DataFrame", path: Path) -> bool:
    """Write one row per record as Parquet; False where pyarrow is not installed.

    A column with lists, or with words beside numbers, is written as JSON.
    """
    if importlib.util.find_spec("pyarrow") is None:
        return False
    tidy = tidy.copy()
    for name in tidy.columns:
        kinds = {type(value) for value in tidy[name] if not _missing(value)}
        if list in kinds or (len(kinds) > 1 and not kinds <= {int, float}):
            tidy[name] = [None if _missing(v) else json.dumps(v) for v in tidy[name]]
    tidy.to_parquet(path, index=False, engine="pyarrow")
    return True


def _missing(value: Any) -> bool:
    """Whether a cell of a DataFrame is empty."""
    return value is None or (isinstance(value, float) and value != value)


def markdown(
    frame: "pd.DataFrame",
    groups: list[Group],
    significance: Significance,
    reference: str,
    drawn: dict[str, list[Path]],
) -> str:
    """The report as GitHub shows it."""
    parts = ["# Report", f"{counted(frame)}."]
    parts += [f"> [!WARNING]\n> {_md_text(warning)}" for warning in calibration(groups)]
    for one in groups:
        parts += [f"## {_md_text(one.title)}", _md_text(caption(one, significance, reference))]
        parts.append(_md(recall_table(one, significance)))
        parts.append(_md(cost_table(one, significance, reference)))
        parts += [_md_text(note) for note in (legend(one), *footnotes(one)) if note]
        wrong = not_ok(one)
        if wrong:
            lines = "\n".join(f"- {_md_text(line)}" for line in wrong)
            parts.append(f"Trials that did not end well:\n\n{lines}")
        pictures = [path.name for path in drawn.get(one.name, []) if path.suffix == ".png"]
        for name in pictures:
            what = Path(name).stem.removeprefix(f"{one.name}-").replace("_", " ")
            parts.append(f"![{what}, {_md_text(one.title)}]({name})")
        for about, table in ablation_tables(one, significance):
            parts.append(f"**{_md_text(about)}**\n\n{_md(table)}")
        for about, table in robustness.tables(one, significance.results):
            parts.append(f"**{about}**\n\n{_md(table)}")
        parts += [_details(about, table) for about, table in details(one, significance)]
    for dataset in sorted({one.dataset for one in groups}):
        table_ = published_table(groups, dataset)
        if table_ is not None:
            parts.append(f"## Published on {dataset}")
            parts.append(
                "Other backbones and protocols are other tasks: read each row with its columns. "
                "Figures as printed at the source."
            )
            parts.append(_details(f"{len(table_.rows)} rows", table_))
    return "\n\n".join(parts) + "\n"


def _details(summary: str, table: Table) -> str:
    return f"<details><summary>{summary}</summary>\n\n{_md(table)}\n\n</details>"


def _md(table: Table) -> str:
    lines = ["| " + " | ".join(_md_text(head) for head in table.heads) + " |"]
    lines.append("|" + "|".join(" --- " if h in WORDS else " ---: " for h in table.heads) + "|")
    lines += ["| " + " | ".join(_md_cell(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join(lines)


def _md_cell(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|") if cell.code else _md_text(cell.text)
    if cell.code:
        text = f"`{text}`"
    text = {"best": f"**{text}**", "second": f"<ins>{text}</ins>"}.get(cell.mark, text)
    text = f"{text} ± {cell.spread}".replace(" ", "\u00a0") if cell.spread else text
    return text + _md_text(cell.sign)


def _md_text(text: str) -> str:
    for character in "\\|*_`<>[]":
        text = text.replace(character, f"\\{character}")
    return text


TEX_HEAD = "% Generated by `bench report`. Needs \\usepackage{booktabs}.\n"
TEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "–": "--",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "<": r"$<$",
    ">": r"$>$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex(one: Group, significance: Significance, reference: str) -> str:
    """The group's tables for a paper (booktabs)."""
    recall = recall_table(one, significance, show=percent2)
    cost = cost_table(one, significance, reference, short=True)
    label = f"tab:{one.name}-recall"
    base = one.row(reference)
    ratios = f" Ratios refer to {base.label}." if base else ""
    notes = " ".join(note for note in (legend(one), *footnotes(one)) if note)
    about = f"{one.title}. {caption(one, significance)} {notes}".strip()
    text = _tex(recall, about, label)
    text += _tex(cost, f"{one.title}: cost.{ratios}", f"tab:{one.name}-cost", label)
    for number, (about, table) in enumerate(ablation_tables(one, significance), 1):
        text += _tex(table, f"{one.title}. {about}.", f"tab:{one.name}-settings{number}", label)
    for number, (about, table) in enumerate(robustness.tables(one, significance.results), 1):
        text += _tex(table, f"{one.title}. {about}.", f"tab:{one.name}-corrupted{number}", label)
    return text


def _tex(table: Table, about: str, label: str, see: str = "") -> str:
    seen = rf" Conditions as in Table~\ref{{{see}}}." if see else ""
    columns = "".join("l" if head in WORDS else "r" for head in table.heads)
    lines = [
        r"\begin{table*}",
        r"\centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
        rf"\caption{{{tex_text(about)}{seen}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
    ]
    heads = table.heads
    if table.spans:
        over = [
            rf"\multicolumn{{{width}}}{{c}}{{{tex_text(text)}}}" if text else " &" * (width - 1)
            for text, width in table.spans
            if width
        ]
        lines.append(" & ".join(over) + r" \\")
        heads = [head.removeprefix("i2t ").removeprefix("t2i ") for head in heads]
    lines += [" & ".join(tex_text(head) for head in heads) + r" \\", r"\midrule"]
    for number, row in enumerate(table.rows):
        lines += [r"\addlinespace"] if number in table.breaks else []
        lines.append(" & ".join(_tex_cell(cell) for cell in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def _tex_cell(cell: Cell) -> str:
    text = tex_text(cell.text)
    text = rf"\texttt{{{text}}}" if cell.code else text
    marks = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}
    text = marks.get(cell.mark, text)
    text = rf"{text}{{\tiny$\pm${cell.spread}}}" if cell.spread else text
    return text + tex_text(cell.sign.strip())


def tex_text(text: str) -> str:
    """A text in which LaTeX sees no command."""
    return "".join(TEX_ESCAPES.get(character, character) for character in text)


def table_csv(groups: list[Group], reference: str) -> str:
    """One line per method and group: mean, std, n of every number, in full precision."""
    lines: list[dict[str, Any]] = []
    for one in groups:
        columns = [*recalls(), *recalls("dup_"), *costs(one)]
        for row in one.every:
            line: dict[str, Any] = {
                "group": one.name,
                "dataset": one.dataset,
                "backbone": one.backbone,
                "device": one.device,
                "recipe": json.dumps(one.recipe, sort_keys=True),
                "scene_at_test": one.scene_at_test,
                "cached_features": one.cached_features,
                "method": row.label,
                "n": len(row.ok),
                "not_ok": len(row.others),
                "differs": row.differs,
            }
            for column in columns:
                name = column.path.rpartition(".")[2]
                found = row.statistic(column.path)
                if found:
                    figures = (found.mean, found.std, found.n)
                    words = (f"{name}_mean", f"{name}_std", f"{name}_n")
                    line |= dict(zip(words, figures, strict=True))
            lines.append(line)
    file = io.StringIO()
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def console_table(frame: "pd.DataFrame") -> "RichTable":
    """The records of a frame (bench.record.load) as a table of 80 to 100 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    groups = group(frame)
    outer = RichTable.grid()
    for one in groups:
        inner = RichTable(
            title=one.title,
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        inner.add_column("method", overflow="fold", min_width=12)
        heads = ("n", "i2t R@1", "t2i R@1", "mR", "trainable", "MiB", "images/s")
        for head in heads:
            inner.add_column(head, justify="right", no_wrap=True)
        paths = [
            *(Column("", f"metrics.test.{name}", percent) for name in ("i2t_R@1", "t2i_R@1")),
            Column("", "metrics.test.mR", percent, 1),
            Column("", "efficiency.trainable_parameters", count),
            Column("", one.memory, size, 0, MIB),
            Column("", "efficiency.train_images_per_second", rate),
        ]
        for row in one.rows:
            cells = [cell_of(row, column) for column in paths]
            words = [(f"{c.text} ± {c.spread}" if c.spread else c.text) + c.sign for c in cells]
            label = row.label if row.ok else f"{row.label}\n  {states(row)}"
            inner.add_row(label, seeds_of(row).text.replace(" of ", "/"), *words)
        kind = "most allocated in training" if one.cuda else "kept for backward"
        inner.caption = f"MiB: {kind}" + ("" if one.cuda else "; CPU figures, for trying out")
        inner.caption = "\n".join([inner.caption, *footnotes(one)])
        inner.caption_justify = "left"
        outer.add_row(inner)
    for warning in calibration(groups):
        outer.add_row(f"warning: {warning}")
    return outer
