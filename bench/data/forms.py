"""Forms of annotation that are no tables: Karpathy's, COCO's, NWPU's JSON, and precomp's text.

Each is a function from a document to samples; tables (csv, rows) are in `bench.data.table`.
"""

import re

from bench.data import values
from bench.data.values import AnnotationError, FileSplit, at, entries, get, sample, text
from methods.sample import Sample

LABELS = ("label_name", "label")
"""Keys for the scene of an image."""


def karpathy(document: object, file_split: FileSplit) -> list[Sample]:
    """`images` -> entries with `filename`, `split`, `sentences` -> `raw`, perhaps a `label`."""
    samples = []
    for number, image in enumerate(entries(document, "images")):
        with at(f"images[{number}]"):
            captions = [text(get(part, "raw"), "'raw'") for part in entries(image, "sentences")]
            samples.append(sample(image, captions, file_split, "filename", LABELS))
    return samples


def coco(document: object, file_split: FileSplit) -> list[Sample]:
    """COCO's captions: `images` -> `id`, `file_name`; `annotations` -> `image_id`, `caption`."""
    captions: dict[int | str, list[str]] = {}

    def number_or_text(value: object) -> int | str:
        if type(value) is int or isinstance(value, str):
            return value
        raise AnnotationError(f"the id is {values.kind_of(value)}, not a number or a text")

    for number, entry in enumerate(entries(document, "annotations")):
        with at(f"annotations[{number}]"):
            image_id, caption = number_or_text(get(entry, "image_id")), get(entry, "caption")
            captions.setdefault(image_id, []).append(text(caption, "'caption'"))
    samples = []
    for number, image in enumerate(entries(document, "images")):
        with at(f"images[{number}]"):
            own = captions.pop(number_or_text(get(image, "id")), [])
            samples.append(sample(image, own, file_split, "file_name", LABELS))
    if captions:
        raise AnnotationError(f"{len(captions)} images of 'annotations' are not in 'images'")
    return samples


def nwpu(document: object, file_split: FileSplit) -> list[Sample]:
    """NWPU-Captions: classes -> entries with `filename`, `split`, `raw`, `raw_1`, `raw_2`, ..."""
    if not isinstance(document, dict):
        raise AnnotationError(f"the file is {values.kind_of(document)}, not an object of classes")
    samples = []
    for scene in document:
        for number, entry in enumerate(entries(document, scene)):
            with at(f"{scene[:80]!r}[{number}]"):
                captions = [text(get(entry, "raw"), "'raw'")]
                numbered = [key for key in entry if re.fullmatch(r"raw_[0-9]{1,9}", key)]
                numbered.sort(key=lambda key: int(key[4:]))
                captions += [text(entry[key], key) for key in numbered]
                row = {**entry, "class": scene}
                samples.append(sample(row, captions, file_split, "filename", ("class",)))
    return samples


def precomp(captions_text: str, names_text: str, split: str) -> list[Sample]:
    """Five lines per image in `<split>_caps.txt`; names once per image or once per caption."""
    captions = captions_text.replace("\r\n", "\n").split("\n")
    names = names_text.replace("\r\n", "\n").split("\n")
    if captions[-1] == "":  # what follows the last line feed; a blank caption has its own
        captions.pop()
    names = [name for name in names if name.strip()]
    if len(names) == len(captions) and len(names) % 5 == 0:  # a name per caption, as in test
        if any(len(set(names[i : i + 5])) > 1 for i in range(0, len(names), 5)):
            raise AnnotationError("the file names do not name each image five times in a row")
        names = names[::5]
    if len(captions) != 5 * len(names):
        raise AnnotationError(
            f"{split}_caps.txt has {len(captions)} lines for {len(names)} images in "
            f"{split}_filename.txt; there should be five captions per image"
        )
    texts = [caption.strip() for caption in captions]
    return [
        Sample(values.filename(name), tuple(texts[5 * row : 5 * row + 5]), split)
        for row, name in enumerate(names)
    ]
