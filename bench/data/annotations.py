"""Read the annotation of a data set into samples, in any of the known forms.

The forms are in `bench/data/forms.py` and `bench/data/table.py`; with the kind `auto` the form is
recognised.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import UserError
from bench.data import forms, parquet, table, values
from bench.data.text import JSON_LINES, read_json, read_text
from bench.data.values import SPLITS, AnnotationError, FileSplit
from bench.spec import nearest
from methods.sample import Sample

PRECOMP = "{split}_caps.txt"
SUFFIXES = (".json", *JSON_LINES, ".csv", ".tsv", ".parquet")
"""Annotations that `auto` finds by itself in a folder."""
LOOKS = {
    "karpathy": "JSON with a list `images`, each with its `sentences`",
    "coco": "JSON with the lists `images` and `annotations`",
    "rows": "a JSON list of captions or images",
    "nwpu": "JSON with a list of images for each class",
    "csv": "a table with a header",
    "precomp": "a line for each caption",
    "parquet": "a table in Parquet",
}
"""The forms, and what a file of each looks like."""


@dataclass(frozen=True)
class Reading:
    """The samples of an annotation, the form it is in, and what the user should know about it."""

    samples: list[Sample]
    kind: str
    notes: Sequence[str] = ()


class Absent(Exception):
    """A file of the annotation is not there; holds its path."""


def read(kind: str, folder: Path, annotation: str | None = None) -> Reading:
    """Read the annotation in `folder`; `{split}` in its name stands for train, val and test.

    Raises Absent if it is not there, UserError, one sentence, if it cannot be used.
    """
    known = ("auto", *LOOKS)
    if kind not in known:
        near = nearest(kind, known)
        raise UserError(f"the kind {kind!r} is unknown{near}; known: {', '.join(known)}")
    auto, notes, samples = kind == "auto", list[str](), list[Sample]()
    if kind == "precomp" or (auto and not annotation and files_of_splits(folder, PRECOMP)):
        kind, annotation = "precomp", PRECOMP
    annotation = annotation or _guess_file(folder)
    pieces = files_of(folder, annotation)
    if not pieces:
        raise Absent(folder / annotation.replace("{split}", "train"))
    for split, path in pieces:
        file_notes: list[str] = []
        kind, content = _opened(kind, path)
        try:
            samples += _samples(kind, content, path, split, file_notes)
            _check(samples)
        except AnnotationError as error:
            raise UserError(
                f"{path} was read as {kind} ({LOOKS[kind]}), but {error}; correct it, or state "
                f"another `kind` on the card: {', '.join(LOOKS)}"
            ) from None
        name = f"{path.name}: " if len(pieces) > 1 and kind != "precomp" else ""
        notes += [f"{name}{note}" for note in file_notes]
    if auto:
        notes.insert(0, f"the annotation was recognised as {kind}")
    lists = [c for s in samples for c in s.captions if c.startswith("[") and c.endswith("]")]
    if lists:
        notes.append(
            f"{len(lists):,} captions look like a list and were read as one text each; write such "
            "a list as ['...', '...'], or a column or a row for each caption; the first is "
            f"{lists[0][:80]!r}"
        )
    return Reading(samples, kind, list(dict.fromkeys(notes)))


def _opened(kind: str, path: Path) -> tuple[str, Any]:
    """The form of a file, recognised if `kind` is auto, and what the file holds."""
    suffix = path.suffix.lower()
    if kind == "auto" and suffix not in (".json", *JSON_LINES):
        kind = "parquet" if suffix == ".parquet" else "csv"
    if kind == "parquet":
        return kind, parquet.rows(path)
    if kind in ("csv", "precomp"):
        return kind, read_text(path)
    document = read_json(path)
    if kind == "auto":
        if isinstance(document, list):
            kind = "rows"
        elif not isinstance(document, dict) or "images" not in document:
            kind = "nwpu"
        else:
            kind = "coco" if "annotations" in document else "karpathy"
    return kind, document


def _samples(
    kind: str, content: Any, path: Path, split: str | None, notes: list[str]
) -> list[Sample]:
    """The samples in a file's content; `split`: that of all, if the file is of one split."""
    guess = values.split_among(re.split(r"[^a-z]+", path.stem.lower()))
    if kind == "precomp":
        names = path.with_name(path.name.replace("_caps.txt", "_filename.txt"))
        return forms.precomp(content, read_text(names), str(split))
    if kind == "csv":
        return table.read_csv(content, FileSplit(split, guess), notes)
    if kind in ("rows", "parquet"):
        return table.read_rows(content, FileSplit(split, guess), notes)
    if kind == "coco":
        return forms.coco(content, FileSplit(split, guess))
    # Each entry of these forms states its split, whatever the file is called.
    form = forms.karpathy if kind == "karpathy" else forms.nwpu
    return form(content, FileSplit(None, split or guess))


