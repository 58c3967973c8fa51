"""`bench data new`: a card proposed from an annotation and a folder of images."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bench import UserError, data
from bench.data import SPLITS, annotations, brightness, chance, files, parquet, scenes


@dataclass(frozen=True)
class Proposal:
    """A card's TOML, and what was found and guessed on the way."""

    toml: str
    notes: tuple[str, ...]


def propose(name: str, annotation: Path, images: Path, root: Path) -> Proposal:
    """Read the annotation, find its images, guess the scene rule; raises UserError.

    `annotation` may be a file, a pattern with `{split}` for train, val and test, or a folder of
    `<split>_caps.txt`. Of Parquet the pictures are written to `images`, where that is not there.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"{name!r} is no name for a card; use letters, digits, - and _")
    if name in data.cards():
        raise UserError(f"a card called {name!r} is there already; choose another name")
    annotation, images = _absolute(annotation), _absolute(images)
    if not images.is_dir() and annotation.suffix != ".parquet":
        raise UserError(f"{images} is no folder; --images is the folder of the images")
    if annotation.is_dir():
        place, file = annotation, None
    else:
        place, file = annotation.parent, _pattern(annotation)
    try:
        reading = annotations.read("auto", place, file)
    except annotations.Absent as absent:
        raise UserError(f"there is no annotation {absent}; --annotations is its file") from None
    if not images.exists() and file is not None:
        for _, path in annotations.files_of_splits(place, file):
            parquet.write_pictures(path, images)
    samples = reading.samples
    counts = {split: sum(s.split == split for s in samples) for split in SPLITS}
    if not counts["test"]:
        raise UserError(
            f"{annotation} has {counts['train']} images in train and none in test; test images are "
            "needed, in the annotation or as one file per split ({split} in its name)"
        )
    found = files.match(name, images, [s.filename for s in samples])
    rule, shown = scenes.guess(samples)
    told: list[str] = []
    folder = Path(os.path.commonpath([place, images]))
    base = _absolute(root)
    inside = folder.relative_to(base).as_posix() if folder.is_relative_to(base) else str(folder)
    lines = {
        "name": name,
        "title": name,
        "kind": reading.kind,
        "citation": "",
        "licence": "",
        "source": "its authors",
        "put": "",
        "folder": inside,
    }
    where = place.relative_to(folder)
    if reading.kind == "precomp" and where.parts:
        raise UserError(
            f"the precomp files lie in {place}, the images in {images}; put the image folder "
            "beside or below the text files"
        )
    if file is not None:
        lines["annotation"] = (where / file).as_posix()
    lines["images"] = images.relative_to(folder).as_posix()
    text = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in lines.items()]
    if not counts["train"]:
        told.append(
            "there are no training images: the card is for `zeroshot` and for methods that were "
            f"trained elsewhere (bench evaluate RECORD --dataset {name}.toml)"
        )
    elif not counts["val"]:
        text.append("val_share = 0.1")
    seen = brightness.sample(found.paths)
    dark = None if seen is None else seen.note(None)
    if seen is not None and dark is not None:
        text.append(f"scale = {brightness.as_toml(seen.scale)}")
        told.append(f"{dark}; the card states it now: look whether it suits your images")
    text += ["", "[counts]", *(f"{split} = {count}" for split, count in counts.items() if count)]
    pinned = data.names_hash([s for s in samples if s.split == "test"])
    text += ["", "[test]", f'filenames_sha256 = "{pinned}"']
    text += ["", "[scenes]", f'rule = "{rule}"', ""]
    told += _told(rule, shown, found)
    told += chance.notes([s for s in samples if s.split == "test"])
    return Proposal("\n".join(text), (*reading.notes, *found.notes, *told))


def _told(rule: str, shown: dict[str, int], found: files.Found) -> list[str]:
    told = []
    if found.missing:
        told.append(f"{len(found.missing)} images are missing, the first is {found.lacking()}")
    if not shown:
        return [*told, "scenes: none was recognised; datasets/README.md lists the rules"]
    source = "labels of the annotation" if rule == "none" else "file names, as pond in pond_12"
    listed = ", ".join(f"{scene} ({count})" for scene, count in sorted(shown.items())[:50])
    bare = len(found.paths) - sum(shown.values())
    without = f"; {bare} images have none" if bare else ""
    return [*told, f"scenes guessed from the {source}: {len(shown)}: {listed}{without}"]


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (links are kept as the user wrote them)


def _pattern(annotation: Path) -> str:
    """`d_train.json` with a `d_test.json` beside it -> `d_{split}.json`."""
    guess = annotations.split_pattern(annotation.name)
    others = annotations.files_of_splits(annotation.parent, guess) if "{" in guess else []
    return guess if len(others) > 1 else annotation.name


def write(proposal: Proposal, path: Path) -> None:
    """Write a proposed card; a file that is there is not overwritten (UserError)."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(proposal.toml)
    except FileExistsError:
        raise UserError(f"{path} is there already; move it or give --out") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); give another --out"
        ) from None
