"""The command line: parses, prints, decides nothing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import UserError
from bench.commands.data import app as data_app
from bench.commands.options import Plugins, Results, Root, console
from bench.commands.sweep import plan, run, tune
from bench.spec import load_plugins

if TYPE_CHECKING:
    from bench.data import Dataset

app = typer.Typer(
    name="bench",
    help="What recall for what memory and time: ways to fit CLIP to remote-sensing retrieval.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (run, tune, plan):
    app.command()(command)
app.add_typer(data_app, name="data")


@app.command()
def report(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    reference: Annotated[
        str | None,
        typer.Option(help="Method or call that ratios refer to.", show_default="lora"),
    ] = None,
    gallery: Annotated[
        bool,
        typer.Option(
            "--gallery",
            help="Put hits and misses of each method on the page, which then holds pictures of the "
            "data set: look at its licence before you pass the page on.",
        ),
    ] = False,
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Write all records as Markdown, LaTeX, CSV, Parquet, plots and one web page."""
    from bench import record
    from bench.report import report as report_

    screen = console()
    frame = record.load(results)
    if not len(frame):
        raise UserError(f"no record below {results}; `bench run` makes some, --results says where")
    if gallery:
        from bench.data import data_root as root_of  # takes a second: it brings torch
        from bench.report.gallery_page import block

        load_plugins(plugin)
        with screen.status("asking the trained methods") as status:
            ask = lambda one: block(one, results, root_of(data_root), status.update)  # noqa: E731
            written = report_.write(results, out, reference=reference, gallery=ask, frame=frame)
    else:
        written = report_.write(results, out, reference=reference, frame=frame)
    screen.print(report_.console_table(frame))
    if not any(path.suffix == ".parquet" for path in written):
        screen.print(
            "no records.parquet without pyarrow: pip install 'cmer-bench\\[parquet]'",
            highlight=False,
        )
    screen.print(f"wrote {len(written)} files; read {out / 'report.md'} or {out / 'index.html'}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A record.")],
    b: Annotated[Path, typer.Argument(help="Another one of the same test set.")],
    pictures: Annotated[
        Path | None,
        typer.Option(help="A PNG of queries won and lost; needs weights beside both, and data."),
    ] = None,
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Two trained methods, query by query: bootstrap, permutation test, queries won and lost."""
    from bench.trained import compare as compare_

    screen, found = console(), compare_.compare(a, b)
    screen.print(compare_.table(found))
    if pictures is None:
        return
    from bench.data import data_root as root_of
    from bench.trained import wonlost

    load_plugins(plugin)
    with screen.status("encoding"):
        drawn = wonlost.draw(found, a, b, root_of(data_root))
    pictures.parent.mkdir(parents=True, exist_ok=True)
    drawn.save(pictures, format="PNG")
    screen.print(f"wrote {pictures}")


@app.command()
def validate(
    method: Annotated[str, typer.Argument(help="A method call, or a Python file that makes one.")],
    plugin: Plugins = None,
) -> None:
    """Check a method against the contract, on small models of three kinds, on the CPU."""
    from bench.contract import check_method, table
    from bench.spec import parse_calls, resolve
    from methods import registry

    before = set(registry())
    load_plugins(plugin)
    if method.endswith(".py"):
        if not Path(method).is_file():
            raise UserError(f"there is no file {method!r}; give a Python file or a method's name")
        load_plugins([Path(method)])
        calls: list[tuple[str, dict[str, Any]]] = [(n, {}) for n in registry() if n not in before]
        if not calls:
            raise UserError(f"{method} registers no method; put @register('name') on its class")
    else:
        calls = parse_calls(method)
    screen, failed = console(), 0
    for name, given in calls:
        call = resolve(name, given, registry())
        results = check_method(registry()[name], dict(call.settings))
        screen.print(table(results, call.text))
        failed += sum(result.passed is False for result in results)
    screen.print("all checks passed" if not failed else f"{failed} checks failed")
    raise typer.Exit(1 if failed else 0)


@app.command()
def retrieve(
    record: Annotated[Path, typer.Argument(help="A record; its weights lie beside it.")],
    query: Annotated[str | None, typer.Argument(help="A text, to find images for.")] = None,
    image: Annotated[
        Path | None, typer.Option(help="An image file, or a test image's name: find captions.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 10,
    focus: Annotated[bool, typer.Option("--focus", help="Draw where the method looks.")] = False,
    out: Annotated[Path, typer.Option(help="The picture sheet, a PNG.")] = Path("retrieved.png"),
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Ask a trained method: the top test images for a text, or captions for an image."""
    if (query is None or not query.strip()) == (image is None):
        raise UserError('give either a text to find images for ("many planes") or --image FILE')
    from bench.data import data_root as root_of
    from bench.trained import retrieve as retrieve_
    from bench.trained.restore import restore

    load_plugins(plugin)
    screen = console()
    with screen.status("encoding"):
        restored = restore(record, root_of(data_root))
        if image is None:
            answer = retrieve_.images_for(restored, query or "", top)
        else:
            answer = retrieve_.captions_for(restored, image, top)
        drawn = retrieve_.draw(restored, answer, focus)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn.save(out, format="PNG")
    screen.print(retrieve_.table(restored, answer))
    screen.print(f"wrote {out}")