def _check(samples: list[Sample]) -> None:
    """Raise AnnotationError for an image without a caption or an image named twice."""
    seen: set[str] = set()
    for sample in samples:
        if not sample.captions:
            raise AnnotationError(f"the image {sample.filename[:80]!r} has no caption")
        if sample.filename in seen:
            raise AnnotationError(f"the image {sample.filename[:80]!r} is named twice")
        seen.add(sample.filename)


# Which files.


def split_pattern(name: str) -> str:
    """`captions_test.csv` -> `captions_{split}.csv`; a name with no split or two is kept.

    For Parquet in pieces it means all: `test-00000-of-00002.parquet` -> `{split}-*.parquet`.
    """
    # Longer words first, so that `validation` is not taken for `valid` or `val`.
    words = "|".join(sorted((*SPLITS, *values.OTHER_NAMES), key=len, reverse=True))
    name = re.sub(r"-\d{5}-of-\d{5}[^.]*\.parquet$", "-*.parquet", name)
    pattern, found = re.subn(rf"(?<![a-zA-Z])({words})(?![a-zA-Z])", "{split}", name)
    return pattern if found == 1 else name


def files_of(folder: Path, annotation: str) -> list[tuple[str | None, Path]]:
    """The files of an annotation, each with its split if there is a file for each split."""
    if "{split}" in annotation:
        return files_of_splits(folder, annotation)
    return [(None, path) for path in _matching(folder, annotation)]


def files_of_splits(folder: Path, pattern: str) -> list[tuple[str | None, Path]]:
    """The files that a pattern with `{split}` stands for: also valid.csv for val, dev for val.

    A `*` in it stands for the pieces of one file. Raises UserError if two files could be a split's.
    """
    files: list[tuple[str | None, Path]] = []
    for split in SPLITS:
        words = [split, *(word for word, same in values.OTHER_NAMES.items() if same == split)]
        choices = [_matching(folder, pattern.replace("{split}", word)) for word in words]
        choices = [pieces for pieces in choices if pieces]
        if len(choices) > 1:
            raise UserError(
                f"{choices[0][0]} and {choices[1][0]} could both be the annotation of {split}; "
                "keep one of them"
            )
        files += [(split, path) for pieces in choices for path in pieces]
    return files


def _matching(folder: Path, name: str) -> list[Path]:
    """The file of that name, or the files if the name has a `*`; empty if there is none."""
    path = folder / name
    if "**" in name:
        raise UserError(
            f"the annotation {name!r} has two stars in a row; one star stands for the pieces of a "
            "file, as in test-*.parquet"
        )
    if "*" in name:
        return sorted(folder.glob(name))
    # A link to nowhere counts as there: reading it says what is wrong.
    return [path] if os.path.lexists(path) else []


def _guess_file(folder: Path) -> str:
    """The annotation of a folder whose card names none; `{split}` stands for train, val, test."""
    if not folder.is_dir():
        raise Absent(folder)
    try:
        names = [p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}); permit it") from None
    guesses = sorted({split_pattern(name) for name in names if not name.startswith(".")})
    if len(guesses) != 1:
        raise UserError(
            f"{folder} should hold one annotation ({', '.join(SUFFIXES)}), found: "
            f"{', '.join(guesses) or 'none'}; state `annotation` on the card"
        )
    return guesses[0]
