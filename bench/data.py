"""Cards, and how an annotation becomes samples: counts, scenes, splits, where the images are."""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import UserError, synthetic
from methods.base import Sample

SPLITS = ("train", "val", "test")


# Cards.


@dataclass(frozen=True)
class Card:
    """A data set as its TOML describes it; `raw` is the whole table."""

    name: str
    raw: dict[str, Any]

    @property
    def kind(self) -> str:
        """How the annotation is written: karpathy, precomp or synthetic."""
        return str(self.raw["kind"])

    @property
    def counts(self) -> dict[str, int]:
        """Images per split as published."""
        return dict(self.raw["counts"])

    def digest(self) -> str:
        """Hash of all that the card says."""
        return short_hash(json.dumps(self.raw, sort_keys=True))


def short_hash(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cards() -> dict[str, Card]:
    """Every card by name: those beside this package (wheel) or in `datasets/` (checkout)."""
    here = Path(__file__).resolve().parent
    folder = here / "cards" if (here / "cards").is_dir() else here.parent / "datasets"
    found = {}
    for path in sorted(folder.glob("*.toml")):
        found[path.stem] = Card(path.stem, tomllib.loads(path.read_text(encoding="utf-8")))
    return found


def card(name: str) -> Card:
    """The card called `name`, or the one in the TOML file `name`; raises UserError."""
    known = cards()
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(
                f"no card at {path}; give a data set's name or the path of its TOML card"
            )
        try:
            return Card(path.stem, tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"the card {path} is not valid TOML: {error}") from None
    from bench.spec import nearest

    raise UserError(
        f"no data set is called {name!r}{nearest(name, known)}; `bench datasets` lists them"
    )


def data_root(given: Path | None) -> Path:
    """Where data sets are: `--data-root`, else $BENCH_DATA, else `./data`."""
    return given or Path(os.environ.get("BENCH_DATA") or "data")


# Annotation -> samples.


@dataclass(frozen=True)
class Dataset:
    """All samples of a card, where their images are, and hashes of the splits."""

    card: Card
    folder: Path
    samples: list[Sample]
    paths: list[Path | None]
    hashes: dict[str, str]
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> list[int]:
        """Rows of the samples of one split."""
        return [i for i, sample in enumerate(self.samples) if sample.split == name]

    @property
    def scenes(self) -> list[str]:
        """Names of the scenes, sorted."""
        return sorted({s.scene for s in self.samples if s.scene is not None})


def _where(card: Card) -> str:
    return f"get it from {card.raw['source']}, {card.raw.get('put', '')}".rstrip(", ")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); fetch the annotation again") from None


def _karpathy(card: Card, folder: Path) -> list[Sample]:
    path = folder / card.raw["annotation"]
    document = _read_json(path)
    samples = []
    try:
        for image in document["images"]:
            captions = tuple(str(sentence["raw"]).strip() for sentence in image["sentences"])
            samples.append(
                Sample(str(image["filename"]), captions, str(image["split"]), image.get("label"))
            )
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not in the Karpathy form (images -> filename, split, sentences -> raw): "
            f"{type(error).__name__} {error}"
        ) from None
    return samples


def _precomp(card: Card, folder: Path) -> list[Sample]:
    samples = []
    for split in SPLITS:
        captions_path, names_path = folder / f"{split}_caps.txt", folder / f"{split}_filename.txt"
        if not captions_path.exists():
            continue
        captions = captions_path.read_text(encoding="utf-8").splitlines()
        names = names_path.read_text(encoding="utf-8").split()
        if len(names) == len(captions):  # the test file names each image once per caption
            names = names[::5]
        if len(captions) != 5 * len(names):
            raise UserError(
                f"{captions_path} has {len(captions)} lines for {len(names)} images in "
                f"{names_path.name}; the precomp form has five captions per image"
            )
        for row, name in enumerate(names):
            five = tuple(caption.strip() for caption in captions[5 * row : 5 * row + 5])
            samples.append(Sample(name, five, split))
    return samples


def _generated() -> list[Sample]:
    samples = []
    for index in range(sum(synthetic.COUNTS.values())):
        scene, captions = synthetic.describe(index)
        split = synthetic.split(index)
        samples.append(Sample(synthetic.filename(index), tuple(captions), split, scene))
    return samples


