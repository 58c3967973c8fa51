"""The scene of an image: the card's rule, applied and guessed."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bench import UserError
from bench.data.annotations import read_text
from methods.sample import Sample

RULES = ("none", "generator", "filename", "blocks", "files")
Namer = Callable[[Sample], str | None]


def rule_of(card_name: str, scenes: dict[str, Any], folder: Path) -> tuple[Namer, tuple[str, ...]]:
    """The rule of a card's `[scenes]` as a function, and what to tell of it; raises UserError."""
    rule, words = scenes.get("rule", "none"), scenes.get("words", {})

    def spoken(scene: str) -> str:
        return str(words.get(scene, scene.replace("_", " ")))

    if rule in ("none", "generator"):
        return lambda sample: None if sample.scene is None else spoken(sample.scene), ()
    if rule == "filename":
        return lambda sample: (found := from_name(sample.filename)) and spoken(found), ()
    if rule == "blocks":
        names, size = _block_names(card_name, scenes)
        return lambda sample: spoken(
            names[_number(card_name, sample, size * len(names)) // size]
        ), ()
    if rule == "files":  # one text file per scene that lists its images
        listed = folder / str(scenes.get("folder", ""))
        if not listed.is_dir():
            told = f"{listed} is missing: scenes by the file names, where those have one"
            return lambda sample: (found := from_name(sample.filename)) and spoken(found), (told,)
        label = {
            PurePosixPath(name.strip()).stem: spoken(_words(path.stem))
            for path in sorted(listed.glob("*.txt"))
            for name in read_text(path).split("\n")
        }
        return lambda sample: label.get(PurePosixPath(sample.filename).stem), ()
    raise UserError(
        f"the card {card_name!r} has the unknown scene rule {rule!r}; known: {', '.join(RULES)}"
    )


def _words(stem: str) -> str:
    """`SparseResidential`, as RSICD's lists are named, -> `sparse residential`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem).lower()


def from_name(filename: str) -> str | None:
    """`pond_12.tif` -> pond; None for a name of another kind, such as `00196.jpg`."""
    found = re.match(r"([^\d].*?)_\d", PurePosixPath(filename).stem)
    return found and found[1]


def _block_names(card_name: str, scenes: dict[str, Any]) -> tuple[list[str], int]:
    names, size = scenes.get("names"), scenes.get("size")
    listed = names if isinstance(names, list) and all(isinstance(n, str) for n in names) else []
    if not listed or type(size) is not int or size < 1:
        raise UserError(
            f"the card {card_name!r} has the scene rule blocks without `names` and `size`; add them"
        )
    return listed, size


def _number(card_name: str, sample: Sample, count: int) -> int:
    """The number of a file from 0, for images numbered from 1 to `count`."""
    stem = PurePosixPath(sample.filename).stem
    if not re.fullmatch(r"[0-9]{1,9}", stem) or not 1 <= int(stem) <= count:
        raise UserError(
            f"{card_name}: {sample.filename!r} is not numbered from 1 to {count}, as the card's "
            "scene rule blocks expects; use the published annotation or change the rule"
        )
    return int(stem) - 1


def original_stem(scenes: dict[str, Any], filename: str) -> str | None:
    """Under the rule `blocks`, the name in a copy of one folder per class: 101 -> airplane00."""
    stem = PurePosixPath(filename).stem
    if scenes.get("rule") != "blocks" or not re.fullmatch(r"[0-9]{1,9}", stem):
        return None
    names, size = _block_names("", scenes)
    block, place = divmod(int(stem) - 1, size)
    width = len(str(size - 1))
    return f"{names[block]}{place:0{width}d}" if 0 <= block < len(names) else None


def guess(samples: Sequence[Sample]) -> tuple[str, dict[str, int]]:
    """The rule that gives most images a scene worth the name, and the images of each scene.

    `none` keeps the labels of the annotation; `filename` is chosen where names such as pond_12 make
    at least two scenes of five images on average.
    """
    labels = Counter(s.scene for s in samples if s.scene is not None)
    if labels.total() >= 0.9 * len(samples) or not samples:
        return "none", dict(labels)
    named = Counter(scene for s in samples if (scene := from_name(s.filename)))
    if named.total() >= 0.9 * len(samples) and 2 <= len(named) <= len(samples) / 5:
        return "filename", dict(named)
    return "none", dict(labels)
