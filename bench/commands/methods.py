"""The commands about methods: list them, show one, check one of your own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench import UserError
from bench.commands.console import console, say
from bench.commands.options import Plugins
from bench.spec import load_plugins


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

    from bench.recipe import Recipe, meanings

    table = Table("name", "default", "what it is", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    says = meanings()
    for field in dataclasses.fields(Recipe):
        default = "none" if field.default is None else str(field.default)
        default = default.lower() if isinstance(field.default, bool) else default
        table.add_row(field.name, default.removesuffix(".0"), says[field.name])
    screen = console()
    screen.print(table)
    say(screen, "Set them with --recipe NAME=VALUE, for instance: --recipe epochs=10,warmup=0.1")
