"""Annotations that are tables: CSV, JSON Lines and JSON lists, a row for each caption or image.

A row for each image holds its captions in numbered columns (`raw`, `raw_1`, ...) or as a list in
one cell: Python's, JSON's, or numpy's, which has no commas. A note names every column that looks
like captions and is not read, so that no caption is lost silently.
"""

import ast
import csv
import io
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bench.data import values
from bench.data.values import Odd
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
LABEL_COLUMNS = ("label_name", "label", "scene", "class_name", "class", "category")

CELL_LIMIT = 2**26
"""Largest CSV cell in bytes; some exports hold whole images as text."""
LOOKED_AT = 200
"""Number of rows from which it is judged whether a column holds captions."""
NOTHING = ("nan", "none", "null", "<na>")
"""What exports write for a missing caption."""

_LIST = re.compile(r"(?:array\()?\[(.*)\](?:,\s*dtype=[\w'<>|]+)?\)?", re.DOTALL)
_ITEM = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<nothing>None|nan))\s*,?\s*""",
    re.DOTALL,
)


def read_csv(content: str, split: str | None, guess: str | None, notes: list[str]) -> list[Sample]:
    """A CSV with a header, separated by comma, tab, semicolon or bar.

    split: that of all rows, where the file is of one split; guess: that of rows which state none.
    Notes for the user are appended to `notes`.
    """
    stream = io.StringIO(content, newline="")
    first = re.split(r"[\r\n]", content, maxsplit=1)[0]
    if stated := re.fullmatch(r"sep=(.)", first.strip()):  # Excel's own first line
        stream.readline()
        delimiter = stated[1]
    else:
        delimiter = max(",\t;|", key=first.count)
    csv.field_size_limit(CELL_LIMIT)
    lines = csv.reader(stream, delimiter=delimiter, strict=True, skipinitialspace=delimiter == "|")
    try:
        header = _header(next(lines, []))
        columns = Columns.of(header)
        return Table(columns, split, guess).read(_csv_rows(lines, header, columns), notes)
    except csv.Error as error:
        raise Odd(
            f"line {lines.line_num}: {error}; a text with a comma, a line break or a quotation "
            "mark stands in quotation marks, and those inside it are doubled"
        ) from None


def _column(name: str) -> str:
    """The name of a column in lower case and on one line."""
    return " ".join(name.lower().split())


def _header(cells: list[str]) -> list[str]:
    """Names of columns in lower case; a second `caption` becomes `caption 2`."""
    names: list[str] = []
    for cell in cells:
        name = _column(cell)
        again = names.count(name) and sum(re.sub(r" \d+$", "", n) == name for n in names)
        names.append(f"{name} {again + 1}" if again and name else name)
    return names


def _csv_rows(
    lines: Iterable[list[str]], header: list[str], columns: "Columns"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pairs of `line 7` and a row; cells beyond the header's must be empty."""
    needed = 1 + max(header.index(columns.name), header.index(columns.captions[0]))
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"line {getattr(lines, 'line_num', 0)}"
        more = any(cell.strip() for cell in cells[len(header) :])
        if more or len(cells) < needed:
            hint = "; put a text that holds the separator in quotation marks" if more else ""
            raise Odd(f"{where} has {len(cells)} cells, the first line {len(header)}{hint}")
        yield where, dict(zip(header, cells, strict=False))


def read_rows(
    document: object, split: str | None, guess: str | None, notes: list[str]
) -> list[Sample]:
    """A list of JSON objects, each a caption, or an image with its captions."""
    entries = []
    for row, entry in enumerate(values.items(document, "the file")):
        if not isinstance(entry, dict):
            raise Odd(f"entry {row} is {values.kind_of(entry)}, not an object")
        entries.append((f"entry {row}", {_column(key): v for key, v in entry.items()}))
    if not entries:
        raise Odd("the file is an empty list")
    columns = Columns.of(dict.fromkeys(key for _, entry in entries for key in entry))
    return Table(columns, split, guess).read(entries, notes)


@dataclass(frozen=True)
class Columns:
    """Which column holds the file name, which the captions, and which are not read."""

    name: str
    captions: tuple[str, ...]
    unread: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Columns":
        """Choose among the columns of a table; raises Odd where a name or a caption is lacking."""
        names = list(names)
        name = next((column for column in NAME_COLUMNS if column in names), None)
        families = (_family(base, names) for base in CAPTION_COLUMNS)
        captions = next((family for family in families if family), ())
        if name is None or not captions:
            listed = ", ".join(map(repr, names))[:160] or "none"
            raise Odd(
                f"no column is called {'filename' if name is None else 'caption'} (or one of "
                f"{', '.join((CAPTION_COLUMNS if name else NAME_COLUMNS)[1:])}); the columns are: "
                f"{listed}"
            )
        used = {name, "split", *captions, *LABEL_COLUMNS}
        return cls(name, captions, tuple(column for column in names if column not in used))


def _family(base: str, names: Sequence[str]) -> tuple[str, ...]:
    """The column `base` and its numbered ones: raw, raw_1, raw_2; or caption1, caption2."""
    numbered = {}
    for name in names:
        if found := re.fullmatch(rf"{base}[._ -]?(\d+)", name):
            numbered[int(found[1]), name] = name
    own = (base,) if base in names else ()
    return (*own, *(name for _, name in sorted(numbered.items())))


