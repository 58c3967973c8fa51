"""Check single values of an annotation: file names, splits, scene labels, captions.

They raise `Odd` with what is wrong; `bench.data.annotations` adds the name of the file.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from methods.sample import Sample

SPLITS = ("train", "val", "test")
OTHER_NAMES = {
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "training": "train",
    "testing": "test",
}
"""Other words for a split, as they are found in annotations."""


class Odd(Exception):
    """Something in an annotation that its form does not allow; the message says what."""


def text(value: object, what: str) -> str:
    """A text without the white space around it; raises Odd for anything else."""
    if not isinstance(value, str):
        raise Odd(f"{what} is {kind_of(value)}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Odd(f"{what} holds half a character (a lone surrogate)") from None
    return value.strip()


def kind_of(value: object) -> str:
    """What a JSON value is, for an error: an object, a list, null, a float."""
    return {dict: "an object", list: "a list", type(None): "null"}.get(
        type(value), f"a {type(value).__name__}"
    )


def filename(value: object, where: str, shorten: bool = False) -> str:
    """A file name as annotated; raises Odd where it leads out of its folder.

    A whole number is a name without an extension (7 -> "7"): some tools turn a column of such names
    into numbers. shorten: keep only the last part of an absolute path, whose folders are those of
    the machine where the annotation was written.
    """
    if type(value) is int:
        value = str(value)
    name = text(value, f"the file name of {where}").replace("\\", "/")
    if shorten and (name.startswith("/") or re.match("[A-Za-z]:/", name)):
        name = name.rsplit("/", 1)[-1]
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise Odd(f"the file name {name[:80]!r} leads out of the image folder")
    if not path.name or len(path.name) > 255 or any(ord(letter) < 32 for letter in name):
        raise Odd(f"{name[:80]!r} of {where} is no file name")
    return str(path)


def split(value: object, where: str) -> str:
    """The split that a word stands for: train, val or test."""
    word = text(value, f"the split of {where}").lower()
    name = OTHER_NAMES.get(word, word)
    if name not in SPLITS:
        raise Odd(f"{where} is in the split {word[:80]!r}; known: {', '.join(SPLITS)}")
    return name


def split_of_path(name: str) -> str | None:
    """The split that the folders of a file name state, as in images/train/a.tif; else None."""
    words = {OTHER_NAMES.get(p.lower(), p.lower()) for p in PurePosixPath(name).parts[:-1]}
    known = [word for word in SPLITS if word in words]
    return known[0] if len(known) == 1 else None


def split_of_words(name: str) -> str | None:
    """The split that a word in a file's own name states, as in captions_test.csv; else None."""
    words = {OTHER_NAMES.get(w, w) for w in re.split(r"[^a-z]+", name.lower())}
    known = [word for word in SPLITS if word in words]
    return known[0] if len(known) == 1 else None


def no_split(where: str) -> str:
    """The message for an image whose split is not stated anywhere."""
    return (
        f"nothing says in which split {where} is; add a column `split` with train, val or test, or "
        "make a file for each, such as captions_train.csv and captions_test.csv"
    )


def label(entry: Mapping[str, Any], where: str, keys: tuple[str, ...]) -> str | None:
    """The scene that an entry states: the first of `keys` that holds one."""
    for key in keys:
        value = entry.get(key)
        if type(value) is int:
            return str(value)
        if value is not None and (said := text(value, f"{key} of {where}")):
            return said
    return None


def get(entry: object, key: str, where: str) -> Any:
    """The value of a key that must be there."""
    if not isinstance(entry, dict):
        raise Odd(f"{where} is {kind_of(entry)}, not an object")
    if key not in entry:
        raise Odd(f"{key!r} is missing in {where}")
    return entry[key]


def items(value: object, what: str) -> list[Any]:
    """A list; raises Odd for anything else."""
    if not isinstance(value, list):
        raise Odd(f"{what} is {kind_of(value)}, not a list")
    return value


def append(found: dict[str, Sample], new: Sample) -> None:
    """Add the captions of a row to its image, which may have captions from other rows."""
    old = found.setdefault(new.filename, replace(new, captions=()))
    if old.split != new.split:
        raise Odd(f"{new.filename!r} is in {old.split} and in {new.split}")
    found[new.filename] = replace(old, captions=old.captions + new.captions)
