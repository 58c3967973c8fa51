"""Which parts of a data set are present (no image is opened), and how to get the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import UserError, data
from bench.data import SPLITS, Card
from bench.fetch.sources import Part, parts


@dataclass(frozen=True)
class Status:
    """Which parts of a data set are present.

    annotated: number of images in the annotation, None if it is missing or unreadable; missing:
    number of images without a file; faults: how the data differs from the card, or what cannot be
    read.
    """

    annotated: int | None
    missing: int
    faults: tuple[str, ...] = ()
    notes: Sequence[str] = ()

    @property
    def complete(self) -> bool:
        """Whether trials can run on it."""
        return self.annotated is not None and not self.missing and not self.faults


def read(card: Card, root: Path) -> Status:
    """Read the annotation, and find the images by their names."""
    status = Status(None, sum(card.counts.values()))
    try:
        samples, notes = data.read(card, root)
        faults = tuple(data.faults(card, samples))
        status = Status(len(samples), len(samples), faults, notes)
        matches = data.find_images(card, root, samples)
    except data.Missing:
        return status
    except UserError as error:
        return replace(status, faults=(*status.faults, str(error)))
    return replace(status, missing=len(matches.missing), notes=(*notes, *matches.notes))


def missing_parts(card: Card, root: Path, status: Status) -> list[Part]:
    """The parts that are missing or incomplete, as far as the card has sources for them."""
    folder, images = data.folder_of(card, root), card.raw.get("images")

    def is_missing(part: Part) -> bool:
        return not (folder / part.to).exists() or (part.to == images and status.missing > 0)

    return [part for part in parts(card) if is_missing(part)]


def lines(card: Card, root: Path, status: Status) -> list[str]:
    """Lines for the user: what is present and what is missing."""
    folder = data.folder_of(card, root)
    counts = " · ".join(f"{card.counts[s]:,} {s}" for s in SPLITS if card.counts.get(s))
    if card.counts.get("train") and not card.counts.get("val"):
        counts += f" · no val ({card.raw.get('val_share', 0.1):.0%} of train is used)"
    state = "complete" if status.complete else "NOT COMPLETE"
    return [
        f"{card.title}   {counts}   {state} in {folder}",
        *(_parts(card, folder, status) if card.kind != "synthetic" else ()),
        *(f"   {sentence}" for sentence in (*status.faults, *status.notes)),
    ]


def _parts(card: Card, folder: Path, status: Status) -> Iterator[str]:
    """A line for the annotation, the images, and the lists of scenes."""

    def line(is_there: object, text: str) -> str:
        return f"   [{'x' if is_there else ' '}] {text}"

    text = "" if status.annotated else ", missing"
    if status.annotated and card.annotation_hash and data.OTHER_TEXTS not in status.notes:
        text = ", captions as published"
    yield line(status.annotated, f"{card.raw.get('annotation', 'annotation')}{text}")
    total = status.annotated or sum(card.counts.values())
    present = f"{total - status.missing:,}" if status.missing < total else "none"
    present = present if status.missing else "all"
    yield line(not status.missing, f"{card.raw['images']}/   {total:,} images, {present} there")
    scenes = card.raw.get("scenes", {})
    if scenes.get("rule") == "files":
        lists = folder / scenes["folder"]
        yield line(lists.is_dir(), f"{lists.name}/   the scenes of the images")


def instructions(card: Card, root: Path, status: Status) -> list[str]:
    """Lines for the user: how to get what is missing, the licence and whom to cite."""
    sentences = []
    if not status.complete:
        command, parts = data.fetch_command(card, root), missing_parts(card, root, status)
        sentences += [f"To get it:   {command}"] if parts else []
        for part in parts:
            owners = dict.fromkeys(source.owner for source in part.sources)
            sentences.append(f"   {part.to}   from {', or '.join(owners)}")
        folder = data.folder_of(card, root)
        page = card.raw.get("page", card.raw.get("source", "its authors' page"))
        layout = [str(card.raw[key]) for key in ("annotation", "images") if card.raw.get(key)]
        sentences += [
            "Or by hand:" if parts else "To get it:",
            f"   1. Download it from {page}",
            f"   2. {command} --from FILE   with the archive (or the folder) you have: what "
            "belongs to it is found in there",
            f"      or put it into {folder}: {' and '.join(layout)}",
            f"   3. {command.replace('fetch', 'check', 1)}   looks at every image",
            "Possible without the images: bench plan, bench run --dry-run.",
        ]
    about = {"Licence": card.raw.get("licence"), "Citation": card.raw.get("citation")}
    return sentences + [f"{head}: {text}" for head, text in about.items() if text]