@app.command()
def export(
    record: Annotated[Path, typer.Argument(help="A record; its weights lie beside it.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    plugin: Plugins = None,
) -> None:
    """Write a trained adapter as safetensors with a card; LoRA in peft's own format too."""
    from bench.trained.export import export as export_

    load_plugins(plugin)
    written = export_(record, out)
    console().print(f"wrote {', '.join(path.name for path in written)} to {out}")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method.")] = None, plugin: Plugins = None
) -> None:
    """List the methods; with NAME its settings, defaults and paper."""
    import inspect
    import re

    from rich.markup import escape
    from rich.table import Table

    from bench.spec import defaults, nearest
    from methods import registry

    load_plugins(plugin)
    known = registry()
    screen = console()
    if name is None:
        table = Table("method", "what", "paper")
        for key, cls in known.items():
            first = escape((inspect.getdoc(cls) or "").partition("\n")[0])
            table.add_row(key, first, f"{cls.paper.year}  {cls.paper.link}" if cls.paper else "")
        screen.print(table)
        return
    if name not in known:
        raise UserError(f"no method is called {name!r}{nearest(name, known)}")
    cls = known[name]
    flowing = escape(re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.getdoc(cls) or ""))
    screen.print(f"[bold]{name}[/]\n{flowing}\n", highlight=False)
    if cls.paper:
        screen.print(f"{cls.paper.title} ({cls.paper.year}), {cls.paper.link}\n", highlight=False)
    table = Table("setting", "default", "type")
    kinds = inspect.get_annotations(cls.__init__)
    for setting, default in defaults(cls).items():
        table.add_row(
            setting, repr(default), inspect.formatannotation(kinds.get(setting, type(default)))
        )
    rate = "nothing is trained" if cls.lr is None else f"{cls.lr:g}"
    table.add_row("lr", rate, "learning rate; may be given in the call")
    screen.print(table)


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set.")] = None, data_root: Root = None
) -> None:
    """List the data sets and whether they are there; with NAME all that its card says."""
    from rich.markup import escape
    from rich.table import Table

    from bench import data
    from bench.data.forms import SPLITS

    root = data.data_root(data_root)
    screen = console()
    if name is None:
        table = Table("data set", "title", "train", "val", "test", escape(f"found in {root}"))
        for key, one in data.cards().items():
            counts = [str(one.counts.get(split, "-")) for split in SPLITS]
            table.add_row(key, str(one.raw.get("title", "")), *counts, _found(one, root))
        screen.print(table)
        screen.print("-: none published; 10% of train, chosen by a hash of the file name, serves")
        return
    card = data.card(name)
    for key, value in card.raw.items():
        screen.print(f"[bold]{key}[/]: {escape(str(value))}", highlight=False)
    dataset: Dataset = data.load(card, root)
    scenes = escape(", ".join(dataset.scenes))
    screen.print(
        f"[bold]found[/]: {len(dataset.samples)} images; scenes: {scenes}", highlight=False
    )
    for note in dataset.notes:
        screen.print(note, highlight=False, markup=False)


def _found(card: Any, root: Path) -> str:
    from bench import data

    try:
        data.load(card, root)
    except UserError as error:
        return "no" if "is not there" in str(error) else "incomplete"
    return "yes"


def main() -> None:
    """Run the command; what a user can mend is one sentence and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
