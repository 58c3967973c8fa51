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
            for part in ast.walk(keyword.value):
                number = getattr(part, "value", None)
                if isinstance(number, int) and number > LARGEST_WHOLE:
                    raise UserError(
                        f"a whole number is at most {LARGEST_WHOLE}, not {number} as in {name!r} "
                        f"of {ast.unparse(node)!r}"
                    )
        except (ValueError, TypeError):
            raise UserError(
                f"the value of {name!r} in {ast.unparse(node)!r} is no number, true value or text; "
                f"put text in quotes: {name}='{ast.unparse(keyword.value)}'"
            ) from None
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
    for setting in sorted(given, key=lambda name: name != cls.decides):
        if setting not in possible:
            options = [*possible, "lr"]
            where = (
                f"{name}({cls.decides}={given[cls.decides]!r})" if cls.decides in given else name
            )
            raise UserError(
                f"{where} has no setting {setting!r}{nearest(setting, options)}; "
                f"it has {', '.join(options)}"
            )
        given[setting] = _checked(name, setting, given[setting], possible[setting])
    full = {n: possible[n].default for n in possible} | given
    settings = {n: full[n] for n in possible if n in default or full[n] != possible[n].default}
    try:
        cls.check_settings(settings)
    except Refused as error:
        raise UserError(f"{name}: {error}") from None
    stated = [
        f"{k}={v!r}"
        for k, v in settings.items()
        if k == cls.decides or v != possible[k].default  # the one that decides is always stated
    ]
    if lr is not None:
        stated.append(f"lr={float(lr):g}")
    text = f"{name}({', '.join(stated)})" if stated else name
    return Call(name, tuple(settings.items()), None if lr is None else float(lr), text)


def _checked(name: str, setting: str, value: Any, known: Setting) -> Any:
    """The value of a setting as it is recorded; raises UserError for a wrong one."""
    default, hint = known
    where = f"{name}({setting}=...)"
    if (choices := choices_of(hint)) is not None:
        if type(value) is type(default) and value not in choices:
            near = nearest(value, choices) if isinstance(value, str) else ""
            listed = ", ".join(map(repr, choices))
            if len(choices) >= MANY:
                listed = f"the {len(choices)} that `bench methods {name}` lists"
            raise UserError(f"{where} is one of {listed}, not {value!r}{near}")
    elif hint not in (None, *WORDS) and get_origin(hint) is not Annotated:
        if not _fits(hint, value):
            words = " or ".join(spoken(hint)) or "an object that cannot be written here"
            raise UserError(f"{where} takes {words}, not {value!r}")
        return value
    value = _as(type(default), value, where)
    if isinstance(value, int | float) and value not in (right := range_of(hint)):
        what = WORDS[type(default)] if default is not None else "a number"
        raise UserError(f"{name}({setting}={value!r}): {setting} is {what} {right}")
    return value


def choices_of(hint: Any) -> tuple[Any, ...] | None:
    """The values that a setting may have, where they are listed as a Literal."""
    return get_args(hint) if get_origin(hint) is Literal else None


def range_of(hint: Any) -> Within:
    """The numbers that a setting may have, from its annotation."""
    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Within)), ANY)


WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text in quotes"}


MANY = 20
"""So many choices are no longer listed in one sentence."""


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value written in a call is one of a type hint of another library."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        # peft's Literals may hold a pattern such as "pissa_niter_[number of iters]"
        open_ended = isinstance(value, str) and any("[" in str(choice) for choice in inner)
        return open_ended or any(type(c) is type(value) and c == value for c in inner)
    if origin in (Union, UnionType):
        return any(_fits(choice, value) for choice in inner)
    if origin in (list, dict):
        parts = value if origin is list else [*value.items()] if isinstance(value, dict) else []
        each = inner[0] if origin is list else tuple[inner]  # type: ignore[valid-type]
        return isinstance(value, origin) and all(_fits(each, part) for part in parts)
    if origin is tuple:
        return all(_fits(each, part) for each, part in zip(inner, value, strict=False))
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return hint is Any or (hint in (bool, int, str, list, dict, type(None)) and type(value) is hint)


def spoken(hint: Any) -> list[str]:
    """What may be written for a type hint of another library: each choice in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return [repr(choice) for choice in inner]
    if origin in (Union, UnionType):
        return list(dict.fromkeys(word for choice in inner for word in spoken(choice)))
    plain = {list: "a list", dict: "a dict", type(None): "None", **WORDS}
    word = plain.get(origin or hint)
    return [] if word is None else [word]


def _as(wanted: type, value: Any, where: str) -> Any:
    """The value if it has the type of the setting's default; a whole number may be a fraction."""
    if wanted is type(None) or type(value) is wanted:
        return value
    if wanted is float and type(value) is int:
        return float(value)
    raise UserError(f"{where} takes {WORDS.get(wanted, wanted.__name__)}, not {value!r}")
