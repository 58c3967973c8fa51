"""Turn downloaded files into the annotation and the images that a card describes.

They are built in a temporary folder, checked by their content and only then renamed. So no existing
file is overwritten, and no half-finished file ever has a final name.
"""

import filecmp
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from bench import data
from bench.data import Card, annotations, files, scenes, twins
from bench.fetch import Fault, archive, pictures
from methods.base import Sample

NESTED = (".zip", ".rar", ".tar", ".tgz", ".gz")
"""Suffixes of archives that may be inside an archive."""


@dataclass(frozen=True)
class Job:
    """Build the file or folder `to` of a data set below `root`, in the folder `aside` first."""

    card: Card
    root: Path
    to: str
    aside: Path
    progress: Callable[[int, int], None]

    @property
    def place(self) -> Path:
        """Where the part goes."""
        return data.folder_of(self.card, self.root) / self.to


def put(job: Job, downloads: Sequence[Path], val: int | str | None = None) -> str:
    """Build a part from a source's files; returns a sentence on what was checked.

    `val`: see `sources.Source`. Raises Fault if they do not hold what the card describes.
    """
    shutil.rmtree(job.aside, ignore_errors=True)
    job.aside.mkdir(parents=True)
    try:
        if job.to == job.card.raw.get("annotation"):
            return _annotation(job, downloads, val)
        if job.to == job.card.raw.get("images"):
            return _images(job, downloads)
        return _scene_lists(job, downloads[0])
    finally:
        shutil.rmtree(job.aside, ignore_errors=True)


# The annotation.


def _annotation(job: Job, downloads: Sequence[Path], val: int | str | None) -> str:
    draft = job.aside / job.place.name
    converted = len(downloads) > 1 or downloads[0].suffix == ".parquet"
    if converted:  # to Karpathy's form, in which the cards expect it
        pattern = annotations.split_pattern(downloads[0].name) if len(downloads) == 1 else None
        reading = annotations.read("auto", downloads[0].parent, pattern)
        samples = [replace(s, filename=PurePosixPath(s.filename).name) for s in reading.samples]
        samples = _published_splits(job.card, samples, val)
        images = [
            {
                "filename": s.filename,
                "split": s.split,
                **({"label": s.scene} if s.scene else {}),
                "sentences": [{"raw": caption} for caption in s.captions],
            }
            for s in samples
        ]
        document = {"dataset": job.card.name, "images": images}
        draft.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    else:
        _copy_or_extract(downloads[0], draft)
    samples = annotations.read(job.card.kind, job.aside, draft.name).samples
    for fault in data.faults(job.card, samples):
        raise Fault(fault)
    job.place.parent.mkdir(parents=True, exist_ok=True)
    draft.rename(job.place)
    note = ", converted" if converted else ""
    return f"{len(samples):,} images with captions{note}"


def _copy_or_extract(download: Path, draft: Path) -> None:
    """Copy a file, or take the file with the name of `draft` out of an archive or folder."""
    if download.is_file() and download.suffix == draft.suffix:
        shutil.copyfile(download, draft)
        return
    into = draft.parent / "unpacked"
    extracted = archive.extract(download, into, lambda name: name.name == draft.name)
    if len(extracted) != 1:
        raise Fault(f"{download.name} holds {len(extracted) or 'no'} {draft.name}")
    extracted[0].rename(draft)


def _published_splits(card: Card, samples: list[Sample], val: int | str | None) -> list[Sample]:
    """Restore the published train and val where a copy of the annotation changed them."""
    if not card.counts.get("val"):
        return [replace(s, split="train") if s.split == "val" else s for s in samples]
    if val is None:
        return samples
    train = [s.filename for s in samples if s.split == "train"]
    if isinstance(val, int):
        chosen = set(train[-val:])
    else:
        numbers = set[str]()
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", val):
            numbers |= {str(number) for number in range(int(first), int(last or first) + 1)}
        chosen = {name for name in train if Path(name).stem in numbers}
    return [replace(s, split="val") if s.filename in chosen else s for s in samples]


# The images.


