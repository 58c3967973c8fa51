"""The commands about records: tables and plots, comparison, retrieval, export."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench import UserError, record, testset
from bench.commands.framework import option
from bench.commands.options import ConditionsOf, Plugins, Results, Root, SeedOf, Which
from bench.console import console, say, warn
from bench.disk import demand_png, writing
from bench.spec import load_plugins
from bench.units import DOWNLOADS, format_bytes


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """The options of `bench report`."""

    results: Results = Path("results")
    out: Path = option("Folder of the report.", default=Path("reports"))
    reference: str | None = option("Method or call to compare others with.", show_default="lora")
    methods: str | None = option(
        "Only these in tables and plots: 'cmer,lora(rank=16)'. A name stands for all calls of its "
        "method.",
        show_default="all",
    )
    columns: str | None = option(
        "One table of these columns instead of those of recall and cost: 'mR,memory,images/s'.",
        show_default="all",
    )
    pdf: bool = option("Plots as PDF too, for papers.", default=False)
    gallery: bool = option(
        "Put hits and misses of each method on the page, which then holds pictures of the data "
        "set: look at its licence before you pass the page on.",
        default=False,
    )
    data_root: Root = None
    plugin: Plugins = None


def report(options: ReportOptions) -> None:
    """Write all records as Markdown, LaTeX, CSV, Parquet, plots and one web page."""
    from bench.report import report as report_
    from bench.report import terminal
    from bench.report.grouping import group_records

    screen = console()
    left_out: list[str] = []
    frame = record.load(options.results, left_out=left_out.append)
    for sentence in left_out:
        warn(screen, f"left out: {sentence}")
    if not len(frame):
        raise UserError(
            f"no record below {options.results}; `bench run` makes some, --results says where"
        )
    groups = group_records(frame)
    block = None
    with screen.status("writing the report") as status:
        if options.gallery:
            from bench.data import data_root as root_of  # takes a second: it brings torch
            from bench.report.gallery import block as gallery_of

            load_plugins(options.plugin)
            root = root_of(options.data_root)
            block = partial(gallery_of, results=options.results, root=root, progress=status.update)
        written = report_.write(
            frame,
            groups,
            options.results,
            options.out,
            reference=options.reference,
            methods=options.methods,
            columns=options.columns,
            pdf=options.pdf,
            gallery=block,
            left_out=left_out,
        )
    shown = report_.only(groups, options.methods) if options.methods else groups
    screen.print(terminal.table(shown))
    if not any(path.suffix == ".parquet" for path in written):
        screen.print(
            "no records.parquet without pyarrow: pip install 'cmer-bench\\[parquet]'",
            highlight=False,
        )
    page, site = options.out / "report.md", options.out / "index.html"
    say(screen, f"{len(written)} files in {options.out}; read {page} or {site}")


def compare(
    a: Which,
    b: Annotated[
        str,
        typer.Argument(
            metavar="B", help="The record or folder to compare it with, of the same test set."
        ),
    ],
    seed: SeedOf = None,
    conditions: ConditionsOf = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Write a PNG of queries won and lost; needs the data, and the trained weights "
            "beside both records."
        ),
    ] = None,
    results: Results = Path("results"),
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Compare two trained methods query by query: intervals, p-values, queries won and lost.

    With folders of several seeds each, such as ucm/starter/cmer, the seeds are paired.
    """
    from bench.report import choose
    from bench.trained import compare as compare_

    demand_png(pictures)
    screen = console()
    first, second, notes = choose.pair(a, b, results, seed, conditions)
    comparison = compare_.compare(first, second)
    if pictures is not None and comparison.seeds > 1:
        raise UserError("--pictures shows the queries of one training; choose it: --seed")
    screen.print(compare_.table(comparison))
    for note in notes:
        say(screen, note)
    if pictures is None:
        return
    from bench.data import data_root as root_of
    from bench.trained import wonlost

    load_plugins(plugin)
    with screen.status("encoding"):
        drawn = wonlost.draw(comparison, first[0], second[0], root_of(data_root))
    with writing(pictures):
        drawn.save(pictures)
    say(screen, f"wrote {pictures}")


