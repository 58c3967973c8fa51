"""Check single values of an annotation: file names, splits, scene labels, captions.

They raise `AnnotationError` with what is wrong; `bench.data.annotations` adds the name of the file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

SPLITS = ("train", "val", "test")
OTHER_NAMES = {
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "training": "train",
    "testing": "test",
}
"""Other words for a split in annotations."""
LABELS = ("label_name", "label", "scene", "class_name", "class", "category")
"""Columns for the scene of an image; the first that holds one counts. JSON forms have two."""


class AnnotationError(Exception):
    """Something in an annotation that its form does not allow; the message says what."""


@dataclass(frozen=True)
class Node:
    """A value in a JSON document and its place, such as `images[3].sentences`, for errors."""

    value: Any
    place: str = ""

    def __getitem__(self, key: str) -> "Node":
        if not isinstance(self.value, dict):
            raise AnnotationError(
                f"{self.place or 'the file'} is {kind_of(self.value)}, not an object"
            )
        if key not in self.value:
            raise AnnotationError(f"{key!r} is missing in {self.place or 'the file'}")
        shown = " ".join(key.split())[:80]
        return Node(self.value[key], f"{self.place}.{shown}" if self.place else shown)

    def items(self) -> list["Node"]:
        """The entries of a list."""
        if not isinstance(self.value, list):
            raise AnnotationError(
                f"{self.place or 'the file'} is {kind_of(self.value)}, not a list"
            )
        return [Node(value, f"{self.place}[{i}]") for i, value in enumerate(self.value)]

    def text(self) -> str:
        """A text without the white space around it."""
        return text(self.value, self.place)


def text(value: object, place: str) -> str:
    """A text without the white space around it; raises AnnotationError for anything else."""
    if not isinstance(value, str):
        raise AnnotationError(f"{place} is {kind_of(value)}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise AnnotationError(f"{place} holds half a character (a lone surrogate)") from None
    return value.strip()


def kind_of(value: object) -> str:
    """What a JSON value is, for an error: an object, a list, null, a float."""
    return {dict: "an object", list: "a list", type(None): "null"}.get(
        type(value), f"a {type(value).__name__}"
    )


def filename(value: object, place: str) -> str:
    """A file name as annotated; raises AnnotationError if it leads out of its folder.

    A whole number is a name without an extension (7 -> "7"), because some tools turn a column of
    such names into numbers. Of an absolute path only the last part is kept: its folders are those
    of the machine where the annotation was written.
    """
    name = str(value) if type(value) is int else text(value, f"the file name in {place}")
    name = name.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:/", name):
        name = name.rsplit("/", 1)[-1]
    path = PurePosixPath(name)
    if ".." in path.parts or re.match("[A-Za-z]:", name):
        raise AnnotationError(f"the file name {name[:80]!r} leads out of the image folder")
    if not path.name or len(path.name) > 255 or any(ord(letter) < 32 for letter in name):
        raise AnnotationError(f"{name[:80]!r} in {place} is no file name")
    return str(path)


def split(value: object, place: str) -> str:
    """The split that a word stands for: train, val or test."""
    word = text(value, f"the split of {place}").lower()
    name = OTHER_NAMES.get(word, word)
    if name not in SPLITS:
        raise AnnotationError(f"{place} is in the split {word[:80]!r}; known: {', '.join(SPLITS)}")
    return name


def _split_among(words: list[str]) -> str | None:
    """The split that some of these words name; None if they name none or several."""
    known = {OTHER_NAMES.get(word.lower(), word.lower()) for word in words} & set(SPLITS)
    return known.pop() if len(known) == 1 else None


@dataclass(frozen=True)
class FileSplit:
    """What an annotation file says about the split of its images."""

    all: str | None
    """The split of all of them, if there is a file for each split."""
    guess: str | None
    """The split in its name, as in captions_test.csv, used where nothing else says it."""

    @classmethod
    def by_name(cls, stem: str, split: str | None) -> "FileSplit":
        return cls(split, _split_among(re.split(r"[^a-z]+", stem.lower())))

    def of(self, stated: object, name: str, place: str) -> str:
        """The split of an image, from the first source that has one.

        These are its entry (`stated`), the file if it is of one split, a folder in `name`, and the
        file's name. Raises AnnotationError if entry and file contradict each other.
        """
        if stated is not None and stated != "":
            known = str(stated).strip().lower() in (*SPLITS, *OTHER_NAMES)
            if self.all is None or known:
                own = split(stated, place)
                if self.all not in (None, own):
                    raise AnnotationError(
                        f"{place} is in {own}, and the file is the one of {self.all}"
                    )
                return own
        part = self.all or _split_among(list(PurePosixPath(name).parts[:-1])) or self.guess
        if part is None:
            raise AnnotationError(
                f"nothing says in which split {place} is; add a column `split` with train, val or "
                "test, or make a file for each, such as captions_train.csv and captions_test.csv"
            )
        return part


def label(entry: Mapping[str, Any], place: str, keys: Sequence[str] = LABELS) -> str | None:
    """The scene that an entry states under one of these keys; None without one."""
    for key in keys:
        value = entry.get(key)
        if type(value) is int:
            return str(value)
        if value is not None and (stated := text(value, f"{key} of {place}")):
            return stated
    return None
