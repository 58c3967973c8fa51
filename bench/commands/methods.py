"""The commands about methods: list them, show one, check one of your own."""

import inspect
import re
import warnings
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import UserError
from bench.commands.options import Plugins
from bench.console import console, counted, plain_table, say
from bench.measure import parameters
from bench.recipe import Recipe, meanings, written
from bench.spec import Call, load_plugins, nearest, parse_calls, resolve, settings_of, values_of
from methods import registry

if TYPE_CHECKING:
    from methods.base import Method


def methods(
    name: Annotated[
        str | None,
        typer.Argument(help="A method to show, perhaps with settings: cmer, 'lora(rank=4)'."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """List the methods, or show one with its settings, their defaults and the paper."""
    load_plugins(plugin)
    known = registry()
    if name is None:
        _list(known)
    elif name.isidentifier() and name not in known:
        raise UserError(
            f"no method is called {name!r}{nearest(name, known)}; `bench methods` lists them"
        )
    else:
        calls = parse_calls(name)
        for call in (resolve(method, given, known) for method, given in calls):
            _show(call, known[call.name])
            decides = known[call.name].decides
            if name == call.name and decides is not None:
                _show_kinds(known[name], name, decides)


def _list(known: "dict[str, type[Method]]") -> None:
    from rich.markup import escape
    from rich.table import Table

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
                summary = (inspect.getdoc(cls) or "").partition("\n")[0]
                table.add_row(key, trains, escape(summary))
        screen.print(f"[italic]{escape(family)}[/]", highlight=False)
        screen.print(table)
    say(
        screen,
        f"The figure is the number of parameters that are trained, on {parameters.REFERENCE} with "
        "default settings. `bench methods NAME` shows settings and paper.",
    )


def _show(call: "Call", cls: "type[Method]") -> None:
    """What a method is, its paper, and its settings with the values they may have."""
    from rich.markup import escape

    screen, name, given = console(), call.name, dict(call.settings)
    # Paragraphs without their line breaks, so that rich wraps them to the terminal.
    text = escape(re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.getdoc(cls) or ""))
    screen.print(f"[bold]{name}[/]\n{text}\n", highlight=False)
    if cls.paper:
        say(screen, f"Paper: {cls.paper.title} ({cls.paper.year}), {cls.paper.link}")
    count = parameters.trainable(cls, **given)
    if count:
        say(screen, f"{call.text} trains {count:,} parameters on {parameters.REFERENCE}.")
    table = plain_table("setting", "default", "values")
    settings = settings_of(cls, given)
    for setting, known in settings.items():
        table.add_row(setting, repr(known.default), escape(values_of(known, name)))
    if "lr" not in settings and cls.lr is not None:
        table.add_row("lr", f"{cls.lr:g}", "learning rate: a number above 0")
    if table.rows:
        screen.print(table)
        first = [(n, s.default) for n, s in settings.items()]
        setting, default = next(iter([*first, ("lr", cls.lr)]))
        example = f"{name}({setting}={given.get(setting, default)!r})"
        quote = '"' if "'" in example else "'"  # of the shell
        say(screen, f"Set them in brackets: --methods {quote}{example}{quote}")
    if cls.lr is None:
        say(screen, "Nothing is trained.")


def _show_kinds(cls: "type[Method]", name: str, decides: str) -> None:
    """A table of the kinds of a method: how many parameters each trains, or why it cannot be used.

    decides: the setting that names the kind and so decides which other settings there are.
    """
    from bench.contract import obstacle

    screen = console()
    table = plain_table(decides, "trains")
    reasons: dict[str, list[str]] = {}
    with screen.status("counting parameters"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, about things that do not matter here
        for value, reason in cls.alternatives().items():
            count = None if reason else parameters.trainable(cls, **{decides: value})
            if count is None:  # perhaps it needs weights, perhaps a package that is missing
                reason = reason or obstacle(cls, {decides: value})
            if reason is not None:
                reasons.setdefault(reason, []).append(value)
                continue
            table.add_row(value, "?" if count is None else parameters.rounded(count))
    screen.print(table)
    say(
        screen,
        f"The figure is for {parameters.REFERENCE} with default settings; ?: it can only be "
        "counted with weights. To see the settings of one: bench methods "
        f"\"{name}({decides}='...')\"\n",
    )
    for reason, values in reasons.items():
        say(screen, f"Not usable: {', '.join(values)}: {reason.removesuffix('.')}.")


def validate(
    method: Annotated[
        str,
        typer.Argument(
            help="A method, such as lora or 'lora(rank=4)', or a Python file that registers one."
        ),
    ],
    plugin: Plugins = None,
) -> None:
    """Check a method on small models: gradients, frozen weights, unit length, saving, bfloat16."""
    from bench.contract import check_method, table

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
    screen.print("all checks passed" if not failed else f"{counted(failed, 'check')} failed")
    raise typer.Exit(1 if failed else 0)


def recipe() -> None:
    """List the training settings that all methods share, with their defaults: the recipe."""
    table = plain_table("name", "default", "what it is")
    meaning = meanings()
    for field in fields(Recipe):
        table.add_row(field.name, written(field.name, field.default), meaning[field.name])
    screen = console()
    screen.print(table)
    say(screen, "Set them with --recipe NAME=VALUE, for instance: --recipe epochs=10,warmup=0.1")