@dataclass
class Table:
    """Reads the rows of a table into samples, and counts what the notes to the user tell."""

    columns: Columns
    split: str | None
    guess: str | None
    lists: int = 0
    missing: int = 0
    repeated: int = 0
    _seen: dict[str, list[object]] = field(default_factory=dict)

    def read(self, rows: Iterable[tuple[str, Mapping[str, Any]]], notes: list[str]) -> list[Sample]:
        """Samples in the order of their first rows; `rows` are pairs such as (`line 7`, row)."""
        found: dict[str, Sample] = {}
        for number, (where, row) in enumerate(rows):
            if self.columns.name not in row:
                raise Odd(f"{self.columns.name!r} is missing in {where}")
            name = values.filename(row[self.columns.name], where, shorten=True)
            part = self._split_of(row, name, where)
            scene = values.label(row, where, LABEL_COLUMNS)
            values.append(found, Sample(name, self._captions(row, where), part, scene))
            if number < LOOKED_AT:
                for column in self.columns.unread:
                    self._seen.setdefault(column, []).append(row.get(column))
        notes += self._notes()
        return [s if s.captions else replace(s, captions=("",)) for s in found.values()]

    def _split_of(self, row: Mapping[str, Any], name: str, where: str) -> str:
        stated = row.get("split")
        blank = stated is None or stated == ""
        if self.split is not None:
            if not blank and str(stated).strip().lower() in (*values.SPLITS, *values.OTHER_NAMES):
                own = values.split(stated, where)
                if own != self.split:
                    raise Odd(f"{where} is in {own}, and the file is the one of {self.split}")
            return self.split
        if not blank:
            return values.split(stated, where)
        found = values.split_of_path(name) or self.guess
        if found is None:
            raise Odd(values.no_split(where))
        return found

    def _captions(self, row: Mapping[str, Any], where: str) -> tuple[str, ...]:
        """The captions of a row; blank cells of numbered columns are no captions."""
        base, *numbered = self.columns.captions
        if not numbered:
            if base not in row:
                raise Odd(f"{base!r} is missing in {where}")
            return tuple(self._texts(row[base], base, where))
        cells = [self._texts(row.get(column), column, where) for column in (base, *numbered)]
        first, rest = cells[0], [text for cell in cells[1:] for text in cell]
        if base in CAPTION_COLUMNS and first and first[0] and set(first) <= set(rest):
            self.repeated += 1
            first = []
        return tuple(text for text in (*first, *rest) if text)

    def _texts(self, value: object, column: str, where: str) -> list[str]:
        """The captions in one cell."""
        if value is None or value != value or str(value).strip().lower() in NOTHING:  # NaN
            self.missing += 1
            return []
        if isinstance(value, dict):
            value = values.get(value, "raw", where)
        if isinstance(value, list):
            return [text for one in value for text in self._texts(one, column, where)]
        text = values.text(value, f"the caption of {where}")
        listed = list_in(text)
        if listed is None:
            return [text]
        self.lists += 1
        self.missing += listed.count(None)
        return [one.strip() for one in listed if one and one.strip()]

    def _notes(self) -> list[str]:
        read = ", ".join(self.columns.captions)
        notes = []
        if self.lists:
            notes.append(f"{read}: {self.lists:,} cells hold a list, whose captions were read")
        if self.missing:
            notes.append(
                f"{self.missing:,} captions are not there (an empty value, nan, None or null) and "
                "were left out"
            )
        if self.repeated:
            notes.append(
                f"{self.columns.captions[0]} repeats a caption of {read} in {self.repeated:,} rows "
                "and was left out there"
            )
        for column, seen in self._seen.items():
            if looks_like_captions(seen):
                notes.append(
                    f"the column {column!r} looks like captions and was not read (read: {read}); "
                    f"to read it too, call it {self.columns.captions[0]}_{len(read.split())}"
                )
        return notes


def looks_like_captions(cells: Sequence[object]) -> bool:
    """Whether most cells of a column are sentences, and not just a few different ones."""
    said = [cell for cell in cells if cell is not None and str(cell).strip()]
    prose = [str(cell) for cell in said if _prose(cell)]
    return len(prose) > len(said) / 2 and len(set(prose)) > len(said) / 10


def _prose(cell: object) -> bool:
    """Whether a cell holds a text of three words or more."""
    if isinstance(cell, str) and not cell.lstrip().startswith("{"):
        cell = list_in(cell.strip()) or [cell]
    texts = cell if isinstance(cell, list) else []
    return any(
        isinstance(text, str) and len(re.findall(r"(?<!\S)[^\W\d_]{2,}[^\w\s]*(?!\S)", text)) >= 3
        for text in texts
    )


def list_in(text: str) -> list[str | None] | None:
    """The texts of a list that is written as text; None where it is not one that can be read.

    Python's and JSON's lists, and numpy's, which separates by white space (where Python would join
    the texts to one). None in the list is a missing text.
    """
    found = _LIST.fullmatch(text)
    if found is None:
        return None
    with suppress(ValueError, RecursionError):
        listed = json.loads(text)
        return listed if all(one is None or isinstance(one, str) for one in listed) else None
    inner, at, texts = found[1], 0, list[str | None]()
    while at < len(inner):
        item = _ITEM.match(inner, at)
        if item is None:
            return None
        texts.append(None if item["text"] is None else _literal(item["text"]))
        at = item.end()
    return texts or None


def _literal(quoted: str) -> str:
    """The text of a quoted Python string; its characters as they are if that is not valid."""
    with warnings.catch_warnings(), suppress(ValueError, SyntaxError):
        warnings.simplefilter("ignore")
        return str(ast.literal_eval(quoted.replace("\n", "\\n")))
    return quoted[1:-1]


def looks_like_a_list(caption: str) -> bool:
    """Whether a caption is still written as a list, so that it could not be read as one."""
    return caption.startswith("[") and caption.endswith("]")
