"""Rewrite the call of an old record so that it means the same today.

A call states only what differs from a method's defaults, so its meaning changes when a default
does. A record keeps the call it was made with (part of its identity) and all settings. For
display, the call is written anew from the settings.
"""

import ast
from functools import cache
from importlib.resources import files
from typing import Any


def call_today(method: str, call: str, settings: dict[str, Any]) -> str:
    """The call that means `settings` today; for a method from a plug-in, the recorded `call`."""
    defaults = _defaults().get(method)
    if not defaults or not settings:
        return call
    tree = ast.parse(call, mode="eval").body
    recorded = {k.arg: ast.unparse(k.value) for k in getattr(tree, "keywords", [])}
    # Settings that no longer exist, or that came after the record, are left out.
    names = [name for name in defaults if name in settings]
    stated = [f"{name}={settings[name]!r}" for name in names if settings[name] != defaults[name]]
    stated += [f"{name}={value}" for name, value in recorded.items() if name not in defaults]  # lr
    return f"{method}({', '.join(stated)})" if stated else method


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    """Each method's settings and their defaults, in the constructor's order.

    They are read from the source code: importing the methods would import torch, which takes
    seconds, and a report does not need it otherwise.
    """
    defaults: dict[str, dict[str, Any]] = {}
    for file in files("methods").iterdir():
        if file.name.endswith(".py"):
            body = ast.parse(file.read_text(encoding="utf-8")).body
            for node in (part for part in body if isinstance(part, ast.ClassDef)):
                if (name := _registered(node)) is not None:
                    defaults[name] = _settings(node)
    return defaults


def _registered(node: ast.ClassDef) -> str | None:
    """The name under which a class is registered as a method."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", None) == "register":
            return str(ast.literal_eval(decorator.args[0]))
    return None


def _settings(node: ast.ClassDef) -> dict[str, Any]:
    """The keyword-only arguments of a class's own constructor, with their defaults."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            arguments = zip(part.args.kwonlyargs, part.args.kw_defaults, strict=True)
            return {a.arg: ast.literal_eval(d) for a, d in arguments if d is not None}
    return {}
