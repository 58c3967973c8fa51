"""`bench evaluate`: trained methods on another data set's test images, or on their own again."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import UserError, lock, record
from bench.commands.options import AGAIN, ConditionsOf, Plugins, Results, Root, SeedOf
from bench.console import console, say, warn
from bench.spec import load_plugins

if TYPE_CHECKING:
    from rich.console import Console

    from bench.data import Dataset
    from bench.schema import Record


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
    left_out: list[str] = []
    named = [choose.several(where, results, seed, conditions, left_out) for where in records]
    for sentence in dict.fromkeys(left_out):
        warn(screen, f"left out: {sentence}")
    paths = list(dict.fromkeys(path for some in named for path in some))
    words = [word.strip() for text in dataset or [] for word in text.split(",") if word.strip()]
    if dataset and not words:
        raise UserError("--dataset names nothing; leave it out for the one that was trained on")
    cards = [data.card(word) for word in dict.fromkeys(words)]
    names = [card.name for card in cards]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"two of the data sets are called {twice[0]}, and the result on one would replace that "
            "on the other; name each once, or rename the file of a card"
        )
    # Here, so that a data set that is missing is one error and not one for each record.
    datasets = [data.load(card, root) for card in cards]
    targets: list[Dataset | None] = [*datasets] if datasets else [None]  # None: its own data set
    succeeded = [_test(screen, path, target, root, rerun) for target in targets for path in paths]
    if datasets:
        _print_tables(screen, paths)
    raise typer.Exit(0 if all(succeeded) else 1)


def _test(screen: "Console", path: Path, target: "Dataset | None", root: Path, rerun: bool) -> bool:
    """Test one record and print its recall; returns whether that worked.

    target: the data set to test on; None: the one that the method was trained on.
    """
    from bench.data import cache
    from bench.trained import transfer
    from bench.trial import Trial

    name = str(path)
    try:
        document = record.read(path)
        trial = Trial.recorded(document)
        name = trial.name
        if target is None:
            now = transfer.retest(path, root, partial(cache.build, console=screen))
            then = document.get("metrics", {}).get("test", {}).get("mR")
            recorded = "none" if then is None else f"{then:.2f}"
            say(screen, f"ok {name}: mR {now['mR']:.2f} now, {recorded} recorded")
        elif target.card.name == trial.dataset_name:
            say(screen, f"left out {name}: {target.card.name} is its own data set")
        else:
            _transfer(screen, path, document, name, target, root, rerun)
    except UserError as error:
        place = "" if target is None else f" on {target.card.name}"
        say(screen, f"failed {name}{place}: {error}")
        return False
    return True


def _transfer(
    screen: "Console",
    path: Path,
    document: "Record",
    name: str,
    dataset: "Dataset",
    root: Path,
    rerun: bool,
) -> None:
    """Test one record on another data set and print its recall; raises UserError."""
    from bench.data import cache
    from bench.trained import transfer

    card = dataset.card
    result = None if rerun else transfer.results_of(path, document).get(card.name)
    if result is not None and not transfer.is_current(result, dataset):
        result = None
    word = "ok" if result is None else "recorded"
    if result is None:
        with lock.held(path) as acquired:
            if not acquired:
                raise UserError("another command is running it; try again when that is done")
            result = transfer.measure(path, card, root, partial(cache.build, console=screen))
    own = document.get("metrics", {}).get("test", {}).get("mR")
    beside = "" if own is None else f" ({own:.1f} on its own test set)"
    say(screen, f"{word} {name} on {card.name}: mR {result['metrics']['mR']:.1f}{beside}")
    if shared := result["shared"]:
        say(
            screen,
            f"  {shared} of the {result['test_images']:,} test images share captions with images "
            "that it was trained or selected on, so part of this recall is no transfer",
        )


def _print_tables(screen: "Console", paths: list[Path]) -> None:
    import os

    from bench.report import terminal, transfer
    from bench.report.grouping import group_records

    tested = [path.resolve() for path in paths]
    folder = Path(os.path.commonpath([path.parent for path in tested]))
    # Records that cannot be read were named above, when they should have been tested.
    for group in group_records(record.load(folder, only=tested, left_out=lambda _: None)):
        for part in transfer.tables(group, folder, short=True):
            screen.print(terminal.short(part))
