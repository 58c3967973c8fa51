"""Records as tables: Markdown, LaTeX and CSV, one set per group of comparable records."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, page, plots, record, searches
from bench.groups import Group, group
from bench.significance import Significance
from bench.tables import (
    MIB,
    Cell,
    Column,
    Table,
    ablation_tables,
    calibration,
    caption,
    cell_of,
    cost_table,
    costs,
    count,
    not_ok,
    percent,
    percent2,
    plural,
    published_table,
    rate,
    recall_table,
    recalls,
    seeds_of,
    size,
)

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as RichTable

FORMATS = ("md", "tex", "csv", "html")


def write(
    results: Path,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    reference: str = "lora",
) -> list[Path]:
    """Write the report of all records below `results` to `out`; returns the files written.

    `report.md`, one `.tex` per data set and backbone, `records.csv` (one row per record),
    `table.csv` (one row per method and group), `index.html`, plots. The same records
    give the same bytes.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise UserError(f"no report is written as {unknown[0]}; choose from {', '.join(FORMATS)}")
    frame = record.load(results)
    groups = group(frame)
    significance = Significance(results)
    out.mkdir(parents=True, exist_ok=True)
    drawn = {one.name: plots.write(one, out) for one in groups}
    for name, paths in plots.write_batches(groups, out).items():
        drawn[name] += paths
    texts: dict[str, str] = {}
    if "md" in formats:
        texts["report.md"] = markdown(frame, groups, significance, reference, drawn)
        texts["report.md"] += searches.section(results)
    if "tex" in formats:
        for one in groups:
            name = f"{one.dataset}-{one.backbone}".replace(":", "_").replace("/", "_")
            name = name.replace(" ", "-") + ".tex"
            texts[name] = texts.get(name, TEX_HEAD) + latex(one, significance, reference)
    if "csv" in formats:
        tidy = frame.drop(columns=["record", "curve", "traceback"], errors="ignore")
        texts["records.csv"] = tidy[sorted(tidy.columns)].to_csv(index=False, lineterminator="\n")
        texts["table.csv"] = table_csv(groups, reference)
    if "html" in formats:
        texts["index.html"] = page.html(frame, groups, significance, reference, drawn)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [*(out / name for name in texts), *(path for paths in drawn.values() for path in paths)]


def markdown(
    frame: "pd.DataFrame",
    groups: list[Group],
    significance: Significance,
    reference: str,
    drawn: dict[str, list[Path]],
) -> str:
    """The report as GitHub shows it."""
    counts = Counter(frame["status"]) if len(frame) else Counter()
    states = ", ".join(f"{counts[s]} {s.replace('_', ' ')}" for s in record.STATUSES if counts[s])
    parts = ["# Report", f"{plural(len(frame), 'record')}: {states or 'none'}."]
    parts += [f"> [!WARNING]\n> {_md_text(warning)}" for warning in calibration(groups)]
    for one in groups:
        parts += [f"## {_md_text(one.title)}", _md_text(caption(one, reference))]
        parts.append(_md(recall_table(one, significance)))
        parts.append(_md(cost_table(one, significance, reference)))
        wrong = not_ok(one)
        if wrong:
            lines = "\n".join(f"- {_md_text(line)}" for line in wrong)
            parts.append(f"Trials that did not end well:\n\n{lines}")
        pictures = [path.name for path in drawn.get(one.name, []) if path.suffix == ".png"]
        for name in pictures:
            what = Path(name).stem.removeprefix(f"{one.name}-").replace("_", " ")
            parts.append(f"![{what}, {_md_text(one.title)}]({name})")
        for method, table in ablation_tables(one).items():
            about = f"Settings of {method} (bold: differs from `{method}`)"
            parts.append(f"**{about}**\n\n{_md(table)}")
        if any(row.values("metrics.test.dup_mR") for row in one.rows):
            table = recall_table(one, significance, "dup_")
            about = "Duplicate-aware recall (images that carry the very caption count as right)"
            parts.append(_details(about, table))
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
    plain = {"method", "backbone", "differs", "protocol", "source"}
    lines.append("|" + "|".join(" --- " if h in plain else " ---: " for h in table.heads) + "|")
    lines += ["| " + " | ".join(_md_cell(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join(lines)


def _md_cell(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|") if cell.code else _md_text(cell.text)
    if cell.code:
        text = f"`{text}`"
    text = {"best": f"**{text}**", "second": f"<ins>{text}</ins>"}.get(cell.mark, text)
    return f"{text} ± {cell.spread}".replace(" ", "\u00a0") if cell.spread else text


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
    text = _tex(recall, f"{one.title}. {caption(one)}", label)
    text += _tex(cost, f"{one.title}: cost.{ratios}", f"tab:{one.name}-cost", label)
    for method, table in ablation_tables(one).items():
        about = f"{one.title}: settings of {method}; bold: differs from the default."
        text += _tex(table, about, f"tab:{one.name}-{method}")
    return text


def _tex(table: Table, about: str, label: str, see: str = "") -> str:
    seen = rf" Conditions as in Table~\ref{{{see}}}." if see else ""
    plain = {"method", "differs"}
    columns = "".join("l" if head in plain else "r" for head in table.heads)
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
    lines += [" & ".join(_tex_cell(cell) for cell in row) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def _tex_cell(cell: Cell) -> str:
    text = tex_text(cell.text)
    text = rf"\texttt{{{text}}}" if cell.code else text
    marks = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}
    text = marks.get(cell.mark, text)
    return rf"{text}{{\tiny$\pm${cell.spread}}}" if cell.spread else text


def tex_text(text: str) -> str:
    """A text in which LaTeX sees no command."""
    return "".join(TEX_ESCAPES.get(character, character) for character in text)


def table_csv(groups: list[Group], reference: str) -> str:
    """One line per method and group: mean, std, n of every number, in full precision."""
    lines: list[dict[str, Any]] = []
    for one in groups:
        columns = [*recalls(), *recalls("dup_"), *costs(one)]
        for row in one.rows:
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
            words = [f"{c.text} ± {c.spread}" if c.spread else c.text for c in cells]
            states = {entry.record["status"].replace("_", " ") for entry in row.others}
            label = row.label if row.ok else f"{row.label}\n  {', '.join(sorted(states))}"
            inner.add_row(label, seeds_of(row).text.replace(" of ", "/"), *words)
        kind = "most allocated in training" if one.cuda else "kept for backward"
        inner.caption = f"MiB: {kind}" + ("" if one.cuda else "; CPU figures, for trying out")
        inner.caption_justify = "left"
        outer.add_row(inner)
    for warning in calibration(groups):
        outer.add_row(f"warning: {warning}")
    return outer
