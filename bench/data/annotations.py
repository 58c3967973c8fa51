"""Read annotation files into samples, in any of the known forms.

The forms are in `bench/data/forms.py` and `bench/data/table.py`; the kind `auto` recognises which
one it is.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import UserError
from bench.data import forms, parquet, table, values
from bench.data.values import SPLITS
from methods.sample import Sample

JSON_LINES = (".jsonl", ".ndjson")
SUFFIXES = (".json", *JSON_LINES, ".csv", ".tsv", ".parquet")
"""Annotations that `auto` finds by itself in a folder."""
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
    """Read a text file: UTF-8, UTF-16 with a byte order mark, or an older encoding.

    Older encodings are guessed only if there are `notes` to tell the user: gb18030 if bytes beyond
    ASCII come in pairs, as in Chinese, else Windows' cp1252, in which an accent is a single byte.
    Raises UserError.
    """
    content = _bytes(path)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # Excel's "Unicode text"
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig"]
        if notes is not None:
            encodings.append("gb18030" if _in_pairs(content) else "cp1252")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding in ("gb18030", "cp1252") and notes is not None:
            example = re.search(r"\w*[^\x00-\x7f]+\w*", text)
            shown = f": look whether {example[0][:40]!r} is right" if example else ""
            notes.append(
                f"{path.name} is not UTF-8 and was read as {encoding}{shown}; save it as UTF-8 to "
                "be sure"
            )
        return text
    raise UserError(f"{path} is not UTF-8 text; save it as UTF-8 or fetch the annotation again")


def _bytes(path: Path) -> bytes:
    try:
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path} is a link that leads nowhere; put the file itself there")
        if not path.is_file():
            raise UserError(f"{path} is not a file; put the annotation there")
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise UserError(
                f"{path} has {size / 2**20:.0f} MiB, more than any annotation "
                f"({LIMIT_BYTES // 2**20} MiB is the limit); put the annotation there (without the "
                "images, if it holds them as a column)"
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from None


def _in_pairs(content: bytes) -> bool:
    """Whether bytes beyond ASCII mostly stand in runs of an even length."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", content)]
    return sum(length % 2 == 0 for length in runs) > len(runs) / 2


def read_json(path: Path) -> Any:
    """A JSON file, or JSON Lines as a list; raises UserError when it is neither."""
    text = read_text(path)
    if path.suffix.lower() in JSON_LINES:
        return _json_lines(path, text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines):
            return _json_lines(path, text)
        raise UserError(f"{path} is not valid JSON ({error}); fetch the annotation again") from None


def _json_lines(path: Path, text: str) -> list[Any]:
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                entries.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path} is not valid JSON Lines: line {number} ({error}); fetch the annotation "
                "again"
            ) from None
    return entries


# One way in.


def split_pattern(name: str) -> str:
    """`captions_test.csv` -> `captions_{split}.csv`; a name without a split's word is kept.

    Of Parquet in pieces all are meant: `test-00000-of-00002.parquet` -> `{split}-*.parquet`.
    """
    words = "|".join(sorted((*SPLITS, *values.OTHER_NAMES), key=len, reverse=True))
    name = re.sub(r"-\d{5}-of-\d{5}[^.]*\.parquet$", "-*.parquet", name)
    return re.sub(rf"(?<![a-zA-Z])({words})(?![a-zA-Z])", "{split}", name)


def files_of_splits(folder: Path, pattern: str) -> list[tuple[str, Path]]:
    """The files that a pattern with `{split}` stands for: also valid.csv for val, dev for val.

    A `*` in it stands for the pieces of one file. Raises UserError where two files could be the one
    of a split.
    """
    found = []
    for split in SPLITS:
        words = [split, *(word for word, same in values.OTHER_NAMES.items() if same == split)]
        files = [matching(folder, pattern.replace("{split}", word)) for word in words]
        files = [pieces for pieces in files if pieces]
        if len(files) > 1:
            raise UserError(
                f"{files[0][0]} and {files[1][0]} could both be the annotation of {split}; keep "
                "one of them in this folder"
            )
        found += [(split, path) for pieces in files for path in pieces]
    return found


