"""What every command of `bench` shares: how its help looks, and how its options are declared."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from bench import UserError
from bench.recipe import Recipe
from bench.spec import nearest

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command with plainer help and errors than typer's.

    Flags are shown without a type (`--dry-run`, not `--dry-run <bool>`), and an option that does
    not exist is answered with what was probably meant.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """As typer does; raises UserError for an option that does not exist."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            wrong = getattr(error, "option_name", None)
            if type(error).__name__ != "NoSuchOption" or not wrong:
                raise
            known = [name for param in self.get_params(ctx) for name in param.opts]
            raise UserError(_unknown_option(ctx.command_path, wrong, known)) from None

    def get_params(self, ctx: Any) -> Any:
        """The parameters, as typer shows them in the help."""
        return _flags_without_type(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose own flags are shown without a type."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, as typer shows them in the help."""
        return _flags_without_type(super().get_params(ctx))


def _flags_without_type(params: Any) -> Any:
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


def _unknown_option(command: str, wrong: str, known: list[str]) -> str:
    name = wrong.lstrip("-").replace("-", "_")
    if "--recipe" in known and name in {field.name for field in dataclasses.fields(Recipe)}:
        return f"{command} has no option {wrong}; it is a part of the recipe: --recipe {name}=..."
    return f"{command} has no option {wrong}{nearest(wrong, known)}; `{command} --help` lists them"


def group(help_text: str, *, name: str | None = None, completion: bool = False) -> typer.Typer:
    """An empty group of commands."""
    return typer.Typer(
        cls=Group,
        name=name,
        help=help_text,
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_enable=False,
        context_settings=HELP_NAMES,
        rich_markup_mode="rich",
    )


def command(
    app: typer.Typer, *examples: str, panel: str | None = None, notes: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of a group, with notes and examples at the end of its help."""
    lines = ["Examples:" if len(examples) > 1 else "Example:", *examples]
    paragraphs = [*([notes] if notes else []), *(lines if examples else [])]
    epilog = "\n\n".join(line.replace("[", "\\[") for line in paragraphs) or None

    def add(function: Callable[..., None]) -> Callable[..., None]:
        register = app.command(
            cls=Command, rich_help_panel=panel, epilog=epilog, context_settings=HELP_NAMES
        )
        register(spread(function))
        return function

    return add


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field of its parameters that are dataclasses.

    typer reads options from a function's signature. A command that shares options with others
    takes them as one object, `def run(options: SweepOptions, ...)`; here each field of the
    dataclass becomes an option of its own, with the field's annotation and default.
    """
    signature = inspect.signature(command, eval_str=True)
    shared: dict[str, type] = {}
    own: dict[str, inspect.Parameter] = {}
    for name, parameter in signature.parameters.items():
        if not dataclasses.is_dataclass(parameter.annotation):
            own[name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        assert isinstance(parameter.annotation, type)
        shared[name] = parameter.annotation
        hints = get_type_hints(parameter.annotation, include_extras=True)
        for field in dataclasses.fields(parameter.annotation):
            own[field.name] = inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
    if not shared:
        return command

    def called(**given: Any) -> None:
        objects = {
            name: cls(**{field.name: given.pop(field.name) for field in dataclasses.fields(cls)})
            for name, cls in shared.items()
        }
        command(**objects, **given)

    functools.update_wrapper(called, command)
    del called.__wrapped__  # type: ignore[attr-defined]  # typer would read its signature instead
    called.__signature__ = inspect.Signature([*own.values()])  # type: ignore[attr-defined]
    called.__annotations__ = {name: parameter.annotation for name, parameter in own.items()}
    return called
