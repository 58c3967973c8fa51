"""What is wrong with a document (a card, a sweep file, a record), in plain words."""

import re
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import AfterValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bench.spec import nearest

Place = tuple[int | str, ...]
"""The keys and numbers that lead to a value: `("counts", "val")`."""


def matching(pattern: str, words: str) -> AfterValidator:
    """A condition on a text: the whole of it matches a pattern.

    words: the condition as an error tells it, such as `should be 64 hex digits`.
    """

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(words)
        return text

    return AfterValidator(check)


def faults(form: Any, document: Any, *place: str) -> list[str]:
    """Everything that is wrong with a document, each with its place.

    `'counts.val' is -1 and should be greater than or equal to 0`. form: the type that it should
    have, made of TypedDicts or pydantic's models. place: where it lies in a larger document.
    """
    try:
        _adapter(form).validate_python(document, strict=True)
    except ValidationError as invalid:
        errors: dict[Place, list[ErrorDetails]] = {}
        for error in invalid.errors(include_url=False):
            errors.setdefault(_place(error, document), []).append(error)
        # A value that fits no type of `list[str] | str` has an error for each; the deepest counts.
        return [
            _in_words(form, place, path, same)
            for path, same in errors.items()
            if not any(path == other[: len(path)] for other in errors if other != path)
        ]
    return []


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def _place(error: ErrorDetails, document: Any) -> Place:
    """Where an error is, without the names of types that pydantic adds for a union."""
    path: list[int | str] = []
    for key in error["loc"]:
        is_index = isinstance(document, list) and isinstance(key, int)
        if is_index or (isinstance(document, dict) and key in document):
            document = document[key]
            path.append(key)
    return (*path, error["loc"][-1]) if error["type"] == "missing" else tuple(path)


def _in_words(form: Any, above: Place, path: Place, errors: list[ErrorDetails]) -> str:
    """The errors of one value as a clause."""
    error, name = errors[0], repr(".".join(map(str, (*above, *path)))) if above or path else "it"
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] == "extra_forbidden":
        return f"there is no key {name}{nearest(str(path[-1]), _keys(form, path[:-1]))}"
    reasons = [re.sub(".*?(?=should )|Value error, ", "", e["msg"], count=1) for e in errors]
    if own := [reason for reason in reasons if not reason.startswith("should")]:
        return f"{name}: {own[0]}"
    value = textwrap.shorten(repr(error["input"]), 60, placeholder=" ...")
    clause = f"{name} is {value} and {' or '.join(dict.fromkeys(reasons))}"
    clause = re.sub(r"a valid dictionary( or instance of \w+)?", "a table", clause)
    return re.sub(r" after validation, not \d+", "", clause)


def _keys(form: Any, path: Sequence[int | str]) -> list[str]:
    """The keys that the table at this place of a form may have."""
    while args := get_args(form):  # list[Part], TestKeys | None
        form = args[0]
    fields = getattr(form, "model_fields", {})
    types = {name: field.annotation for name, field in fields.items()} or get_type_hints(form)
    names = [key for key in path if isinstance(key, str)]
    return _keys(types[names[0]], names[1:]) if names else list(types)
