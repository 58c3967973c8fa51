"""Annotation files -> samples: what may be read, in which form it is, and what is refused.

The forms are in `bench/data/forms.py`; the kind `auto` recognises which one it is.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import UserError
from bench.data import forms
from bench.data.forms import SPLITS
from methods.base import Sample

LIMIT_BYTES = 256 * 2**20
"""No annotation in circulation has a fifth of it; a larger file is refused unread."""


@dataclass(frozen=True)
class Reading:
    """The samples of an annotation, the form it is in, and what the user should know of it."""

    samples: list[Sample]
    kind: str
    notes: tuple[str, ...] = ()


class Absent(Exception):
    """A file of the annotation is not there; holds its path."""


# Bytes and text.


def read_text(path: Path, notes: list[str] | None = None) -> str:
    """A text file as UTF-8 or, where `notes` can say so, gb18030; raises UserError."""
    try:
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path} is a link that leads nowhere; put the file itself there")
        if not path.is_file():
            raise UserError(f"{path} is not a file; put the annotation there")
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise UserError(
                f"{path} has {size / 2**20:.0f} MiB, more than any annotation "
                f"({LIMIT_BYTES // 2**20} MiB is the limit); put the annotation there"
            )
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from None
    for encoding in ("utf-8-sig", "gb18030") if notes is not None else ("utf-8-sig",):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "gb18030" and notes is not None:
            notes.append(f"{path.name} is not UTF-8 and was read as gb18030")
        return text
    raise UserError(f"{path} is not UTF-8 text; save it as UTF-8 or fetch the annotation again")


def read_json(path: Path) -> Any:
    """A JSON file; raises UserError when it is not one."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); fetch the annotation again") from None


# One way in.


def _form(document: object) -> str:
    """Which of the JSON forms a document looks like."""
    if isinstance(document, list):
        return "rows"
    return "karpathy" if isinstance(document, dict) and "images" in document else "nwpu"


def _guess_file(folder: Path) -> str:
    """The annotation of a folder whose card names none; `{split}` stands for train, val, test."""
    try:
        names = [p.name for p in folder.iterdir() if p.suffix in (".json", ".csv", ".tsv")]
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror}); check its permissions"
        ) from None
    pattern = r"(?<![a-zA-Z])(train|val|test)(?![a-zA-Z])"
    guesses = sorted({re.sub(pattern, "{split}", name) for name in names})
    if len(guesses) != 1:
        found = ", ".join(guesses) or "none"
        raise UserError(
            f"one annotation (.json, .csv, .tsv) is expected in {folder}, found: {found}; "
            "state `annotation` on the card"
        )
    return guesses[0]


def read(kind: str, folder: Path, annotation: str | None = None) -> Reading:
    """Read the annotation in `folder`; `{split}` in its name stands for train, val and test.

    Raises Absent when it is not there, UserError, one sentence, when it cannot be used.
    """
    if kind not in forms.KINDS:
        raise UserError(f"the kind {kind!r} is unknown; known: {', '.join(forms.KINDS)}")
    if not folder.is_dir():
        raise Absent(folder / (annotation or "train_caps.txt"))
    auto, notes = kind == "auto", list[str]()
    if kind == "precomp" or (auto and annotation is None and (folder / "train_caps.txt").exists()):
        kind, path = "precomp", folder / "train_caps.txt"
        if not path.exists():
            raise Absent(path)
        files: list[tuple[str | None, Path]] = [(None, path)]
    else:
        files = _files(folder, annotation or _guess_file(folder))
        if auto and files[0][1].suffix != ".json":
            kind = "csv"
    samples: list[Sample] = []
    for split, path in files:
        try:
            if kind == "precomp":
                for part in SPLITS:
                    caps, names = (folder / f"{part}_{what}.txt" for what in ("caps", "filename"))
                    if caps.exists():
                        samples += forms.precomp(
                            read_text(caps, notes), read_text(names, notes), part
                        )
            elif kind == "csv":
                samples += forms.read_csv(read_text(path, notes), split)
            else:
                document = read_json(path)
                kind = _form(document) if kind == "auto" else kind
                samples += forms.JSON_FORMS[kind](document, split)
            forms.check(samples)
        except forms.Odd as odd:
            raise UserError(
                f"{path} is not in the {kind} form: {odd}; use the published annotation or another "
                f"kind ({', '.join(forms.KINDS)}) on the card"
            ) from None
    if auto:
        notes.insert(0, f"the annotation was recognised as {kind}")
    return Reading(samples, kind, tuple(notes))


def _files(folder: Path, annotation: str) -> list[tuple[str | None, Path]]:
    if "{split}" not in annotation:
        path = folder / annotation
        if not path.exists() and not path.is_symlink():
            raise Absent(path)
        return [(None, path)]
    named = [(split, folder / annotation.replace("{split}", split)) for split in SPLITS]
    found: list[tuple[str | None, Path]] = [(s, p) for s, p in named if p.exists()]
    if not found:
        raise Absent(named[0][1])
    return found
