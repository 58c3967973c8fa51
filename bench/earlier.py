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
        body = ast.parse(file.read_text(encoding="utf-8")).body if file.name[-3:] == ".py" else []
        for method in (node for node in body if isinstance(node, ast.ClassDef)):
            for decorator in method.decorator_list:
                match decorator:  # @register("name")
                    case ast.Call(ast.Name("register"), [ast.Constant(str(name))]):
                        defaults[name] = _settings(method)
    return defaults


def _settings(method: ast.ClassDef) -> dict[str, Any]:
    """The keyword-only arguments of a class's own constructor, with their defaults."""
    for part in method.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            arguments = zip(part.args.kwonlyargs, part.args.kw_defaults, strict=True)
            return {a.arg: ast.literal_eval(d) for a, d in arguments if d is not None}
    return {}
