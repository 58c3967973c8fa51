"""`bench evaluate`: trained methods on another data set's test images, or on their own again."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import UserError, lock, record
from bench.commands.options import AGAIN, ConditionsOf, Plugins, Results, Root, SeedOf
from bench.console import console, say
from bench.spec import load_plugins

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data import Card
    from bench.schema import Record
    from bench.trial import Trial


def evaluate(
    records: Annotated[
        list[str],
        typer.Argument(
            metavar="RECORD...",
            help="Records (seed*.json) or folders of records, such as ucm/starter/cmer or ucm "
            "below --results; the trained weights lie beside them.",
        ),
    ],
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="A data set, or the TOML of a card; repeatable, or with commas. Default: the one "
            "that it was trained on, to compare with the recorded figures.",
        ),
    ] = None,
    rerun: Annotated[
        bool,
        typer.Option("--rerun", help="Measure again what is recorded.", rich_help_panel=AGAIN),
    ] = False,
    seed: SeedOf = None,
    conditions: ConditionsOf = None,
    results: Results = Path("results"),
    data_root: Root = None,
    plugin: Plugins = None,
) -> None:
    """Test trained methods on another data set's test images (transfer), and record it.

    The results lie in `transfer/` beside the records; `bench report` has a table of them.
    """
    from bench import data
    from bench.report import choose

    load_plugins(plugin)
    root, screen = data.data_root(data_root), console()
    named = [choose.several(where, results, seed, conditions) for where in records]
    paths = list(dict.fromkeys(path for some in named for path in some))
    names = [name for text in dataset or [] for name in text.split(",") if name.strip()]
    cards = [data.card(name.strip()) for name in names]
    bad = [_again(screen, path, root) for path in paths] if not cards else []
    for card in cards:
        data.load(card, root)  # what is missing is told once, not for each record
    for card in cards:
        bad += [_transfer(screen, path, card, root, rerun) for path in paths]
    if cards:
        _print_tables(screen, paths)
    raise typer.Exit(1 if any(bad) else 0)


def _read(screen: "Console", path: Path) -> "tuple[Record, Trial] | None":
    """A record and its trial; None, with a sentence, where it cannot be read."""
    from bench.trial import Trial

    try:
        document = record.read(path)
        return document, Trial.recorded(document)
    except UserError as error:
        say(screen, f"failed: {error}")
        return None


def _transfer(screen: "Console", path: Path, card: "Card", root: Path, rerun: bool) -> bool:
    """Test one record on one data set; whether that failed."""
    from bench.data import cache
    from bench.trained import transfer

    found = _read(screen, path)
    if found is None:
        return True
    document, trial = found
    name = trial.name
    if trial.dataset_name == card.name:
        say(screen, f"left out {name}: {card.name} is its own data set")
        return False
    result = None if rerun else transfer.known(path, document).get(card.name)
    said = "recorded" if result is not None else "ok"
    try:
        if result is None:
            with lock.held(path) as mine:
                if not mine:
                    raise UserError("another command is running it; try again when that is done")
                pixels = partial(cache.build, console=screen)
                result = transfer.measure(path, card, root, pixels)
    except UserError as error:
        say(screen, f"failed {name} on {card.name}: {error}")
        return True
    own = document["metrics"]["test"]["mR"] if document.get("metrics") else None
    beside = "" if own is None else f" ({own:.1f} on its own test set)"
    say(screen, f"{said} {name} on {card.name}: mR {result['metrics']['mR']:.1f}{beside}")
    if shared := result["shared"]:
        say(
            screen,
            f"  {shared} of the {result['test_images']:,} test images share captions with images "
            "that it was trained or selected on, so part of this recall is no transfer",
        )
    return False


def _again(screen: "Console", path: Path, root: Path) -> bool:
    """Test one record on its own test set and print both figures; whether that failed."""
    from bench.data import cache
    from bench.trained import transfer

    found = _read(screen, path)
    if found is None:
        return True
    document, name = found[0], found[1].name
    try:
        now = transfer.retest(path, root, partial(cache.build, console=screen))
    except UserError as error:
        say(screen, f"failed {name}: {error}")
        return True
    then = (document.get("metrics") or {}).get("test") or {}
    recorded = f"{then['mR']:.2f}" if "mR" in then else "none"
    say(screen, f"ok {name}: mR {now['mR']:.2f} now, {recorded} recorded")
    return False


def _print_tables(screen: "Console", paths: list[Path]) -> None:
    """The tables of transfer of the records that were tested."""
    import os

    from bench.report import groups, terminal, transfer

    whole = [path.resolve() for path in paths]
    folder = Path(os.path.commonpath([path.parent for path in whole]))
    frame = record.load(folder)
    if not len(frame):
        return
    mine = frame[frame["path"].isin([str(path.relative_to(folder)) for path in whole])]
    for group in groups.group_records(mine):
        for part in transfer.tables(group, folder, short=True):
            screen.print(terminal.short(part))
