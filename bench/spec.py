"""Method call strings: `cmer(queue=0),lora(rank=16)` -> names and settings, and back."""

import ast
import difflib
import inspect
import math
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from bench import UserError
from methods import load_plugin, registry
from methods.settings import ANY, Refused, Setting, Within

if TYPE_CHECKING:
    from methods.base import Method

LARGEST_WHOLE = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly, a browser included."""
HIGHEST_RATE = 1e30
"""Records hold no higher learning rate, so nothing may be trained with one."""


@dataclass(frozen=True)
class Call:
    """A method with settings. `text` is its identity: the name and what differs from the defaults.

    `settings` is complete; `lr` is the learning rate given in the call, or None.
    """

    name: str
    settings: tuple[tuple[str, Any], ...]
    lr: float | None
    text: str


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when no known word is near."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def portable(spec: str) -> str:
    """A backbone spec without the folder of its weights, which differs from machine to machine.

    `ViT-B-32:/a/mine.pt` and `ViT-B-32:hf:OWNER/REPO/mine.pt@REVISION` are both `ViT-B-32:mine.pt`.
    """
    if spec.startswith("hf-hub:"):
        return spec
    name, colon, weights = spec.partition(":")
    if weights.startswith("hf:"):
        weights = weights.partition("@")[0]
    return f"{name}{colon}{Path(weights).name}"  # a tag has no folder


def shareable(spec: str) -> str:
    """A backbone spec to give to others: an address on the Hub, or the name of a local file."""
    return spec if spec.partition(":")[2].startswith("hf:") else portable(spec)


def load_plugins(paths: Iterable[Path] | None) -> None:
    """Import files that register methods of a user's own; raises UserError."""
    for path in paths or []:
        if not path.is_file():
            raise UserError(f"there is no plug-in file {path}; give a Python file")
        registry()  # first, so that a name taken twice is the plug-in's fault
        try:
            load_plugin(path)
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            place = traceback.extract_tb(error.__traceback__)[-1]
            line = f" (line {place.lineno})" if Path(place.filename) == path.resolve() else ""
            why = f"{type(error).__name__}: {error}{line}"
            raise UserError(f"the plug-in {path} cannot be loaded: {why}") from None


