"""The calls of old records, written as they would be today.

A call states what differs from a method's defaults, so that it means something else once a default
has changed. A record keeps the call it was made with, which is part of its identity, and all its
settings; what is shown of it is the call that asks for those settings now.
"""

import ast
from functools import cache
from importlib.resources import files
from typing import Any


def call_today(method: str, call: str, settings: dict[str, Any]) -> str:
    """The call that means `settings` today; of a method from a plug-in the recorded `call`."""
    usual = _defaults().get(method)
    if not usual or not settings:
        return call
    tree = ast.parse(call, mode="eval").body
    said = {k.arg: ast.unparse(k.value) for k in getattr(tree, "keywords", [])}
    # A setting that is gone, or came after the record, says nothing of the defaults.
    names = [name for name in usual if name in settings]
    odd = [f"{name}={settings[name]!r}" for name in names if settings[name] != usual[name]]
    odd += [f"{name}={value}" for name, value in said.items() if name not in usual]  # lr
    return f"{method}({', '.join(odd)})" if odd else method


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    """The settings of each method of this project with their defaults, in the constructor's order.

    They are read from the source, for importing the methods would import torch, which takes seconds
    that a report does not otherwise need.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in files("methods").iterdir():
        if file.name.endswith(".py"):
            body = ast.parse(file.read_text(encoding="utf-8")).body
            for node in (part for part in body if isinstance(part, ast.ClassDef)):
                if (name := _registered(node)) is not None:
                    found[name] = _settings(node)
    return found


def _registered(node: ast.ClassDef) -> str | None:
    """The name under which a class is registered as a method."""
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and getattr(mark.func, "id", None) == "register":
            return str(ast.literal_eval(mark.args[0]))
    return None


def _settings(node: ast.ClassDef) -> dict[str, Any]:
    """The keyword-only arguments of a class's own constructor with their defaults."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            arguments = zip(part.args.kwonlyargs, part.args.kw_defaults, strict=True)
            return {a.arg: ast.literal_eval(d) for a, d in arguments if d is not None}
    return {}
