"""The commands about methods: list them, show one, check one of your own."""

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bench import UserError
from bench.commands.options import Plugins
from bench.console import console, say
from bench.spec import load_plugins

if TYPE_CHECKING:
    from methods.base import Method


def methods(
    name: Annotated[str | None, typer.Argument(help="A method, to see all about it.")] = None,
    plugin: Plugins = None,
) -> None:
    """List the methods, or show one with its settings, their defaults and the paper."""
    from bench.spec import nearest
    from methods import registry

    load_plugins(plugin)
    known = registry()
    if name is None:
        _list(known)
    elif name in known:
        _show(name, known[name])
    else:
        raise UserError(
            f"no method is called {name!r}{nearest(name, known)}; `bench methods` lists them"
        )


def _list(known: "dict[str, type[Method]]") -> None:
    """A line for each method, by family."""
    from rich.markup import escape
    from rich.table import Table

    from bench.measure import parameters

    screen = console()
    with screen.status("counting parameters"):
        counts = {key: parameters.trainable(cls) for key, cls in known.items()}
    for family in sorted({cls.family for cls in known.values()}):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(width=max(map(len, known)), style="bold")
        table.add_column(width=len("3.49 M"), justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        for key, cls in known.items():
            if cls.family == family:
                count = counts[key]
                trains = "\u2013" if count is None else parameters.rounded(count)
                table.add_row(key, trains, escape(_summary(cls)))
        screen.print(f"[italic]{escape(family)}[/]", highlight=False)
        screen.print(table)
    say(
        screen,
        f"The figure is the number of parameters that are trained, on {parameters.REFERENCE} with "
        "default settings. `bench methods NAME` shows settings and paper.",
    )


def _summary(cls: "type[Method]") -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def _show(name: str, cls: "type[Method]") -> None:
    """What a method is, its paper, and its settings with the values they may have."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from bench.measure import parameters
    from bench.spec import defaults

    screen = console()
    flowing = escape(re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.getdoc(cls) or ""))
    screen.print(f"[bold]{name}[/]\n{flowing}\n", highlight=False)
    if cls.paper:
        say(screen, f"Paper: {cls.paper.title} ({cls.paper.year}), {cls.paper.link}")
    count = parameters.trainable(cls)
    if count:
        say(screen, f"Trains {count:,} parameters on {parameters.REFERENCE}.")
    table = Table("setting", "default", "values", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    hints = get_type_hints(cls.__init__, include_extras=True)
    for setting, default in defaults(cls).items():
        table.add_row(setting, repr(default), _values(default, hints.get(setting)))
    if "lr" not in defaults(cls) and cls.lr is not None:
        table.add_row("lr", f"{cls.lr:g}", "learning rate: a number above 0")
    if table.rows:
        screen.print(table)
        setting, default = next(iter([*defaults(cls).items(), ("lr", cls.lr)]))
        say(screen, f"Set them in brackets: --methods '{name}({setting}={default!r})'")
    if cls.lr is None:
        say(screen, "Nothing is trained.")


def _values(default: Any, hint: Any) -> str:
    """The values that a setting may have, in words."""
    from bench.spec import WORDS, choices_of, range_of

    if (choices := choices_of(hint)) is not None:
        return ", ".join(map(repr, choices))
    if isinstance(default, int | float) and not isinstance(default, bool):
        return f"{WORDS[type(default)]} {range_of(hint)}"
    return WORDS.get(type(default), "")


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


def recipe() -> None:
    """List the training settings that all methods share, with their defaults: the recipe."""
    import dataclasses

    from rich import box
    from rich.table import Table

    from bench.recipe import Recipe, meanings, written

    table = Table("name", "default", "what it is", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    says = meanings()
    for field in dataclasses.fields(Recipe):
        table.add_row(field.name, written(field.name, field.default), says[field.name])
    screen = console()
    screen.print(table)
    say(screen, "Set them with --recipe NAME=VALUE, for instance: --recipe epochs=10,warmup=0.1")
