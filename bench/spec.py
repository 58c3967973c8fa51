"""Method call strings: `cmer(queue=0),lora(rank=16)` -> names and settings, and back."""

import ast
import difflib
import inspect
import math
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from bench import UserError

if TYPE_CHECKING:
    from methods.base import Method
    from methods.settings import Within


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
    """A backbone spec without the place of its weights, which is another on each machine.

    `ViT-B-32:/a/mine.pt` and `ViT-B-32:hf:OWNER/REPO/mine.pt@REVISION` are both `ViT-B-32:mine.pt`.
    """
    if spec.startswith("hf-hub:"):
        return spec
    name, colon, weights = spec.partition(":")
    if weights.startswith("hf:"):
        weights = weights.partition("@")[0]
    return f"{name}{colon}{Path(weights).name}"  # a tag has no folder


def shareable(spec: str) -> str:
    """A backbone spec for somebody else: of a file here the name alone, of the Hub the address."""
    return spec if spec.partition(":")[2].startswith("hf:") else portable(spec)


def load_plugins(paths: Iterable[Path] | None) -> None:
    """Import files of somebody's own that register methods; raises UserError."""
    from methods import load_plugin, registry

    for path in paths or []:
        registry()  # first, so that a name taken twice is the plug-in's fault
        try:
            load_plugin(path)
        except Exception as error:  # it is somebody's code
            place = traceback.extract_tb(error.__traceback__)[-1]
            line = f" (line {place.lineno})" if Path(place.filename) == path.resolve() else ""
            why = f"{type(error).__name__}: {error}{line}"
            raise UserError(f"the plug-in {path} cannot be loaded: {why}") from None


def parse_calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """`cmer,lora(rank=16)` -> names with the settings given; raises UserError."""
    try:
        tree = ast.parse(f"[{text}]", mode="eval").body
    except SyntaxError:
        raise UserError(
            f"cannot read the methods {text!r}; write for instance cmer,lora(rank=16)"
        ) from None
    assert isinstance(tree, ast.List)
    if not tree.elts:
        raise UserError("no method is named; write for instance --methods cmer,lora(rank=16)")
    return [_one(node, text) for node in tree.elts]


def _one(node: ast.expr, text: str) -> tuple[str, dict[str, Any]]:
    if isinstance(node, ast.Name):
        return node.id, {}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        settings = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                break
            try:
                settings[keyword.arg] = ast.literal_eval(keyword.value)
            except ValueError:
                value = ast.unparse(keyword.value)
                raise UserError(
                    f"the value of {keyword.arg!r} in {ast.unparse(node)!r} is no number, true "
                    f"value or text; put text in quotes: {keyword.arg}='{value}'"
                ) from None
        else:
            return node.func.id, settings
    raise UserError(
        f"cannot read {ast.unparse(node)!r} in {text!r}; write NAME or NAME(setting=value, ...)"
    )


def defaults(cls: "type[Method]") -> dict[str, Any]:
    """The settings of a method with their defaults: its constructor's keyword-only arguments."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    found = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    for name, default in found.items():
        if default is inspect.Parameter.empty:
            raise UserError(f"the setting {name!r} of {cls.__name__} has no default; give it one")
    return found


def resolve(name: str, given: dict[str, Any], known: "dict[str, type[Method]]") -> Call:
    """Check a call against the registry and make its settings complete; raises UserError."""
    if name not in known:
        raise UserError(
            f"no method is called {name!r}{nearest(name, known)}; `bench methods` lists them"
        )
    default = defaults(known[name])
    hints = get_type_hints(known[name].__init__, include_extras=True)
    given = dict(given)
    lr = given.pop("lr", None) if "lr" not in default else None
    if lr is not None and not (type(lr) in (int, float) and 0 < lr < math.inf):
        raise UserError(f"the learning rate of {name} must be a number above 0, not {lr!r}")
    if lr is not None and known[name].lr is None:
        raise UserError(f"{name} trains nothing, so it has no learning rate; leave out lr={lr!r}")
    for setting, value in given.items():
        if setting not in default:
            options = [*default, "lr"]
            raise UserError(
                f"{name} has no setting {setting!r}{nearest(setting, options)}; "
                f"it has {', '.join(options)}"
            )
        where = f"{name}({setting}=...)"
        given[setting] = _as(type(default[setting]), value, where)
        if (choices := choices_of(hints.get(setting))) is not None and value not in choices:
            listed = ", ".join(map(repr, choices))
            raise UserError(f"{where} is one of {listed}, not {value!r}")
        if isinstance(value, int | float) and value not in (right := range_of(hints.get(setting))):
            what = WORDS[type(default[setting])] if default[setting] is not None else "a number"
            raise UserError(f"{name}({setting}={value!r}): {setting} is {what} {right}")
    settings = {**default, **given}
    odd = [f"{k}={settings[k]!r}" for k in default if settings[k] != default[k]]
    if lr is not None:
        odd.append(f"lr={float(lr):g}")
    text = f"{name}({', '.join(odd)})" if odd else name
    return Call(name, tuple(settings.items()), None if lr is None else float(lr), text)


def choices_of(hint: Any) -> tuple[Any, ...] | None:
    """The values that a setting may have, where they are listed as a Literal."""
    return get_args(hint) if get_origin(hint) is Literal else None


def range_of(hint: Any) -> "Within":
    """The numbers that a setting may have, from its annotation."""
    from methods.settings import ANY, Within

    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Within)), ANY)


WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text in quotes"}


def _as(kind: type, value: Any, where: str) -> Any:
    """The value in the kind of its default; whole numbers pass as fractions."""
    if kind is type(None) or type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise UserError(f"{where} takes {WORDS.get(kind, kind.__name__)}, not {value!r}")
