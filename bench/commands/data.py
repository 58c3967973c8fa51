"""`bench datasets` lists data sets; `bench data` fetches and checks them, writes cards, caches."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import UserError
from bench.commands import framework
from bench.commands.framework import option
from bench.commands.options import Root
from bench.console import console, plain_table, say
from bench.disk import demand_png

if TYPE_CHECKING:
    from bench.fetch.status import Status

app = framework.group(
    "Fetch and check data sets, write a card for one of your own, manage the decoded images."
)


def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set.")] = None, data_root: Root = None
) -> None:
    """List the data sets and whether they are here; with NAME: what is missing, how to get it."""
    from rich.markup import escape

    from bench import data
    from bench.data import SPLITS
    from bench.fetch import status

    root = data.data_root(data_root)
    screen = console()
    if name is None:
        heads = ("data set", "title", "train", "val", "test", escape(f"found in {root}"))
        table = plain_table(*heads)
        for card in data.cards().values():
            numbers = [card.counts.get(split) for split in SPLITS]
            counts = [f"{number:,}" if number else "-" for number in numbers]
            table.add_row(card.name, card.title, *counts, _state(status.read(card, root)))
        screen.print(table)
        say(screen, "-: none published; a tenth of train, chosen by a hash of the name, is used")
        say(screen, "To get one: bench data fetch NAME. More on one: bench datasets NAME.")
        return
    card = data.card(name)
    state = status.read(card, root)
    for line in (*status.lines(card, root, state), *status.instructions(card, root, state)):
        say(screen, line)


def _state(state: "Status") -> str:
    if state.complete:
        return "yes"
    return "no" if state.annotated is None and not state.faults else "incomplete"


@framework.command(
    app, "bench data fetch rsitmd", "bench data fetch rsitmd --from ~/Downloads/RSITMD.zip"
)
def fetch(
    name: Annotated[str, typer.Argument(help="A data set, or the TOML of a card.")],
    data_root: Root = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="An archive, file or folder you have: what belongs to the data set is taken out "
            "of it.",
        ),
    ] = None,
) -> None:
    """Download a data set, check it and put it in place; resume what an earlier call began.

    Exit code 1 while the data set is not complete.
    """
    from bench import data
    from bench.fetch import fetching

    done = fetching.run(data.card(name), data.data_root(data_root), file, console())
    raise typer.Exit(0 if done else 1)


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of `bench data check`."""

    name: Annotated[str, typer.Argument(help="A data set, or the TOML of a card.")]
    data_root: Root = None
    json: bool = option("Print JSON, nothing else.", default=False)
    backbone: str | None = option(
        "Count the captions that are too long for this backbone. Default: CLIP, which takes 77 "
        "tokens.",
        metavar="NAME",
    )
    sheet: Path | None = option("Write a PNG of samples with their captions.")
    against: list[str] | None = option(
        "Another data set: look for NAME's test images among its training and validation images; "
        "repeatable."
    )
    pairs_sheet: Path | None = option("With --against: write a PNG of the images that are alike.")


@framework.command(
    app, "bench data check ucm --sheet ucm.png", "bench data check ucm --against rsitmd"
)
def check(options: CheckOptions) -> None:
    """Check every caption and image: what is missing, broken, repeated, or leaks from train.

    Exit code 1 if it is not the data of the card, or if an image is missing or cannot be read.
    """
    from rich.progress import Progress

    from bench import data
    from bench.backbone import loading, split_spec
    from bench.data import check as check_
    from bench.data import contact, leaks, summary
    from bench.data.cardfile import DEFAULT_BACKBONE

    sheet, pairs_sheet, backbone = options.sheet, options.pairs_sheet, options.backbone
    card, root = data.card(options.name), data.data_root(options.data_root)
    others = [data.card(other) for other in options.against or []]
    if pairs_sheet is not None and not others:
        raise UserError("--pairs-sheet shows what --against finds; give --against NAME too")
    for out in (sheet, pairs_sheet):
        demand_png(out)
    for other in others:
        data.read(other, root)  # raises UserError now, and not after the minutes of the check
    tokenizer = loading.tokenizer(split_spec(backbone or DEFAULT_BACKBONE))
    leaked = []
    screen = console(stderr=options.json)
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"looking at {card.name}", total=None)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        report = check_.check(card, root, tokenizer, move, backbone or "CLIP")
        for other in others:
            bar.update(task, description=f"{card.name} against {other.name}", completed=0)
            leaked.append(leaks.between(card, other, root, move))
    if options.json:
        against_ = {"against": [leak.as_json() for leak in leaked]} if leaked else {}
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        json.dump(report.as_json() | against_, sys.stdout, indent=1, ensure_ascii=not unicode)
        print()
    else:
        summary.show(report, screen)
        for leak in leaked:
            for line in leak.lines():
                say(screen, line)
    if sheet is not None:
        contact.save(card, root, sheet)
        say(screen, f"wrote {sheet}")
    if pairs_sheet is not None:
        pairs = leaks.sheet(leaked, pairs_sheet)
        say(screen, f"wrote {pairs_sheet}" if pairs else f"no pairs of images, so no {pairs_sheet}")
    raise typer.Exit(1 if report.incomplete else 0)


