"""Which parts of a data set are present (no image is opened), and how to get the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether trials can run on it."""
        return self.annotated is not None and not self.missing and not self.faults


def look(card: Card, root: Path) -> Status:
    """Read the annotation, and find the images by their names."""
    total = sum(card.counts.values())
    try:
        samples, notes = data.read(card, root)
    except data.Missing:
        return Status(None, total)
    except UserError as error:
        return Status(None, total, (str(error),))
    faults = tuple(data.faults(card, samples))
    try:
        found = data.find_images(card, root, samples)
    except data.Missing:
        return Status(len(samples), len(samples), faults, notes)
    except UserError as error:
        return Status(len(samples), len(samples), (*faults, str(error)), notes)
    return Status(len(samples), len(found.missing), faults, (*notes, *found.notes))


def lacking(card: Card, root: Path, status: Status) -> list[Part]:
    """The parts that are missing or incomplete, as far as the card has sources for them."""
    folder = data.folder_of(card, root)
    return [
        part
        for part in parts(card)
        if not (folder / part.to).exists() or (part.to == card.raw.get("images") and status.missing)
    ]


def lines(card: Card, root: Path, status: Status) -> list[str]:
    """Lines for the user: what is present and what is missing."""
    folder = data.folder_of(card, root)
    counts = " · ".join(f"{card.counts[s]:,} {s}" for s in SPLITS if card.counts.get(s))
    share = f" · no val ({card.raw.get('val_share', 0.1):.0%} of train serves)"
    without = "" if card.counts.get("val") or not card.counts.get("train") else share
    state = "complete" if status.complete else "NOT COMPLETE"
    said = [f"{card.title}   {counts}{without}   {state} in {folder}"]
    if card.kind != "synthetic":
        total = status.annotated or sum(card.counts.values())
        here = total - status.missing
        pinned = "" if data.OTHER_TEXTS in status.notes else ", captions as published"
        text = (pinned if card.annotation_hash else "") if status.annotated else ", missing"
        said.append(f"   {_box(status.annotated)} {card.raw.get('annotation', 'annotation')}{text}")
        many = "all there" if not status.missing else f"{here:,} there" if here else "none there"
        said.append(
            f"   {_box(not status.missing)} {card.raw['images']}/   {total:,} images, {many}"
        )
        scenes = card.raw.get("scenes", {})
        if scenes.get("rule") == "files":
            lists = folder / str(scenes.get("folder"))
            said.append(f"   {_box(lists.is_dir())} {lists.name}/   the scenes of the images")
    said += [f"   {fault}" for fault in status.faults]
    return [*said, *(f"   {note}" for note in status.notes)]


def _box(there: object) -> str:
    return "[x]" if there else "[ ]"


def how(card: Card, root: Path, status: Status) -> list[str]:
    """Lines for the user: how to get what is missing, the licence and whom to cite."""
    said = []
    command = data.fetch_command(card, root)
    if not status.complete:
        found = lacking(card, root, status)
        if found:
            said.append(f"To get it:   {command}")
            for part in found:
                owners = dict.fromkeys(source.owner for source in part.sources)
                said.append(f"   {part.to}   from {', or '.join(owners)}")
        said += by_hand(card, root, command, "Or by hand:" if found else "To get it:")
        said.append("Possible without the images: bench plan, bench run --dry-run.")
    said += [
        f"{key}: {card.raw[key.lower()]}" for key in ("Licence", "Citation") if _says(card, key)
    ]
    return said


def by_hand(card: Card, root: Path, command: str, head: str) -> list[str]:
    """The steps for a download in a browser."""
    folder = data.folder_of(card, root)
    page = card.raw.get("page", card.raw.get("source", "its authors' page"))
    layout = [str(card.raw[key]) for key in ("annotation", "images") if card.raw.get(key)]
    return [
        head,
        f"   1. Download it from {page}",
        f"   2. {command} --from FILE   with the archive (or the folder) you have: what belongs to "
        "it is found in there",
        f"      or put it into {folder}: {' and '.join(layout)}",
        f"   3. {command.replace('fetch', 'check', 1)}   looks at every image",
    ]


def _says(card: Card, key: str) -> bool:
    return bool(card.raw.get(key.lower()))


def owners(found: Sequence[Part]) -> str:
    """Whose data it is: the first source of each part."""
    return ", ".join(dict.fromkeys(part.sources[0].owner for part in found))
