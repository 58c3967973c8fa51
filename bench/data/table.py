"""Annotations that are tables: CSV, JSON Lines and JSON lists, a row for each caption or image.

A row for each image holds its captions in numbered columns (`raw`, `raw_1`, ...) or as a list in
one cell: Python's, JSON's, or numpy's, which has no commas. A note names every column that is not
read, so that no caption is lost silently.
"""

import ast
import csv
import io
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bench.console import counted
from bench.data import values
from bench.data.values import LABELS, NOTHING, AnnotationError, FileSplit, at, kind_of, text
from methods.sample import Sample

NAME_COLUMNS = (
    *("filename", "filepath", "image", "image_path", "file_name", "file", "image_name"),
    *("img", "img_path", "img_name", "path"),
)
CAPTION_COLUMNS = (
    *("caption", "captions", "sentence", "sentences", "raw", "sent", "text", "title"),
    *("description", "comment"),
)
"""The first of these that a table has holds the captions, with its numbered ones: sent1, sent2."""

CELL_LIMIT = 2**26
"""Largest CSV cell in bytes; some exports hold whole images as text."""

_LIST = re.compile(r"(?:array\()?\[(.*)\](?:,\s*dtype=[\w'<>|]+)?\)?", re.DOTALL)
_ITEM = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<nothing>None|nan))\s*,?\s*""",
    re.DOTALL,
)


def read_csv(content: str, file_split: FileSplit, notes: list[str]) -> list[Sample]:
    """A CSV with a header, separated by comma, tab, semicolon or bar; adds to `notes`."""
    stream = io.StringIO(content, newline="")
    first = re.split(r"[\r\n]", content, maxsplit=1)[0]
    if stated := re.fullmatch(r'sep=([^"])', first.strip()):  # Excel's own first line
        stream.readline()
        delimiter = stated[1]
    else:
        delimiter = max(",\t;|", key=first.count)
    csv.field_size_limit(CELL_LIMIT)
    lines = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=True)

    def rows() -> Iterator[tuple[str, dict[str, Any]]]:
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            # Empty cells may follow the last column, and cells that are not needed may be left out.
            place = f"line {lines.line_num}"
            if len(cells) < needed:
                raise AnnotationError(
                    f"{place} has {counted(len(cells), 'cell')}, and {needed} are expected: as far "
                    f"as the column {header[needed - 1]!r} of the first line"
                )
            if any(cell.strip() for cell in cells[len(header) :]):
                raise AnnotationError(
                    f"{place} has {len(cells)} cells, the first line {len(header)}; put a text "
                    f"that holds the separator {delimiter!r} in quotation marks"
                )
            yield place, dict(zip(header, cells, strict=False))

    try:
        header: list[str] = []
        for name in map(_column, next(lines, [])):  # a second `caption` becomes `caption 2`
            again = sum(re.sub(r" \d+$", "", other) == name for other in header)
            header.append(f"{name} {again + 1}" if name and name in header else name)
        table = Table(header)
        needed = 1 + max(header.index(table.name), header.index(table.captions[0]))
        return table.read(rows(), file_split, notes)
    except csv.Error as error:
        raise AnnotationError(
            f"line {lines.line_num}: {error}; a text with a comma, line break or quotation mark "
            "stands in quotation marks, and those inside it are doubled"
        ) from None


def read_rows(document: object, file_split: FileSplit, notes: list[str]) -> list[Sample]:
    """A list of JSON objects, each a caption, or an image with its captions; adds to `notes`."""
    if not isinstance(document, list) or not document:
        what = "an empty list" if document == [] else f"{kind_of(document)}, not a list"
        raise AnnotationError(f"the file is {what}")
    rows = []
    for number, entry in enumerate(document):
        if not isinstance(entry, dict):
            raise AnnotationError(f"entry {number} is {kind_of(entry)}, not an object")
        rows.append((f"entry {number}", {_column(key): value for key, value in entry.items()}))
    names = list(dict.fromkeys(key for _, row in rows for key in row))
    return Table(names).read(rows, file_split, notes)


def _column(name: str) -> str:
    """The name of a column in lower case and on one line."""
    return " ".join(name.lower().split())


class Table:
    """Which columns of a table hold what; counts oddities on the way for the notes to the user.

    Raises AnnotationError if there is no column of file names or none of captions.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.name = next((column for column in NAME_COLUMNS if column in names), "")
        families = (_family(base, names) for base in CAPTION_COLUMNS)
        self.captions = next((family for family in families if family), [])
        if not self.name or not self.captions:
            first, *others = CAPTION_COLUMNS if self.name else NAME_COLUMNS
            raise AnnotationError(
                f"no column is called {first} (or one of {', '.join(others)}); the columns are: "
                + (", ".join(map(repr, names))[:160] or "none")
            )
        used = {self.name, "split", *self.captions, *LABELS}
        self.unread = [column for column in names if column and column not in used]
        self.lists = self.missing = self.repeated = 0

    def read(
        self, rows: Iterable[tuple[str, dict[str, Any]]], file_split: FileSplit, notes: list[str]
    ) -> list[Sample]:
        """Samples in the order of their first rows; `rows` are pairs such as (`line 7`, row)."""
        samples: dict[str, Sample] = {}
        for place, row in rows:
            with at(place):
                new = values.sample(row, self._captions(row), file_split, self.name)
                old = samples.get(new.filename, replace(new, captions=()))
                if old.split != new.split:
                    raise AnnotationError(f"{new.filename!r} is in {old.split} and in {new.split}")
                samples[new.filename] = replace(old, captions=old.captions + new.captions)
        notes += self._notes()
        # An image whose captions are all missing stays in the data set, with a blank one.
        return [s if s.captions else replace(s, captions=("",)) for s in samples.values()]

    def _captions(self, row: dict[str, Any]) -> list[str]:
        """The captions of a row; empty cells of numbered columns do not count as missing."""
        base, *numbered = self.captions
        if not numbered:
            return self._texts(values.get(row, base))
        cells = (row.get(column) for column in self.captions)
        first, *others = ([] if cell in (None, "") else self._texts(cell) for cell in cells)
        rest = [caption for cell in others for caption in cell]
        # Some tables have a column `caption` that repeats one of `caption_1`, `caption_2`, ...
        if base in CAPTION_COLUMNS and first and set(first) <= set(rest):
            self.repeated += 1
            first = []
        return [*first, *rest]

    def _texts(self, value: object) -> list[str]:
        """The captions in one cell."""
        if isinstance(value, dict):
            value = values.get(value, "raw")
        if str(value).strip().lower() in NOTHING:
            self.missing += 1
            return []
        if isinstance(value, list):
            return [caption for item in value for caption in self._texts(item)]
        caption = text(value, "the caption")
        listed = list_in(caption)
        if listed is None:
            return [caption]
        self.lists += 1
        self.missing += listed.count(None)
        return [item.strip() for item in listed if item and item.strip()]

    def _notes(self) -> list[str]:
        read, first = ", ".join(self.captions), self.captions[0]
        notes = (
            (self.lists, f"{read}: {self.lists:,} cells hold a list, whose captions were read"),
            (
                self.missing,
                f"{self.missing:,} captions are not there (an empty value, nan, None or null) and "
                "were left out",
            ),
            (
                self.repeated,
                f"{first} repeats a caption of {read} in {self.repeated:,} rows and was left out "
                "there",
            ),
            (
                self.unread,
                f"columns that were not read: {', '.join(self.unread)[:160]} (captions are in "
                f"{read}; to read more of them, call a column {first}_{len(self.captions)})",
            ),
        )
        return [note for holds, note in notes if holds]


