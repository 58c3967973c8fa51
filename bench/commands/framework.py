"""How commands are declared: their help, their options, and what they refuse."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from bench import UserError, demand_text
from bench.recipe import Recipe
from bench.spec import LARGEST_WHOLE, nearest

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command that refuses odd values in one sentence.

    Its help shows flags without a type (`--dry-run`, not `--dry-run <bool>`).
    """

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse as typer does, but raise UserError for what it refuses and for odd values.

        All options and arguments of all commands are read here.
        """
        with _refusals_in_a_sentence(ctx):
            if not ctx.resilient_parsing:  # the shell asks for completions of a line half typed
                self._demand_texts(ctx, args)
            remaining = super().parse_args(ctx, args)
        for param in self.get_params(ctx):
            value = ctx.params.get(param.name)
            if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
                raise UserError(f"{_name_of(param)} is at most {LARGEST_WHOLE}, not {value}")
        return remaining

    def _demand_texts(self, ctx: Any, args: list[str]) -> None:
        """Raise UserError for a value that is empty or has a NUL, as it was typed."""
        typed, *_ = self.make_parser(ctx).parse_args(list(args))
        for param in self.get_params(ctx):
            values = typed.get(param.name)
            for value in values if isinstance(values, list | tuple) else [values]:
                if isinstance(value, str):
                    demand_text(value, _name_of(param))

    def get_params(self, ctx: Any) -> Any:
        """The parameters, as the help shows them."""
        return _flags_without_type(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands that says in one sentence what typer refuses.

    Its own flags are shown without a type.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the options of the group; raises UserError."""
        with _refusals_in_a_sentence(ctx):
            return super().parse_args(ctx, [] if args == ["--"] else args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; raises UserError if there is none."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            near, path = nearest(args[0], self.commands), ctx.command_path
            raise UserError(
                f"there is no command `{path} {args[0]}`{near}; `{path} --help` lists them"
            )
        return super().resolve_command(ctx, args)

    def get_params(self, ctx: Any) -> Any:
        """The parameters, as the help shows them."""
        return _flags_without_type(super().get_params(ctx))


@contextlib.contextmanager
def _refusals_in_a_sentence(ctx: Any) -> Iterator[None]:
    """Turn what typer refuses, such as `--seed x` or an unknown option, into a UserError."""
    try:
        yield
    except Exception as error:
        # Known by a method, since typer may bundle a copy of click with its own classes.
        if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
            raise
        raise UserError(_in_a_sentence(ctx, error)) from None


def _in_a_sentence(ctx: Any, refusal: Any) -> str:
    if type(refusal).__name__ == "NoSuchOption":
        known = [name for param in ctx.command.get_params(ctx) for name in param.opts]
        return _unknown_option(ctx.command_path, refusal.option_name, known)
    text = refusal.format_message().rstrip(".").replace(": Input should", ": it should")
    text = text.partition(", unable to parse")[0]
    return f"{text[:1].lower()}{text[1:]}; see `{ctx.command_path} --help`"


def _name_of(param: Any) -> str:
    """`--seed`, or `RECORD` for an argument."""
    name = str(param.opts[0])
    return name if name.startswith("-") else str(param.metavar or name.upper())


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
    """Register a function as a command, with notes and examples at the end of its help."""
    lines = ["Examples:" if len(examples) > 1 else "Example:", *examples]
    paragraphs = [*([notes] if notes else []), *(lines if examples else [])]
    epilog = "\n\n".join(line.replace("[", "\\[") for line in paragraphs) or None

    def add(function: Callable[..., None]) -> Callable[..., None]:
        register = app.command(
            cls=Command, rich_help_panel=panel, epilog=epilog, context_settings=HELP_NAMES
        )
        register(_with_single_options(function))
        return function

    return add


def option(
    help_text: str, *names: str, panel: str | None = None, default: object = None, **more: Any
) -> Any:
    """A field of a dataclass of options; the option has the name of the field unless given here."""
    declaration = {"help": help_text, "rich_help_panel": panel, **more}
    return dataclasses.field(default=default, metadata={"names": names, "option": declaration})


def option_name(field: "dataclasses.Field[Any]") -> str:
    """How the option of a field is written on the command line: `--dry-run` for `dry_run`."""
    names = field.metadata.get("names") or (f"--{field.name.replace('_', '-')}",)
    return str(names[0])


def _with_single_options(command: Callable[..., None]) -> Callable[..., None]:
    """Turn a command that takes one options object into one that takes each option by itself.

    A command with many options takes them as a dataclass: `def run(options: RunOptions)`. But typer
    reads the options from the signature, so here each field becomes a parameter of a new function.
    """
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())
    if len(parameters) != 1 or not dataclasses.is_dataclass(parameters[0].annotation):
        return command
    options = parameters[0].annotation
    assert isinstance(options, type)
    hints = get_type_hints(options, include_extras=True)
    single = []
    for field in dataclasses.fields(options):
        hint = hints[field.name]
        if "option" in field.metadata:
            names = field.metadata["names"] or (option_name(field),)
            hint = Annotated[hint, typer.Option(*names, **field.metadata["option"])]
        required = field.default is dataclasses.MISSING
        default = inspect.Parameter.empty if required else field.default
        parameter = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default)
        single.append(parameter.replace(annotation=hint))

    def expanded(**values: Any) -> None:
        command(options(**values))

    functools.update_wrapper(expanded, command)
    del expanded.__wrapped__  # type: ignore[attr-defined]  # typer would read its signature instead
    expanded.__signature__ = inspect.Signature(single)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in single}
    return expanded
