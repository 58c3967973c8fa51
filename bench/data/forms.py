"""Forms of annotation that are no tables: Karpathy's, COCO's, NWPU's JSON, and precomp's text.

Each is a function from a document to samples; tables (csv, rows) are in `bench.data.table`.
"""

import re

from bench.data import values
from bench.data.values import LABELS, AnnotationError, FileSplit, Node
from methods.sample import Sample


def karpathy(document: object) -> list[Sample]:
    """`images` -> entries with `filename`, `split`, `sentences` -> `raw`, perhaps a `label`."""
    samples = []
    for image in Node(document)["images"].items():
        captions = tuple(sentence["raw"].text() for sentence in image["sentences"].items())
        name = values.filename(image["filename"].value, image.place)
        split = values.split(image["split"].value, image.place)
        label = values.label(image.value, image.place, LABELS[:2])
        samples.append(Sample(name, captions, split, label))
    return samples


def coco(document: object, file_split: FileSplit) -> list[Sample]:
    """COCO's captions: `images` -> `id`, `file_name`; `annotations` -> `image_id`, `caption`."""
    captions: dict[int | str, list[str]] = {}
    for entry in Node(document)["annotations"].items():
        captions.setdefault(_id(entry["image_id"]), []).append(entry["caption"].text())
    samples = []
    for image in Node(document)["images"].items():
        place = image.place
        name = values.filename(image["file_name"].value, place)
        split = file_split.of(image.value.get("split"), name, place)
        own = tuple(captions.pop(_id(image["id"]), []))
        label = values.label(image.value, place, LABELS[:2])
        samples.append(Sample(name, own, split, label))
    if captions:
        raise AnnotationError(f"{len(captions)} images of 'annotations' are not in 'images'")
    return samples


def _id(node: Node) -> int | str:
    """The id of an image."""
    if type(node.value) is int or isinstance(node.value, str):
        return node.value
    raise AnnotationError(f"{node.place} is {values.kind_of(node.value)}, not a number or a text")


def nwpu(document: object) -> list[Sample]:
    """NWPU-Captions: classes -> entries with `filename`, `split`, `raw`, `raw_1`, `raw_2`, ..."""
    if not isinstance(document, dict):
        raise AnnotationError(f"the file is {values.kind_of(document)}, not an object of classes")
    samples = []
    for scene in document:
        label = values.text(scene, "a class name")
        for entry in Node(document)[scene].items():
            place, captions = entry.place, [entry["raw"].text()]
            numbered = [key for key in entry.value if re.fullmatch(r"raw_[0-9]{1,9}", key)]
            captions += [entry[key].text() for key in sorted(numbered, key=lambda k: int(k[4:]))]
            name = values.filename(entry["filename"].value, place)
            split = values.split(entry["split"].value, place)
            samples.append(Sample(name, tuple(captions), split, label or None))
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
            raise AnnotationError(
                f"{split}_filename.txt does not name each image five times in a row"
            )
        names = names[::5]
    if len(captions) != 5 * len(names):
        raise AnnotationError(
            f"{split}_caps.txt has {len(captions)} lines for {len(names)} images in "
            f"{split}_filename.txt; the precomp form has five captions per image"
        )
    samples = []
    for row, name in enumerate(names):
        five = captions[5 * row : 5 * row + 5]
        texts = tuple(values.text(caption, f"a caption in {split}_caps.txt") for caption in five)
        samples.append(Sample(values.filename(name, f"image {row}"), texts, split))
    return samples
