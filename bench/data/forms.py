"""The forms of annotation in circulation, each a function from a document to samples.

Karpathy and nwpu are JSON, precomp is text; tables (csv, rows) are in `bench.data.table`. `Odd`
says what a form does not allow.
"""

import re
from collections.abc import Callable

from bench.data import values
from bench.data.values import SPLITS, Odd
from methods.sample import Sample

__all__ = ["JSON_FORMS", "KINDS", "SPLITS", "Odd", "check", "coco", "karpathy", "nwpu", "precomp"]

LABEL_KEYS = ("label_name", "label")


def karpathy(document: object) -> list[Sample]:
    """`images` -> entries with `filename`, `split`, `sentences` -> `raw`, perhaps a `label`."""
    samples = []
    images = values.items(values.get(document, "images", "the file"), "'images'")
    for row, image in enumerate(images):
        where = f"images[{row}]"
        sentences = values.items(values.get(image, "sentences", where), f"'sentences' of {where}")
        captions = tuple(
            values.text(values.get(s, "raw", f"a sentence of {where}"), f"a sentence of {where}")
            for s in sentences
        )
        name = values.filename(values.get(image, "filename", where), where)
        part = values.split(values.get(image, "split", where), where)
        samples.append(Sample(name, captions, part, values.label(image, where, LABEL_KEYS)))
    return samples


def coco(document: object, split: str | None, guess: str | None) -> list[Sample]:
    """COCO's captions: `images` -> `id`, `file_name`; `annotations` -> `image_id`, `caption`.

    split: the one that all images are in; guess: the one of those of which nothing else says it.
    """
    captions: dict[int | str, list[str]] = {}
    rows = values.items(values.get(document, "annotations", "the file"), "'annotations'")
    for row, entry in enumerate(rows):
        where = f"annotations[{row}]"
        said = values.text(values.get(entry, "caption", where), f"the caption of {where}")
        captions.setdefault(_identity(values.get(entry, "image_id", where), where), []).append(said)
    samples = []
    images = values.items(values.get(document, "images", "the file"), "'images'")
    for row, image in enumerate(images):
        where = f"images[{row}]"
        name = values.filename(values.get(image, "file_name", where), where)
        own = captions.pop(_identity(values.get(image, "id", where), where), [])
        stated = values.split(image["split"], where) if image.get("split") else None
        part = split or stated or values.split_of_path(name) or guess
        if part is None:
            raise Odd(values.no_split(where))
        scene = values.label(image, where, LABEL_KEYS)
        samples.append(Sample(name, tuple(own), part, scene))
    if captions:
        raise Odd(f"{len(captions)} images of 'annotations' are not in 'images'")
    return samples


def _identity(value: object, where: str) -> int | str:
    """The id of an image."""
    if type(value) is int or isinstance(value, str):
        return value
    raise Odd(f"an id in {where} is {values.kind_of(value)}, not a number or a text")


def nwpu(document: object) -> list[Sample]:
    """NWPU-Captions: classes -> entries with `filename`, `split`, `raw`, `raw_1`, `raw_2`, ..."""
    if not isinstance(document, dict):
        raise Odd(f"the file is {values.kind_of(document)}, not an object of classes")
    samples = []
    for scene, entries in document.items():
        label = values.text(scene, "a class name")
        for row, entry in enumerate(values.items(entries, f"the class {scene[:80]!r}")):
            where = f"{label[:80]}[{row}]"
            first = values.text(values.get(entry, "raw", where), f"'raw' of {where}")
            numbers = sorted(int(k[4:]) for k in entry if re.fullmatch(r"raw_[0-9]{1,9}", k))
            more = [key for key in (f"raw_{k}" for k in numbers) if key in entry]
            captions = (first, *(values.text(entry[key], f"{key!r} of {where}") for key in more))
            name = values.filename(values.get(entry, "filename", where), where)
            part = values.split(values.get(entry, "split", where), where)
            samples.append(Sample(name, captions, part, label or None))
    return samples


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
        said = tuple(values.text(one, f"a caption in {split}_caps.txt") for one in five)
        samples.append(Sample(values.filename(name, f"image {row}"), said, split))
    return samples


JSON_FORMS: dict[str, Callable[[object], list[Sample]]] = {"karpathy": karpathy, "nwpu": nwpu}
KINDS = ("auto", "karpathy", "coco", "rows", "nwpu", "csv", "precomp", "parquet")


def check(samples: list[Sample]) -> None:
    """Raise Odd for an image without a caption or an image named twice."""
    seen: set[str] = set()
    for sample in samples:
        if not sample.captions:
            raise Odd(f"the image {sample.filename[:80]!r} has no caption")
        if sample.filename in seen:
            raise Odd(f"the image {sample.filename[:80]!r} is named twice")
        seen.add(sample.filename)
