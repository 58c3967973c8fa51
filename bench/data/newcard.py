"""`bench data new`: a card proposed from an annotation and a folder of images."""

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import UserError, at_home, data
from bench.data import SPLITS, annotations, brightness, files, parquet, scenes
from bench.disk import demand_writable, writing
from methods.sample import Sample


@dataclass(frozen=True)
class Proposal:
    """A card's TOML, and what was found and guessed on the way."""

    toml: str
    notes: Sequence[str]


def propose(name: str, annotation: Path, images: Path, root: Path) -> Proposal:
    """Read the annotation, find its images, guess the scene rule; raises UserError.

    `annotation` may be a file, a pattern with `{split}` for train, val and test, or a folder of
    `<split>_caps.txt`. The pictures inside Parquet are written to `images`, if that is empty.
    """
    annotation, images = _absolute(annotation), _absolute(images)
    if not images.is_dir() and annotation.suffix != ".parquet":
        raise UserError(f"{images} is no folder; --images is the folder of the images")
    is_folder = annotation.is_dir()
    folder, file = (annotation, None) if is_folder else (annotation.parent, _pattern(annotation))
    try:
        reading = annotations.read("auto", folder, file)
    except annotations.Absent as absent:
        raise UserError(f"there is no annotation {absent}; --annotations is its file") from None
    samples = reading.samples
    counts = {split: sum(s.split == split for s in samples) for split in SPLITS}
    if not counts["test"]:
        raise UserError(
            f"{annotation} has {counts['train']} images in train and none in test; test images are "
            "needed, in the annotation or as one file per split ({split} in its name)"
        )
    if file is not None and reading.kind == "parquet" and not any(images.glob("*")):
        try:
            _write_pictures(folder, file, images)
        except UserError as error:
            raise UserError(f"there are no images in {images}, and {error}") from None
    matches = files.match(name, images, [s.filename for s in samples])
    values = brightness.sample(matches.paths)
    warning = None if values is None else values.warning(None)
    rule, scene_note = _scenes(samples)

    # The card.
    keys = {"name": name, "title": name, "kind": reading.kind, "citation": "", "licence": ""}
    keys |= {"source": "its authors", **_places(folder, file, images, root)}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    if counts["train"] and not counts["val"]:
        lines.append("val_share = 0.1")
    if values is not None and warning is not None:
        lines.append(f"scale = {brightness.as_toml(values.scale)}")
    lines += ["", "[counts]", *(f"{split} = {count}" for split, count in counts.items() if count)]
    test = data.names_hash([s for s in samples if s.split == "test"])
    lines += ["", "[test]", f'filenames_sha256 = "{test}"', "", "[scenes]", f'rule = "{rule}"', ""]

    # What the user should know about it.
    notes = [*reading.notes, *matches.notes]
    if not counts["train"]:
        notes.append(
            "there are no training images: the card is for `zeroshot` and for methods that were "
            "trained elsewhere (bench evaluate)"
        )
    if warning is not None:
        notes.append(f"{warning}; the card states it now: look whether it suits your images")
    if matches.missing:
        many = f"{len(matches.missing)} images are missing"
        notes.append(f"{many}, the first is {matches.first_missing}")
    return Proposal("\n".join(lines), [*notes, scene_note, *data.few_test_images(samples)])


def demand_new(name: str, path: Path) -> None:
    """Raise UserError for a name or a file that no new card can have."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"{name!r} is no name for a card; use letters, digits, - and _")
    if name in data.cards():
        raise UserError(f"a card called {name!r} is there already; choose another name")
    if path.name != f"{name}.toml":
        raise UserError(
            f"{path.name} cannot be the card of {name}, since a data set has the name of its "
            f"card's file; call the card {name}.toml"
        )
    if path.exists():
        raise UserError(f"{path} is there already; move it or give --out")
    demand_writable(path)


def _write_pictures(folder: Path, file: str, images: Path) -> None:
    """Write the pictures inside Parquet files to a new folder `images`; raises UserError."""
    partial = images.with_name(f".{images.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a call that was stopped
    for _, path in annotations.files_of(folder, file):
        parquet.write_pictures(path, partial)
    partial.rename(images)


def _places(place: Path, file: str | None, images: Path, root: Path) -> dict[str, str]:
    """The card's folder, below the data root if possible, and what lies in it.

    `file` is None for precomp files, which lie in the card's folder itself.
    """
    folder, base = Path(os.path.commonpath([place, images])), _absolute(root)
    where = place.relative_to(folder)
    if file is None and where.parts:
        raise UserError(
            f"the annotation lies in {place}, the images in {images}; put the image folder into "
            f"{place} too"
        )
    inside = folder.relative_to(base).as_posix() if folder.is_relative_to(base) else str(folder)
    annotation = {} if file is None else {"annotation": (where / file).as_posix()}
    return {"folder": inside, **annotation, "images": images.relative_to(folder).as_posix()}


def _scenes(samples: Sequence[Sample]) -> tuple[str, str]:
    """The scene rule that suits the samples, and a note for the user."""
    rule, counts = scenes.guess(samples)
    if not counts:
        return rule, "scenes: none was recognised; datasets/README.md lists the rules"
    source = "labels of the annotation" if rule == "none" else "file names, as pond in pond_12"
    listed = ", ".join(f"{scene} ({count})" for scene, count in sorted(counts.items())[:50])
    bare = len(samples) - sum(counts.values())
    without = f"; {bare} images have none" if bare else ""
    return rule, f"scenes guessed from the {source}: {len(counts)}: {listed}{without}"


def _absolute(path: Path) -> Path:
    # Not resolved, so that links are kept as the user wrote them.
    return Path(os.path.abspath(at_home(path)))  # noqa: PTH100


def _pattern(annotation: Path) -> str:
    """`d_train.json` with a `d_test.json` beside it -> `d_{split}.json`."""
    guess = annotations.split_pattern(annotation.name)
    others = annotations.files_of_splits(annotation.parent, guess) if "{" in guess else []
    return guess if len(others) > 1 else annotation.name


def write(proposal: Proposal, path: Path) -> None:
    """Write a proposed card; a file that is there is not overwritten (UserError)."""
    with writing(path), path.open("x", encoding="utf-8") as file:
        file.write(proposal.toml)
