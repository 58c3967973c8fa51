"""Writing a report: Markdown, LaTeX, CSV, Parquet, plots and page of a folder of records."""

import csv
import importlib.util
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import UserError, record
from bench.label import Label
from bench.report import latex, markdown, page, plots
from bench.report.ablation import fold
from bench.report.conditions import short_footnotes
from bench.report.contents import contents
from bench.report.groups import Group, group
from bench.report.published import calibrations
from bench.report.significance import Significance
from bench.report.tables import (
    MIB,
    Column,
    cell_of,
    costs,
    count,
    percent,
    percent2,
    rate,
    recalls,
    seeds_of,
    size,
    states,
)
from bench.spec import nearest

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as RichTable

FORMATS = ("md", "tex", "csv", "parquet", "html")
REFERENCE = "lora"
"""What ratios refer to unless it is said."""
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
    gallery: Callable[[Group], str] | None = None,
    frame: "pd.DataFrame | None" = None,
    left_out: Sequence[str] = (),
) -> list[Path]:
    """Write the report of all records below `results` to `out`; returns the files written.

    `report.md`, one `.tex` per data set and backbone, one for what is published on a data set and
    one for searches, `records.csv` and, where pyarrow is installed, `records.parquet` (one row per
    record), `table.csv` (one row per method and group), `index.html`, plots. The same records give
    the same bytes. `gallery` makes a block of the page for a group (bench.report.gallery_page);
    `frame` is what bench.record.load gave for `results`, and `left_out` the sentences it gave on
    records that cannot be read; the report repeats them at its top.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise UserError(f"no report is written as {unknown[0]}; choose from {', '.join(FORMATS)}")
    warnings = list(left_out)
    frame = record.load(results, left_out=warnings.append) if frame is None else frame
    groups = [fold(one) for one in group(frame)]
    if reference is not None and not any(one.row(reference) for one in groups):
        raise UserError(
            f"no trial of {reference!r} ended well, so ratios cannot refer to it"
            f"{nearest(reference, [row.label for one in groups for row in one.every])}"
        )
    reference = reference or REFERENCE
    significance = Significance(results)
    out.mkdir(parents=True, exist_ok=True)
    drawn = plots.draw(groups, results, out)
    said = contents(frame, groups, significance, reference, drawn, warnings=warnings)
    texts: dict[str, str] = {}
    if "md" in formats:
        texts["report.md"] = markdown.write(said)
    if "tex" in formats:
        for section in contents(frame, groups, significance, reference, {}, percent2).sections:
            name = f"{section.file}.tex"
            texts[name] = texts.get(name, latex.HEAD) + latex.write(section)
    tidy = frame.drop(columns=["record", "curve", "traceback"], errors="ignore")
    tidy = tidy[sorted(tidy.columns)]
    if "csv" in formats:
        texts["records.csv"] = tidy.to_csv(index=False, lineterminator="\n")
        texts["table.csv"] = table_csv(groups)
    if "html" in formats:
        shown = _galleries(groups, gallery) if gallery else {}
        texts["index.html"] = page.html(frame, said, shown)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    files = [out / name for name in texts]
    if "parquet" in formats and parquet(tidy, out / "records.parquet"):
        files.append(out / "records.parquet")
    return [*files, *(path for paths in drawn.values() for path in paths)]


def _galleries(groups: list[Group], gallery: Callable[[Group], str]) -> dict[str, str]:
    """The block of each group, as long as there is room on the page."""
    shown: dict[str, str] = {}
    for one in groups:
        full = sum(map(len, shown.values())) > GALLERY_BYTES
        shown[one.name] = NO_ROOM if full else gallery(one)
    return shown


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


def table_csv(groups: list[Group]) -> str:
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
    from rich.text import Text

    groups = group(frame)
    outer, notes = RichTable.grid(), dict[str, None]()
    for one in groups:
        inner = RichTable(
            title=one.title,
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        inner.add_column("method", min_width=12)
        memory = "peak MiB" if one.cuda else "kept MiB"
        heads = ("n", "i2t R@1", "t2i R@1", "mR", "trainable", memory, "images/s")
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
            inner.add_row(Label(label), seeds_of(row).text.replace(" of ", "/"), *words)
        meaning = (
            "peak MiB: most memory allocated in training"
            if one.cuda
            else "kept MiB: what one training step keeps for its backward, not the RAM of the "
            "process; CPU figures, for trying out"
        )
        notes |= dict.fromkeys([meaning, *short_footnotes(one)])
        outer.add_row(inner)
    for note in notes:  # once for all groups
        outer.add_row(Text(note, style="dim"))
    for result in calibrations(groups):
        kind, style = ("calibration", "green") if result.fits else ("warning", "yellow")
        outer.add_row(Text(f"{kind}: {result}", style=style))
    return outer
