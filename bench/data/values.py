"""Check single values of an annotation: file names, splits, scene labels, captions.

They raise `AnnotationError` with what is wrong. `at` adds the entry, and `bench.data.annotations`
the name of the file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from methods.sample import Sample

SPLITS = ("train", "val", "test")
OTHER_NAMES = dict.fromkeys(("valid", "validation", "dev"), "val")
OTHER_NAMES |= {"training": "train", "testing": "test"}
"""Other words for a split in annotations."""
LABELS = ("label_name", "label", "scene", "class_name", "class", "category")
"""Columns for the scene of an image; the first that holds one counts."""
NOTHING = ("", "nan", "none", "null", "<na>")
"""What exports write for a missing caption or scene."""


class AnnotationError(Exception):
    """Something in an annotation that its form does not allow; the message says what."""


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put a place, such as `images[3]` or `line 7`, before the message of an AnnotationError."""
    try:
        yield
    except AnnotationError as error:
        raise AnnotationError(f"{place}: {error}") from None


def kind_of(value: object) -> str:
    """What a JSON value is, for an error: an object, a list, a text, null, ..."""
    known = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    known |= {type(None): "null", int: "a number", float: "a number"}
    return known.get(type(value), f"a {type(value).__name__}")


def get(entry: object, key: str) -> Any:
    """The value of a key in a JSON object; raises AnnotationError if there is none."""
    if not isinstance(entry, dict):
        raise AnnotationError(f"there is {kind_of(entry)}, not an object")
    if key not in entry:
        raise AnnotationError(f"{key!r} is missing")
    return entry[key]


def entries(entry: object, key: str) -> list[Any]:
    """The list under a key; raises AnnotationError if there is none."""
    value = get(entry, key)
    if not isinstance(value, list):
        raise AnnotationError(f"{key!r} is {kind_of(value)}, not a list")
    return value


def text(value: object, what: str) -> str:
    """A text without the white space around it; raises AnnotationError for anything else."""
    if not isinstance(value, str):
        raise AnnotationError(f"{what} is {kind_of(value)}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise AnnotationError(f"{what} holds half a character (a lone surrogate)") from None
    return value.strip()


def filename(value: object) -> str:
    """A file name as annotated; raises AnnotationError if it leads out of its folder.

    A whole number is a name without an extension (7 -> "7"), because some tools turn a column of
    such names into numbers. Of an absolute path only the last part is kept: its folders are those
    of the machine where the annotation was written.
    """
    name = str(value) if type(value) is int else text(value, "the file name")
    name = name.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:/", name):
        name = name.rsplit("/", 1)[-1]
    path = PurePosixPath(name)
    if ".." in path.parts or re.match("[A-Za-z]:", name):
        raise AnnotationError(f"the file name {name[:80]!r} leads out of the image folder")
    if not path.name or len(path.name) > 255 or any(ord(letter) < 32 for letter in name):
        raise AnnotationError(f"{name[:80]!r} is no file name")
    return str(path)


def split_among(words: Sequence[str]) -> str | None:
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

    def of(self, stated: object, name: str) -> str:
        """The split of an image, from the first source that has one.

        These are its entry (`stated`), the file if it is of one split, a folder in `name`, and the
        file's name. Raises AnnotationError if entry and file contradict each other.
        """
        # In a file of one split, a column `split` that holds other words is not about the split.
        known = str(stated).strip().lower() in (*SPLITS, *OTHER_NAMES)
        if stated is not None and stated != "" and (known or self.all is None):
            word = text(stated, "the split").lower()
            own = OTHER_NAMES.get(word, word)
            if own not in SPLITS:
                raise AnnotationError(f"the split is {word[:80]!r}; known: {', '.join(SPLITS)}")
            if self.all not in (None, own):
                raise AnnotationError(f"it is in {own}, and the file is the one of {self.all}")
            return own
        part = self.all or split_among(PurePosixPath(name).parts[:-1]) or self.guess
        if part is None:
            raise AnnotationError(
                "nothing says in which split it is; add a column `split` with train, val or test, "
                "or make a file for each, such as captions_train.csv and captions_test.csv"
            )
        return part


def sample(
    entry: Mapping[str, Any],
    captions: Sequence[str],
    file_split: FileSplit,
    name_key: str,
    labels: Sequence[str] = LABELS,
) -> Sample:
    """The sample of an entry: its captions, and its file name, split and scene, checked here."""
    name, scene = filename(get(entry, name_key)), None
    found = [entry.get(key) for key in labels]
    stated = [value for value in found if str(value).strip().lower() not in NOTHING]
    if stated:
        label = stated[0]
        if type(label) is float and label.is_integer():  # what pandas makes of 7 beside empty cells
            label = int(label)
        scene = str(label) if type(label) is int else text(label, "the label")
    return Sample(name, tuple(captions), file_split.of(entry.get("split"), name), scene)