def _scene_of(card: Card, folder: Path) -> Callable[[Sample], str | None]:
    """The card's rule for the scene of an image."""
    scenes = card.raw.get("scenes", {})
    rule, words = scenes.get("rule", "none"), scenes.get("words", {})

    def spoken(scene: str) -> str:
        return str(words.get(scene, scene))

    if rule == "none":
        return lambda sample: sample.scene
    if rule == "generator":
        return lambda sample: sample.scene
    if rule == "filename":
        return lambda sample: spoken(re.split(r"_\d", Path(sample.filename).stem)[0])
    if rule == "blocks":  # images numbered from 1, so many to a scene, scenes in the given order
        names, size = scenes["names"], scenes["size"]
        return lambda sample: spoken(names[(int(Path(sample.filename).stem) - 1) // size])
    if rule == "files":  # one text file per scene that lists its images
        label = {}
        for path in sorted((folder / scenes["folder"]).glob("*.txt")):
            for name in path.read_text(encoding="utf-8").split():
                label[Path(name).stem] = spoken(path.stem)
        return lambda sample: label.get(Path(sample.filename).stem)
    raise UserError(
        f"the card {card.name!r} has the unknown scene rule {rule!r}; "
        "known: none, generator, filename, blocks, files"
    )


def _hold_out(samples: list[Sample], share: float) -> list[Sample]:
    """Move a share of the training images to val, chosen by a hash of the file name."""
    train = [s for s in samples if s.split == "train"]
    order = sorted(train, key=lambda s: hashlib.sha256(f"val/{s.filename}".encode()).digest())
    chosen = {s.filename for s in order[: round(share * len(train))]}
    return [
        Sample(s.filename, s.captions, "val", s.scene)
        if s.split == "train" and s.filename in chosen
        else s
        for s in samples
    ]


def names_hash(samples: Sequence[Sample]) -> str:
    """Hash of the sorted file names without extension, which differs between copies."""
    return short_hash("\n".join(sorted(Path(s.filename).stem for s in samples)))


def load(card: Card, root: Path) -> Dataset:
    """Read a data set: annotation, scenes, counts and test-set hash enforced, images found by stem.

    Raises UserError, with the remedy, when something is absent or is not the published data.
    """
    folder = root / card.raw.get("folder", card.name)
    if card.kind == "synthetic":
        samples = _generated()
    else:
        first = folder / card.raw.get("annotation", "train_caps.txt")
        if not first.exists():
            raise UserError(
                f"data set {card.name!r} is not there ({first} is missing): {_where(card)}"
            )
        reader = {"karpathy": _karpathy, "precomp": _precomp}.get(card.kind)
        if reader is None:
            raise UserError(
                f"the card {card.name!r} has the unknown kind {card.kind!r}; "
                "known: karpathy, precomp, synthetic"
            )
        samples = reader(card, folder)
    _check_counts(card, samples)
    scene = _scene_of(card, folder)
    samples = [Sample(s.filename, s.captions, s.split, scene(s)) for s in samples]
    if not card.counts.get("val"):
        samples = _hold_out(samples, card.raw.get("val_share", 0.1))
    paths, notes = _find_images(card, folder, samples)
    hashes = {name: names_hash([s for s in samples if s.split == name]) for name in SPLITS}
    return Dataset(card, folder, samples, paths, hashes, notes)


def _check_counts(card: Card, samples: list[Sample]) -> None:
    counts = {name: sum(s.split == name for s in samples) for name in SPLITS}
    expected = {name: card.counts.get(name, 0) for name in SPLITS}
    if counts != expected:
        swapped = {**counts, "val": counts["test"], "test": counts["val"]}
        hint = (
            "val and test are swapped in this copy of the annotation; swap the names back"
            if swapped == expected
            else "use the published annotation, or write a card of your own for this one"
        )
        raise UserError(f"{card.name}: images per split {counts}, published {expected}: {hint}")
    test = [s for s in samples if s.split == "test"]
    found, pinned = names_hash(test), card.raw["test"]["filenames_sha256"]
    if found != pinned:
        raise UserError(
            f"{card.name}: the test images are not the published ones (hash {found}, card {pinned})"
            ": use the published annotation, or write a card of your own for this one"
        )


def _find_images(
    card: Card, folder: Path, samples: list[Sample]
) -> tuple[list[Path | None], tuple[str, ...]]:
    if card.kind == "synthetic":
        return [None] * len(samples), ()
    images = folder / card.raw["images"]
    if not images.is_dir():
        raise UserError(f"{card.name}: the image folder {images} is missing: {_where(card)}")
    by_name = {p.name: p for p in images.rglob("*") if p.is_file()}
    by_stem: dict[str, Path] = {p.stem: p for p in by_name.values()}
    paths: list[Path | None] = []
    missing, renamed = [], 0
    for sample in samples:
        name = Path(sample.filename)
        path = by_name.get(name.name) or by_stem.get(name.stem)
        if path is None:
            missing.append(sample.filename)
        elif path.suffix != name.suffix:
            renamed += 1
        paths.append(path)
    if missing:
        raise UserError(
            f"{card.name}: {len(missing)} of {len(samples)} images are missing in {images}, "
            f"the first is {missing[0]!r}: {_where(card)}"
        )
    if not renamed:
        return paths, ()
    suffixes = ", ".join(sorted({p.suffix for p in paths if p is not None}))
    return paths, (f"{renamed} images have another extension than annotated ({suffixes})",)


def spoken_form(caption: str) -> str:
    """A caption lower-cased and without punctuation: what counts as the same sentence."""
    return " ".join(re.sub(r"[^\w\s]", " ", caption.lower()).split())