def _images(job: Job, downloads: Sequence[Path]) -> str:
    """Unpack the annotated images that are still missing, check each of them, and add them."""
    samples, _ = data.read(job.card, job.root)
    try:
        lacking = set(data.find_images(job.card, job.root, samples).missing)
    except data.Missing:
        lacking = {s.filename for s in samples}
    samples = [s for s in samples if s.filename in lacking]
    names = [s.filename for s in samples]
    original = partial(scenes.original_stem, job.card.raw.get("scenes", {}))
    wanted = [stem for name in names for stem in files.stems(name)]
    wanted += filter(None, map(original, names))
    stems = set(map(files.spelling, wanted))

    def is_wanted(name: PurePosixPath) -> bool:
        return name.suffix.lower() in files.SUFFIXES and files.spelling(name.stem) in stems

    for number, file in enumerate(downloads):
        archive.extract(file, job.aside / str(number), is_wanted)
    if not files.scan(job.aside):  # they may be in an archive inside the archive
        for number, file in enumerate(downloads):
            into = job.aside / f"archives{number}"
            inner = archive.extract(file, into, lambda name: name.suffix.lower() in NESTED)
            for place, path in enumerate(inner):
                archive.extract(path, job.aside / f"nested{number}-{place}", is_wanted)
    _drop_copies(job.aside, samples)
    matches = files.match(job.card.name, job.aside, names, original)
    if matches.missing:
        raise Fault(
            f"{len(matches.missing):,} of {len(samples):,} images are not in "
            f"{', '.join(file.name for file in downloads)}, the first is {matches.missing[0]!r}"
        )
    numbering = _check_pictures(job, samples, matches)
    paths = [path for path in matches.paths if path is not None]
    flat = len({path.name for path in paths}) == len(paths)  # then one folder takes them all
    for path in paths:
        # The first folder below `aside` only says from which archive the file came.
        inside = Path(path.name) if flat else Path(*path.relative_to(job.aside).parts[1:])
        (job.place / inside).parent.mkdir(parents=True, exist_ok=True)
        path.rename(job.place / inside)
    return f"{len(samples):,} images, every one decodes{numbering}"


def _drop_copies(folder: Path, samples: Sequence[Sample]) -> None:
    """Delete identical files of the same name; some archives hold an image in two folders."""
    names = [PurePosixPath(s.filename).name for s in samples]
    if len(set(names)) < len(names):
        return
    first: dict[str, Path] = {}
    for path in files.scan(folder):
        other = first.setdefault(path.name, path)
        if other != path and filecmp.cmp(path, other, shallow=False):
            path.unlink()


def _check_pictures(job: Job, samples: Sequence[Sample], matches: files.Matches) -> str:
    """Decode every image and compare numbered ones with the card's hashes; raises Fault."""
    decoded = twins.decode(job.card, samples, matches.paths, pictures.SIDE, job.progress)
    if decoded.undecodable:
        first = next(iter(decoded.undecodable.values()))
        raise Fault(f"{len(decoded.undecodable):,} images cannot be read, the first: {first}")
    wrong = pictures.misnumbered(job.card, samples, decoded.pixels, decoded.seen)
    if len(wrong) > pictures.SHARE * len(samples):
        raise Fault(
            f"{len(wrong):,} of {len(samples):,} pictures are not those that their numbers stand "
            f"for (the first is {wrong[0]!r}): this copy is numbered by another rule"
        )
    if wrong:
        return f"; other pictures than published: {', '.join(wrong)}"
    return ", numbered as published" if job.card.raw.get("pictures") else ""


# Anything else: the lists of scenes.


def _scene_lists(job: Job, download: Path) -> str:
    """Put the folder of the lists in place: `download` itself, or a folder or archive with it."""
    name, into = job.place.name, job.aside / "lists"
    is_the_folder = download.is_dir() and download.name == name
    if is_the_folder:
        into = into / name
    extracted = archive.extract(
        download, into, lambda path: is_the_folder or name in path.parts[:-1]
    )
    if not extracted:
        raise Fault(f"{download.name} holds no folder {name}")
    top = next(parent for parent in extracted[0].parents if parent.name == name)
    job.place.parent.mkdir(parents=True, exist_ok=True)
    top.rename(job.place)
    return f"{len(extracted)} files"
