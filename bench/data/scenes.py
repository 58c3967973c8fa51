"""The scene of an image: the card's rule applied, and guessed for a new card."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bench import UserError
from bench.data.text import read_text
from methods.sample import Sample


def rule_of(
    card_name: str, scenes: dict[str, Any], folder: Path, notes: list[str]
) -> Callable[[Sample], str | None]:
    """The rule of a card's `[scenes]` as a function; a note for the user is added to `notes`.

    The function raises UserError for a file that is not numbered as the rule `blocks` expects.
    """
    rule, words = scenes.get("rule", "none"), scenes.get("words", {})
    listed: dict[str, str] = {}
    if rule == "files":  # a text file for each scene lists its images
        lists = folder / scenes["folder"]
        for path in sorted(lists.glob("*.txt")):
            # RSICD's lists are called `SparseResidential.txt`, the scene `sparse residential`.
            scene = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.stem).lower()
            names = read_text(path).split("\n")
            listed |= {PurePosixPath(name.strip()).stem: scene for name in names}
        if not lists.is_dir():
            rule = "filename"
            notes.append(f"{lists} is missing: scenes by the file names, where possible")

    def scene_of(sample: Sample) -> str | None:
        scene = sample.scene
        if rule == "filename":
            scene = from_name(sample.filename)
        elif rule == "files":
            scene = listed.get(PurePosixPath(sample.filename).stem)
        elif rule == "blocks":
            block = _block(scenes, sample.filename)
            if block is None:
                count = scenes["size"] * len(scenes["names"])
                raise UserError(
                    f"{card_name}: {sample.filename!r} is not numbered from 1 to {count}; use the "
                    "published annotation or another scene rule than blocks"
                )
            scene = block[0]
        return None if scene is None else str(words.get(scene, scene.replace("_", " ")))

    return scene_of


def from_name(filename: str) -> str | None:
    """`pond_12.tif` -> pond; None for other names, such as `00196.jpg`."""
    found = re.match(r"([^\d].*?)_\d", PurePosixPath(filename).stem)
    return found[1] if found else None


def _block(scenes: dict[str, Any], filename: str) -> tuple[str, int] | None:
    """The scene of a numbered file under the rule `blocks`, and its place among the scene's images.

    UCM's images are called 1.tif to 2100.tif: first 100 of the first scene, then 100 of the next.
    None for a name that is no such number.
    """
    stem, names, size = PurePosixPath(filename).stem, scenes["names"], scenes["size"]
    if not re.fullmatch(r"[0-9]{1,9}", stem) or not 1 <= int(stem) <= size * len(names):
        return None
    return names[(int(stem) - 1) // size], (int(stem) - 1) % size


def original_stem(scenes: dict[str, Any], filename: str) -> str | None:
    """Under the rule `blocks`, the name in a copy with a folder per class: 101 -> airplane00."""
    block = _block(scenes, filename) if scenes.get("rule") == "blocks" else None
    if block is None:
        return None
    scene, number = block
    return f"{scene}{number:0{len(str(scenes['size'] - 1))}d}"


def guess(samples: Sequence[Sample]) -> tuple[str, dict[str, int]]:
    """The rule that gives at least 90% of the images a scene, and the images of each scene.

    `none` keeps the labels of the annotation; `filename` is chosen where names such as pond_12 make
    at least two scenes of five images on average.
    """
    labels = Counter(s.scene for s in samples if s.scene is not None)
    named = Counter(scene for s in samples if (scene := from_name(s.filename)))
    if labels.total() < 0.9 * len(samples) <= named.total() and 2 <= len(named) <= len(samples) / 5:
        return "filename", dict(named)
    return "none", dict(labels)