@framework.command(app, "bench data corruptions ucm --out corruptions.png")
def corruptions(
    name: Annotated[str, typer.Argument(help="A data set, or the TOML of a card.")],
    out: Annotated[Path, typer.Option(help="The sheet, a PNG.")] = Path("corruptions.png"),
    data_root: Root = None,
) -> None:
    """Draw what `bench run --corrupt` does to an image, by corruption and severity."""
    from bench import data
    from bench.data import contact

    contact.corruptions(data.card(name), data.data_root(data_root), out)
    print(f"wrote {out}")


@framework.command(app, "bench data new mine --annotations captions.csv --images photos")
def new(
    name: Annotated[str, typer.Argument(help="The name of the new data set.")],
    annotations: Annotated[
        Path, typer.Option(help="The file of captions, or a folder of *_caps.txt.")
    ],
    images: Annotated[Path, typer.Option(help="The folder of the images.")],
    data_root: Root = None,
    out: Annotated[Path | None, typer.Option(help="The card. Default: NAME.toml.")] = None,
) -> None:
    """Write a card for your own data: counts, hash and a guess at the scenes, for you to check."""
    from bench import data
    from bench.data import newcard

    path, root = out or Path(f"{name}.toml"), data.data_root(data_root)
    newcard.demand_new(name, path)
    proposal = newcard.propose(name, annotations, images, root)
    newcard.write(proposal, path)
    screen = console()
    screen.print(proposal.toml, markup=False, highlight=False)
    for note in proposal.notes:
        say(screen, note)
    advice = data.fetch_command(data.Card(name, {}, path), root, "check")
    say(screen, f"wrote {path}; look at it, then: {advice}")


@framework.command(app, "bench data cache ucm --backbone ViT-B-32:none", "bench data cache --show")
def cache(
    name: Annotated[
        str | None, typer.Argument(help="A data set, or the TOML of a card; none: list the cache.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=8, max=1024, help="Side in pixels.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Take size and way of resizing from a backbone. Default: that of the data set."
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="List what is there; build nothing.")
    ] = False,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove the decoded images of NAME; without NAME all.")
    ] = False,
    data_root: Root = None,
) -> None:
    """Build, list or remove decoded images; `bench run` builds what it needs by itself."""
    from bench import data
    from bench.backbone import preprocess_of
    from bench.data import cache as image_cache
    from bench.data.resize import CLIP

    screen = console()
    if size is not None and backbone is not None:
        raise UserError("give either --size or --backbone, not both")
    if show and clear:
        raise UserError("give either --show or --clear, not both")
    if name is None and not (show or clear) and (size is not None or backbone is not None):
        raise UserError("say which data set: bench data cache NAME --size PX")
    side = size if backbone is None else _size_of(backbone)
    if clear:
        is_file = name is not None and name.endswith(".toml")
        for line in image_cache.clear(Path(str(name)).stem if is_file else name, side):
            say(screen, line)
    elif name is None or show:
        card = None if name is None else data.card(name).name
        screen.print(image_cache.table(image_cache.entries(card, side)))
    else:
        card_ = data.card(name)
        wanted, how = backbone or card_.backbone, CLIP
        if size is None:
            size, how = _size_of(wanted), preprocess_of(wanted).resize
        dataset = data.load(card_, data.data_root(data_root))
        pixels = image_cache.build(dataset, size, how, console=screen)
        say(screen, f"ready: {len(pixels):,} images of {card_.name} at {pixels.shape[1]} px")


def _size_of(backbone: str) -> int:
    from bench.backbone import check, image_size

    check(backbone)
    size = image_size(backbone)
    if size is None:
        raise UserError(f"the image size of {backbone!r} is not known; give --size PX")
    return size