def parse_calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """`cmer,lora(rank=16)` -> names with the settings given; raises UserError."""
    try:
        tree = ast.parse(f"[{text}]", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if not isinstance(tree, ast.List):  # `a],[b` is a tuple
        raise UserError(
            f"cannot read the methods {text[:99]!r}; write for instance cmer,lora(rank=16)"
        )
    if not tree.elts:
        raise UserError("no method is named; write for instance --methods cmer,lora(rank=16)")
    return [_parse_call(node, text) for node in tree.elts]


def _parse_call(node: ast.expr, text: str) -> tuple[str, dict[str, Any]]:
    if isinstance(node, ast.Name):
        return node.id, {}
    if (
        not isinstance(node, ast.Call)
        or not isinstance(node.func, ast.Name)
        or node.args
        or any(keyword.arg is None for keyword in node.keywords)
    ):
        raise UserError(
            f"cannot read {ast.unparse(node)!r} in {text!r}; write NAME or NAME(setting=value, ...)"
        )
    settings: dict[str, Any] = {}
    for keyword in node.keywords:
        name = str(keyword.arg)
        if name in settings:
            raise UserError(f"{name!r} is given twice in {ast.unparse(node)!r}; give it once")
        try:
            settings[name] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            raise UserError(
                f"the value of {name!r} in {ast.unparse(node)!r} is no number, true value or text; "
                f"put text in quotes: {name}='{ast.unparse(keyword.value)}'"
            ) from None
        parts = [part.value for part in ast.walk(keyword.value) if isinstance(part, ast.Constant)]
        if any(isinstance(part, int) and part > LARGEST_WHOLE for part in parts):
            raise UserError(f"in {ast.unparse(node)!r}: whole numbers are at most {LARGEST_WHOLE}")
    return node.func.id, settings


def defaults(cls: "type[Method]") -> dict[str, Any]:
    """The settings of a method with their defaults: its constructor's keyword-only arguments."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    for name, default in defaults.items():
        if default is inspect.Parameter.empty:
            raise UserError(f"the setting {name!r} of {cls.__name__} has no default; give it one")
    return defaults


def settings_of(cls: "type[Method]", given: Mapping[str, Any]) -> dict[str, Setting]:
    """All settings that a call may have, by name; those given may decide. Raises UserError."""
    hints = get_type_hints(cls.__init__, include_extras=True)
    named = {name: Setting(default, hints.get(name)) for name, default in defaults(cls).items()}
    try:
        return named | cls.further_settings(given)
    except Refused as error:
        raise UserError(str(error)) from None


def complete(cls: "type[Method]", settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings, with the defaults of those that a record leaves out; raises UserError."""
    return {n: setting.default for n, setting in settings_of(cls, settings).items()} | {**settings}


def misfits(cls: "type[Method]", settings: Mapping[str, Any]) -> list[str]:
    """Settings of a record that the method no longer has, and settings that the record lacks."""
    known, needed = settings_of(cls, settings).keys(), defaults(cls).keys()
    return sorted((settings.keys() - known) | (needed - settings.keys()))


def resolve(name: str, given: dict[str, Any], known: "dict[str, type[Method]]") -> Call:
    """Check a call against the registry and make its settings complete; raises UserError."""
    if name not in known:
        raise UserError(
            f"no method is called {name!r}{nearest(name, known)}; `bench methods` lists them, and "
            "one of your own is loaded with --plugin FILE.py"
        )
    cls = known[name]
    default, given = defaults(cls), dict(given)
    lr = given.pop("lr", None) if "lr" not in default else None
    if lr is not None and not (type(lr) in (int, float) and 0 < lr <= HIGHEST_RATE):
        raise UserError(
            f"the learning rate of {name} must be a number above 0, at most {HIGHEST_RATE:g}, "
            f"not {lr!r}"
        )
    if lr is not None and cls.lr is None:
        raise UserError(f"{name} trains nothing, so it has no learning rate; leave out lr={lr!r}")
    possible = settings_of(cls, given)
    # The setting that decides which others there are is checked first.
    for setting in sorted(given, key=lambda setting: setting != cls.decides):
        if setting not in possible:
            kind = f"({cls.decides}={given[cls.decides]!r})" if cls.decides in given else ""
            options = [*possible, "lr"]
            raise UserError(
                f"{name}{kind} has no setting {setting!r}{nearest(setting, options)}; "
                f"it has {', '.join(options)}"
            )
        given[setting] = _checked(name, setting, given[setting], possible[setting])
    full = {n: possible[n].default for n in possible} | given
    differs = {n for n in possible if full[n] != possible[n].default}
    # A record holds all settings of the constructor, but of further settings (peft has dozens, and
    # each version has new ones) only those that differ from their default.
    settings = {n: full[n] for n in possible if n in default or n in differs}
    try:
        cls.check_settings(settings)
    except Refused as error:
        raise UserError(f"{name}: {error}") from None
    stated = [f"{n}={v!r}" for n, v in settings.items() if n in differs or n == cls.decides]
    if lr is not None:
        lr = float(lr)
        stated.append(f"lr={lr:g}")
    text = f"{name}({', '.join(stated)})" if stated else name
    return Call(name, tuple(settings.items()), lr, text)


def _checked(method: str, name: str, value: Any, setting: Setting) -> Any:
    """The value of a setting as it is recorded; raises UserError for a wrong one."""
    hint = _hint(setting)
    if not _fits(hint, value):
        choices = [choice for choice in get_args(hint) if isinstance(choice, str)]
        near = nearest(value, choices) if isinstance(value, str) else ""
        raise UserError(f"{method}({name}={value!r}): {name} is {values_of(setting, method)}{near}")
    if type(setting.default) is float and type(value) is int and get_origin(hint) is Annotated:
        return float(value)  # so that scale=1 and scale=1.0 are one call
    return value


def values_of(setting: Setting, method: str) -> str:
    """The values that a setting may have: `a whole number from 1`, `'attn' or 'mlp'`, ..."""
    words = list(dict.fromkeys(_words(_hint(setting))))
    if len(words) > 20:  # the kinds of adapters in peft
        return f"one of {len(words)} names (`bench methods {method}` lists them)"
    listed = " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
    return listed or "an object that cannot be written here"


def _hint(setting: Setting) -> Any:
    """The type of a setting, which a method of the user's own may leave out."""
    hint = setting.hint
    if hint is None:
        hint = Any if setting.default is None else type(setting.default)
    return Annotated[hint, ANY] if hint in (int, float) else hint


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a type; peft's settings have types of every form."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        in_range = not isinstance(value, int | float) or all(value in r for r in _ranges(hint))
        return in_range and _fits(inner[0], value)
    if origin is Literal:
        # peft's Literals may hold a pattern such as "pissa_niter_[number of iters]"
        open_ended = isinstance(value, str) and any("[" in str(choice) for choice in inner)
        return open_ended or any(type(c) is type(value) and c == value for c in inner)
    if origin in (Union, UnionType):
        return any(_fits(choice, value) for choice in inner)
    if origin in (list, dict):
        if not isinstance(value, origin):
            return False
        parts = value if origin is list else value.items()
        each = inner[0] if origin is list else tuple[inner]  # type: ignore[valid-type]
        return all(_fits(each, part) for part in parts)
    if origin is tuple:
        return all(_fits(each, part) for each, part in zip(inner, value, strict=False))
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return hint is Any or (hint in (bool, int, str, list, dict, type(None)) and type(value) is hint)


def _words(hint: Any) -> list[str]:
    """What may be written for a type, each choice in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = " ".join(map(str, _ranges(hint)))
        return [f"{word} {limits}" if "number" in word else word for word in _words(inner[0])]
    if origin is Literal:
        return [repr(choice) for choice in inner]
    if origin in (Union, UnionType):
        return [word for choice in inner for word in _words(choice)]
    words: dict[Any, str] = {int: "a whole number", float: "a number", bool: "True or False"}
    words |= {str: "a text in quotes", list: "a list", dict: "a dict", type(None): "None"}
    base = origin or hint
    return [words[base]] if base in words else []


def _ranges(hint: Any) -> list[Within]:
    """The ranges in `Annotated[int, Within(1)]`."""
    return [extra for extra in get_args(hint)[1:] if isinstance(extra, Within)]