def _family(base: str, names: Sequence[str]) -> list[str]:
    """The column `base` and its numbered ones: raw, raw_1, raw_2; or caption1, caption2."""
    numbered = [(re.fullmatch(rf"{base}[._ -]?(\d+)", name), name) for name in names]
    ordered = sorted((int(number[1]), name) for number, name in numbered if number)
    return [name for name in names if name == base] + [name for _, name in ordered]


def list_in(text: str) -> list[str | None] | None:
    """The texts of a list that is written as text; None if it is not one that can be read.

    Python's and JSON's lists, and numpy's, which separates by white space (where Python would join
    the texts to one). None in the list is a missing text.
    """
    written = _LIST.fullmatch(text)
    if written is None:
        return None
    with suppress(ValueError, RecursionError):
        listed = json.loads(text)
        return listed if all(item is None or isinstance(item, str) for item in listed) else None
    inner, position, texts = written[1], 0, list[str | None]()
    while position < len(inner):
        item = _ITEM.match(inner, position)
        if item is None:
            return None
        texts.append(None if item["text"] is None else _literal(item["text"]))
        position = item.end()
    return texts or None


def _literal(quoted: str) -> str:
    """The text of a quoted Python string; its characters as they are if that is not valid."""
    with warnings.catch_warnings(), suppress(ValueError, SyntaxError):
        warnings.simplefilter("ignore")  # "invalid escape sequence"
        return str(ast.literal_eval(quoted.replace("\n", "\\n")))
    return quoted[1:-1]
