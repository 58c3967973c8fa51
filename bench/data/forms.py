"""The forms of annotation in circulation, each a function from a document to samples.

Karpathy, rows and nwpu are JSON, csv and precomp text; `Odd` says what a form does not allow.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from methods.base import Sample

SPLITS = ("train", "val", "test")
OTHER_NAMES = {"valid": "val", "validation": "val"}
NAME_COLUMNS = ("filename", "filepath", "image", "image_path", "file_name", "file")
CAPTION_COLUMNS = ("title", "caption", "text", "sentence", "raw")


class Odd(Exception):
    """Something in an annotation that its form does not allow, said in words."""


# Single values.


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Odd(f"{what} is {_kind_of(value)}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Odd(f"{what} holds half a character (a lone surrogate)") from None
    return value.strip()


def _kind_of(value: object) -> str:
    return {dict: "an object", list: "a list", type(None): "null"}.get(
        type(value), f"a {type(value).__name__}"
    )


def _name(value: object, where: str, shorten: bool = False) -> str:
    """A file name as annotated; refused where it leads out of its folder.

    shorten: an absolute path (of the machine where a CSV was written) keeps its last part only.
    """
    name = _string(value, f"the file name of {where}").replace("\\", "/")
    if shorten and (name.startswith("/") or re.match("[A-Za-z]:/", name)):
        name = name.rsplit("/", 1)[-1]
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise Odd(f"the file name {name[:80]!r} leads out of the image folder")
    if not path.name or len(path.name) > 255 or any(ord(letter) < 32 for letter in name):
        raise Odd(f"{name[:80]!r} of {where} is no file name")
    return str(path)


def _split(value: object, where: str) -> str:
    name = _string(value, f"the split of {where}").lower()
    name = OTHER_NAMES.get(name, name)
    if name not in SPLITS:
        raise Odd(f"{where} is in the split {name[:80]!r}; known: {', '.join(SPLITS)}")
    return name


def _label(entry: dict[str, Any], where: str) -> str | None:
    """The scene that an entry states: `label_name`, else `label`."""
    for key in ("label_name", "label"):
        value = entry.get(key)
        if type(value) is int:
            return str(value)
        if value is not None and (text := _string(value, f"{key} of {where}")):
            return text
    return None


def _get(entry: object, key: str, where: str) -> Any:
    if not isinstance(entry, dict):
        raise Odd(f"{where} is {_kind_of(entry)}, not an object")
    if key not in entry:
        raise Odd(f"{key!r} is missing in {where}")
    return entry[key]


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Odd(f"{what} is {_kind_of(value)}, not a list")
    return value


# The forms.


def karpathy(document: object, split: str | None) -> list[Sample]:
    samples = []
    for row, image in enumerate(_list(_get(document, "images", "the file"), "'images'")):
        where = f"images[{row}]"
        sentences = _list(_get(image, "sentences", where), f"'sentences' of {where}")
        captions = tuple(
            _string(_get(s, "raw", f"a sentence of {where}"), f"a sentence of {where}")
            for s in sentences
        )
        name = _name(_get(image, "filename", where), where)
        part = _split(_get(image, "split", where), where)
        samples.append(Sample(name, captions, part, _label(image, where)))
    return samples


def rows(document: object, split: str | None) -> list[Sample]:
    """One entry per caption (train) or per image (val, test), as PIR and HarMA write them."""
    found: dict[str, Sample] = {}
    for row, entry in enumerate(_list(document, "the file")):
        where = f"entry {row}"
        name = _name(_get(entry, "image", where), where)
        said = _get(entry, "caption", where)
        captions = tuple(
            _string(one, f"the caption of {where}")
            for one in (said if isinstance(said, list) else [said])
        )
        part = split or _split(entry.get("split", PurePosixPath(name).parts[0]), where)
        _append(found, Sample(name, captions, part, _label(entry, where)))
    return list(found.values())


def _append(found: dict[str, Sample], new: Sample) -> None:
    """Add the captions of a row to its image."""
    old = found.setdefault(new.filename, replace(new, captions=()))
    if old.split != new.split:
        raise Odd(f"{new.filename!r} is in {old.split} and in {new.split}")
    found[new.filename] = replace(old, captions=old.captions + new.captions)


def nwpu(document: object, split: str | None) -> list[Sample]:
    """NWPU-Captions: classes -> entries with `filename`, `split`, `raw`, `raw_1` .. `raw_4`."""
    if not isinstance(document, dict):
        raise Odd(f"the file is {_kind_of(document)}, not an object of classes")
    samples = []
    for scene, entries in document.items():
        label = _string(scene, "a class name")
        for row, entry in enumerate(_list(entries, f"the class {scene[:80]!r}")):
            where = f"{label[:80]}[{row}]"
            first = _string(_get(entry, "raw", where), f"'raw' of {where}")
            more = [key for key in (f"raw_{k}" for k in range(1, 5)) if key in entry]
            captions = (first, *(_string(entry[key], f"{key!r} of {where}") for key in more))
            name = _name(_get(entry, "filename", where), where)
            part = _split(_get(entry, "split", where), where)
            samples.append(Sample(name, captions, part, label or None))
    return samples


def read_csv(text: str, split: str | None) -> list[Sample]:
    """One row per caption; the split is the file's, a column's, or the first part of the path."""
    first = text.split("\n", 1)[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max("\t,;", key=first.count))
    found: dict[str, Sample] = {}
    try:
        header = [cell.strip().lower() for cell in next(lines, [])]
        at = {
            "name": next((header.index(c) for c in NAME_COLUMNS if c in header), None),
            "caption": next((header.index(c) for c in CAPTION_COLUMNS if c in header), None),
        }
        if at["name"] is None or at["caption"] is None:
            raise Odd(f"the first line {first[:80]!r} does not name the columns filename and title")
        for cells in lines:
            if not any(cells):
                continue
            where = f"line {lines.line_num}"
            if len(cells) != len(header):
                raise Odd(f"{where} has {len(cells)} cells, the first line {len(header)}")
            name = _name(cells[at["name"]], where, shorten=True)
            row = dict(zip(header, cells, strict=True))
            part = split or _split(row.get("split", PurePosixPath(name).parts[0]), where)
            caption = _string(cells[at["caption"]], f"the caption of {where}")
            _append(found, Sample(name, (caption,), part, _label(row, where)))
    except csv.Error as error:
        raise Odd(f"line {lines.line_num}: {error}") from None
    return list(found.values())


def precomp(captions_text: str, names_text: str, split: str) -> list[Sample]:
    """Five lines per image in `<split>_caps.txt`; names once per image or once per caption."""
    captions, names = (
        part.replace("\r\n", "\n").split("\n") for part in (captions_text, names_text)
    )
    if captions[-1] == "":  # what follows the last line feed; a blank caption has its own
        captions.pop()
    names = [name for name in names if name.strip()]
    if len(names) == len(captions) and len(names) % 5 == 0:  # a name per caption, as in test
        if any(len(set(names[i : i + 5])) > 1 for i in range(0, len(names), 5)):
            raise Odd(f"{split}_filename.txt does not name each image five times in a row")
        names = names[::5]
    if len(captions) != 5 * len(names):
        raise Odd(
            f"{split}_caps.txt has {len(captions)} lines for {len(names)} images in "
            f"{split}_filename.txt; the precomp form has five captions per image"
        )
    samples = []
    for row, name in enumerate(names):
        five = captions[5 * row : 5 * row + 5]
        said = tuple(_string(one, f"a caption in {split}_caps.txt") for one in five)
        samples.append(Sample(_name(name, f"image {row}"), said, split))
    return samples


JSON_FORMS: dict[str, Callable[[object, str | None], list[Sample]]] = {
    "karpathy": karpathy,
    "rows": rows,
    "nwpu": nwpu,
}
KINDS = ("auto", *JSON_FORMS, "csv", "precomp")


def check(samples: list[Sample]) -> None:
    """Raise Odd for an image without a caption or an image named twice."""
    seen: set[str] = set()
    for sample in samples:
        if not sample.captions:
            raise Odd(f"the image {sample.filename[:80]!r} has no caption")
        if sample.filename in seen:
            raise Odd(f"the image {sample.filename[:80]!r} is named twice")
        seen.add(sample.filename)