def retrieve(
    record: Which,
    query: Annotated[str | None, typer.Argument(help="A text, to find images for.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="An image file, or a test image's name: find captions.")
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, max=100, help="How many images or captions to find.")
    ] = 10,
    focus: Annotated[bool, typer.Option("--focus", help="Draw where the method looks.")] = False,
    out: Annotated[Path, typer.Option(help="The picture sheet, a PNG.")] = Path("retrieved.png"),
    seed: SeedOf = None,
    conditions: ConditionsOf = None,
    results: Results = Path("results"),
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Search with a trained method: test images for a text, or captions for an image."""
    if (query is None or not query.strip()) == (image is None):
        raise UserError('give either a text to find images for ("many planes") or --image FILE')
    demand_png(out)
    from bench.data import data_root as root_of
    from bench.report import choose
    from bench.trained.restore import restore
    from bench.trained.retrieve import Searcher

    load_plugins(plugin)
    screen = console()
    path = choose.one(record, results, seed, conditions)
    with screen.status("encoding"):
        searcher = Searcher(restore(path), root_of(data_root))
        if image is None:
            answer = searcher.images_for(query or "", top)
        else:
            answer = searcher.captions_for(image, top)
        drawn = searcher.picture_sheet(answer, focus)
    with writing(out):
        drawn.save(out)
    screen.print(searcher.table(answer))
    if not testset.is_known(searcher.restored.record):
        say(screen, f"{path.name}: {testset.UNKNOWN}")
    say(screen, f"wrote {out}")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of `bench export`."""

    record: Which
    out: Path | None = option(
        "The folder to write, a new one. Not needed with --push or --dry-run."
    )
    merged: bool = option(
        "Instead of the adapter write a plain open_clip checkpoint with the adapter in it (lora, "
        "full, linear, bitfit, ssf, ia3, vera, most kinds of peft).",
        default=False,
    )
    push: str | None = option(
        "Upload it to the Hugging Face Hub, to a private repository; "
        'bench.load("hf:OWNER/NAME") loads it again.',
        metavar="OWNER/NAME",
    )
    public: bool = option("With --push: a repository that everybody can read.", default=False)
    dry_run: bool = option(
        "Only show the model card, and the files with their sizes.", default=False
    )
    seed: SeedOf = None
    conditions: ConditionsOf = None
    results: Results = Path("results")
    plugin: Plugins = None


def export(options: ExportOptions) -> None:
    """Write a trained adapter, or a plain open_clip checkpoint, with a model card; or push it."""
    import tempfile

    from bench.report import choose
    from bench.trained import hub_model
    from bench.trained.export import export as export_

    out, push, dry_run = options.out, options.push, options.dry_run
    if out is None and push is None and not dry_run:
        raise UserError("give a new folder as --out, or a repository of the Hub as --push")
    if options.public and push is None:
        raise UserError("--public is about a repository of the Hub; give --push OWNER/NAME with it")
    if push is not None and not hub_model.is_name(push):
        raise UserError(
            "--push names a repository of the Hub as OWNER/NAME, such as me/lora-rsitmd"
        )
    load_plugins(options.plugin)
    screen = console()
    path = choose.one(options.record, options.results, options.seed, options.conditions)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "export" if out is None or dry_run else out
        written = export_(path, target, options.merged, push)
        if dry_run:
            card = (target / "README.md").read_text(encoding="utf-8")
            screen.print(card, markup=False, highlight=False, soft_wrap=True)
            for file in written:
                say(screen, f"{file.name}: {format_bytes(file.stat().st_size, DOWNLOADS)}")
            verb = f"would be pushed to {push}" if push else "would be written"
            say(screen, f"dry run: these {len(written)} files {verb}; nothing was done")
            return
        if out is not None:
            say(screen, f"wrote {', '.join(file.name for file in written)} to {out}")
        if push is not None:
            with screen.status(f"pushing to {push}"):
                address = hub_model.push(target, push, options.public)
            say(screen, f"pushed {', '.join(file.name for file in written)} to {address}")