def matching(folder: Path, name: str) -> list[Path]:
    """The file of that name, or the files where the name has a `*`; empty where there is none."""
    if "*" in name:
        return sorted(folder.glob(name))
    return [folder / name] if (folder / name).exists() else []


def _form(document: object) -> str:
    """Which of the JSON forms a document looks like."""
    if isinstance(document, list):
        return "rows"
    if not isinstance(document, dict) or "images" not in document:
        return "nwpu"
    return "coco" if "annotations" in document else "karpathy"


def _guess_file(folder: Path) -> str:
    """The annotation of a folder whose card names none; `{split}` stands for train, val, test."""
    try:
        names = [p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
        names = [name for name in names if not name.startswith(".")]
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror}); check its permissions"
        ) from None
    guesses = sorted({split_pattern(name) for name in names})
    if len(guesses) != 1:
        found = ", ".join(guesses) or "none"
        raise UserError(
            f"one annotation (.json, .jsonl, .csv, .tsv, .parquet) is expected in {folder}, found: "
            f"{found}; state `annotation` on the card"
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
        if auto and files[0][1].suffix.lower() not in (".json", *JSON_LINES):
            kind = "parquet" if files[0][1].suffix.lower() == ".parquet" else "csv"
    samples: list[Sample] = []
    for split, path in files:
        told: list[str] = []
        kind, found = _read_file(kind, folder, split, path, told)
        samples += found
        notes += [f"{path.name}: {note}" if len(files) > 1 else note for note in told]
        try:
            forms.check(samples)
        except forms.Odd as odd:
            raise _refused(path, kind, odd) from None
    if auto:
        notes.insert(0, f"the annotation was recognised as {kind}")
    return Reading(samples, kind, (*dict.fromkeys(notes), *_lists_left(samples)))


def _read_file(
    kind: str, folder: Path, split: str | None, path: Path, notes: list[str]
) -> tuple[str, list[Sample]]:
    """The form of a file and its samples; `split`: that of all samples, where it is known."""
    guess = values.split_of_words(path.stem)
    try:
        if kind == "precomp":
            return kind, _precomp(folder, notes)
        if kind == "parquet":
            return kind, table.read_rows(parquet.rows(path), split, None, notes)
        if kind == "csv":
            return kind, table.read_csv(read_text(path, notes), split, guess, notes)
        document = read_json(path)
        kind = _form(document) if kind == "auto" else kind
        if kind == "rows":
            return kind, table.read_rows(document, split, guess, notes)
        if kind == "coco":
            return kind, forms.coco(document, split, guess)
        return kind, forms.JSON_FORMS[kind](document)
    except forms.Odd as odd:
        raise _refused(path, kind, odd) from None


def _refused(path: Path, kind: str, odd: forms.Odd) -> UserError:
    return UserError(
        f"{path} is not in the {kind} form: {odd}; correct it, or state another kind on the card "
        f"({', '.join(forms.KINDS)})"
    )


def _precomp(folder: Path, notes: list[str]) -> list[Sample]:
    samples = []
    for part, caps in files_of_splits(folder, "{split}_caps.txt"):
        names = caps.with_name(caps.name.replace("_caps.txt", "_filename.txt"))
        samples += forms.precomp(read_text(caps, notes), read_text(names, notes), part)
    return samples


def _lists_left(samples: list[Sample]) -> list[str]:
    """A note on captions that look like lists but were each read as one text."""
    odd = [c for s in samples for c in s.captions if table.looks_like_a_list(c)]
    if not odd:
        return []
    return [
        f"{len(odd):,} captions look like a list and were read as one text each; write such a list "
        f"as ['...', '...'], or a column or a row for each caption; the first is {odd[0][:80]!r}"
    ]


def _files(folder: Path, annotation: str) -> list[tuple[str | None, Path]]:
    if "*" in annotation and "{split}" not in annotation:
        found: list[tuple[str | None, Path]] = [(None, p) for p in matching(folder, annotation)]
    elif "{split}" not in annotation:
        path = folder / annotation
        found = [(None, path)] if path.exists() or path.is_symlink() else []
    else:
        found = [*files_of_splits(folder, annotation)]
    if not found:
        raise Absent(folder / annotation.replace("{split}", "train"))
    return found
