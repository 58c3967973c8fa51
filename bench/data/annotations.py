"""Read the annotation of a data set into samples, in any of the known forms.

The forms are in `bench/data/forms.py` and `bench/data/table.py`; the kind `auto` recognises which
one it is.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import UserError
from bench.data import forms, parquet, table, values
from bench.data.text import JSON_LINES, read_json, read_text
from bench.data.values import SPLITS, Odd
from methods.sample import Sample

SUFFIXES = (".json", *JSON_LINES, ".csv", ".tsv", ".parquet")
"""Annotations that `auto` finds by itself in a folder."""


@dataclass(frozen=True)
class Reading:
    """The samples of an annotation, the form it is in, and what the user should know about it."""

    samples: list[Sample]
    kind: str
    notes: tuple[str, ...] = ()


class Absent(Exception):
    """A file of the annotation is not there; holds its path."""


def read(kind: str, folder: Path, annotation: str | None = None) -> Reading:
    """Read the annotation in `folder`; `{split}` in its name stands for train, val and test.

    Raises Absent if it is not there, UserError, one sentence, if it cannot be used.
    """
    if kind not in forms.KINDS:
        raise UserError(f"the kind {kind!r} is unknown; known: {', '.join(forms.KINDS)}")
    if not folder.is_dir():
        raise Absent(folder / (annotation or "train_caps.txt"))
    auto, notes, samples = kind == "auto", list[str](), list[Sample]()
    caps = folder / "train_caps.txt"
    if kind == "precomp" or (auto and annotation is None and caps.exists()):
        if not caps.exists():
            raise Absent(caps)
        kind, pieces = "precomp", files_of_splits(folder, "{split}_caps.txt")
    else:
        pieces = _pieces(folder, annotation or _guess_file(folder))
    for split, path in pieces:
        told: list[str] = []
        kind, content = _content(kind, path, told)
        try:
            samples += _samples(kind, content, split, path, told)
            _check(samples)
        except Odd as odd:
            raise UserError(
                f"{path} is not in the {kind} form: {odd}; correct it, or state another kind on "
                f"the card ({', '.join(forms.KINDS)})"
            ) from None
        several = len(pieces) > 1 and kind != "precomp"
        notes += [f"{path.name}: {note}" if several else note for note in told]
    if auto:
        notes.insert(0, f"the annotation was recognised as {kind}")
    return Reading(samples, kind, (*dict.fromkeys(notes), *_lists_left(samples)))


def _content(kind: str, path: Path, notes: list[str]) -> tuple[str, Any]:
    """The form of a file, recognised if `kind` is auto, and its text, document or rows."""
    suffix = path.suffix.lower()
    if kind == "parquet" or (kind == "auto" and suffix == ".parquet"):
        return "parquet", parquet.rows(path)
    if kind in ("csv", "precomp") or (kind == "auto" and suffix not in (".json", *JSON_LINES)):
        return "csv" if kind == "auto" else kind, read_text(path, notes)
    document = read_json(path)
    if kind != "auto":
        return kind, document
    if isinstance(document, list):
        return "rows", document
    if not isinstance(document, dict) or "images" not in document:
        return "nwpu", document
    return "coco" if "annotations" in document else "karpathy", document


def _samples(
    kind: str, content: Any, split: str | None, path: Path, notes: list[str]
) -> list[Sample]:
    """The samples of a file; `split`: that of all of them, if the file is of one split."""
    guess = values.split_of_name(path.stem)
    if kind == "csv":
        return table.read_csv(content, split, guess, notes)
    if kind in ("rows", "parquet"):
        return table.read_rows(content, split, guess, notes)
    if kind == "coco":
        return forms.coco(content, split, guess)
    if kind == "precomp":
        names = path.with_name(path.name.replace("_caps.txt", "_filename.txt"))
        return forms.precomp(content, read_text(names, notes), str(split))
    return forms.karpathy(content) if kind == "karpathy" else forms.nwpu(content)


def _check(samples: list[Sample]) -> None:
    """Raise Odd for an image without a caption or an image named twice."""
    seen: set[str] = set()
    for sample in samples:
        if not sample.captions:
            raise Odd(f"the image {sample.filename[:80]!r} has no caption")
        if sample.filename in seen:
            raise Odd(f"the image {sample.filename[:80]!r} is named twice")
        seen.add(sample.filename)


def _lists_left(samples: list[Sample]) -> list[str]:
    """A note on captions that look like lists but were each read as one text."""
    odd = [c for s in samples for c in s.captions if c.startswith("[") and c.endswith("]")]
    if not odd:
        return []
    return [
        f"{len(odd):,} captions look like a list and were read as one text each; write such a list "
        f"as ['...', '...'], or a column or a row for each caption; the first is {odd[0][:80]!r}"
    ]


# Which files.


def split_pattern(name: str) -> str:
    """`captions_test.csv` -> `captions_{split}.csv`; a name without a split's word is kept.

    For Parquet in pieces it means all: `test-00000-of-00002.parquet` -> `{split}-*.parquet`.
    """
    words = "|".join(sorted((*SPLITS, *values.OTHER_NAMES), key=len, reverse=True))
    name = re.sub(r"-\d{5}-of-\d{5}[^.]*\.parquet$", "-*.parquet", name)
    return re.sub(rf"(?<![a-zA-Z])({words})(?![a-zA-Z])", "{split}", name)


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
                "keep one of them in this folder"
            )
        files += [(split, path) for pieces in choices for path in pieces]
    return files


def _matching(folder: Path, name: str) -> list[Path]:
    """The file of that name, or the files if the name has a `*`; empty if there is none."""
    if "*" in name:
        return sorted(folder.glob(name))
    path = folder / name
    return [path] if path.exists() or path.is_symlink() else []


def _pieces(folder: Path, annotation: str) -> list[tuple[str | None, Path]]:
    """The files of an annotation, each with its split, if it has one; raises Absent."""
    if "{split}" in annotation:
        pieces = files_of_splits(folder, annotation)
    else:
        pieces = [(None, path) for path in _matching(folder, annotation)]
    if not pieces:
        raise Absent(folder / annotation.replace("{split}", "train"))
    return pieces


def _guess_file(folder: Path) -> str:
    """The annotation of a folder whose card names none; `{split}` stands for train, val, test."""
    try:
        names = [p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror}); check its permissions"
        ) from None
    guesses = sorted({split_pattern(name) for name in names if not name.startswith(".")})
    if len(guesses) != 1:
        raise UserError(
            f"one annotation (.json, .jsonl, .csv, .tsv, .parquet) is expected in {folder}, found: "
            f"{', '.join(guesses) or 'none'}; state `annotation` on the card"
        )
    return guesses[0]
