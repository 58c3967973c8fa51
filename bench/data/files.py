"""Find the file of each annotated image, by name or stem, below the image folder."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bench import UserError
from bench.spec import nearest

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".ppm", ".pgm"}
)
FOREIGN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
"""Folders of macOS, Synology and Windows, which are skipped like all hidden files."""


@dataclass(frozen=True)
class Matches:
    """The file of each annotated image (None: missing), and what else the folder holds."""

    paths: list[Path | None]
    missing: list[str] = field(default_factory=list)
    extra: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def first_missing(self) -> str:
        """The name of the first missing image, and of a file that may be meant."""
        name = self.missing[0]
        return f"{name!r}{nearest(PurePosixPath(name).name, [path.name for path in self.extra])}"


def scan(folder: Path) -> list[Path]:
    """Every file with the extension of an image below a folder, each folder entered once.

    Links are followed, but a loop of links is not walked twice. Hidden files (`._a.jpg` of macOS)
    are passed over. Raises UserError for a folder that cannot be read.
    """
    files: list[Path] = []
    entered: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        where = error.filename or folder
        raise UserError(f"{where} cannot be read ({error.strerror}); check its permissions")

    for where, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = Path(where).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(n for n in folders if n not in FOREIGN and not n.startswith("."))
        paths = [Path(where, name) for name in sorted(names) if not name.startswith(".")]
        files += [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    return files


def match(
    name: str,
    folder: Path,
    filenames: Sequence[str],
    other_stem: Callable[[str], str | None] = lambda filename: None,
) -> Matches:
    """Find each annotated image by its name, else by its stem, else by `other_stem`.

    For images that are still missing, names of the remaining files may also differ in letter case,
    Unicode form, full-width signs or leading zeros. If several files have the name, the one in the
    annotated folder is taken. Raises UserError if this is ambiguous, or if two entries mean the
    same file.
    """
    files = scan(folder)
    by_name, by_stem = _grouped(files, lambda path: path.name), _grouped(files, lambda p: p.stem)
    file_of: dict[str, Path] = {}
    entry_of: dict[Path, str] = {}

    def take(filename: str, paths: list[Path]) -> None:
        path = _chosen(name, filename, paths)
        if other := entry_of.get(path):
            both = f"{other!r} and {filename!r}"
            raise UserError(f"{name}: {both} are both {path}; correct the annotation")
        file_of[filename], entry_of[path] = path, filename

    unmatched, numbered = [], 0
    for filename in filenames:
        exact, (first, second) = by_name.get(PurePosixPath(filename).name), stems(filename)
        if paths := exact or by_stem.get(first) or by_stem.get(second):
            take(filename, paths)
        elif paths := by_stem.get(other_stem(filename) or ""):
            take(filename, paths)
            numbered += 1
        else:
            unmatched.append(filename)
    # Only the files that are left may be spelled otherwise, so that an exact name always wins.
    free = [path for path in files if path not in entry_of] if unmatched else []
    by_spelling = _grouped(free, lambda path: spelling(path.stem))
    respelled = []
    for filename in unmatched:
        first, second = map(spelling, stems(filename))
        if paths := by_spelling.get(first) or by_spelling.get(second):
            take(filename, paths)
            respelled.append(filename)
    notes = _extensions(file_of)
    if respelled:
        notes.append(
            f"{len(respelled):,} file names differ from the annotation in spelling (letter case, "
            "Unicode form, leading zeros); the first: "
            f"{respelled[0]!r} is {file_of[respelled[0]].name!r}"
        )
    if numbered:
        notes.append(f"{numbered} images were found by number in their original class folders")
    missing = [filename for filename in filenames if filename not in file_of]
    extra = [path for path in files if path not in entry_of]
    return Matches([file_of.get(f) for f in filenames], missing, extra, notes)


def stems(filename: str) -> tuple[str, str]:
    """The stems that the file of an annotated name may have, the likelier one first.

    What follows the last dot is an extension or, as in `tile_7.25`, a part of the name.
    """
    pure = PurePosixPath(filename)
    is_extension = pure.suffix.lower() in SUFFIXES
    return (pure.stem, pure.name) if is_extension else (pure.name, pure.stem)


def _chosen(name: str, filename: str, paths: list[Path]) -> Path:
    """Of several files with an annotated name, the one in the folder that the annotation states."""
    parts = PurePosixPath(filename).parent.parts
    if len(paths) > 1 and parts:
        paths = [p for p in paths if p.parent.parts[-len(parts) :] == parts] or paths
    if len(paths) > 1:
        both = f"{paths[0]}, {paths[1]}"
        remedy = "keep one, or write its folder before its name in the annotation"
        raise UserError(f"{name}: several images could be {filename!r}: {both}; {remedy}")
    return paths[0]


def _grouped(files: Sequence[Path], key: Callable[[Path], str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(key(path), []).append(path)
    return groups


def spelling(stem: str) -> str:
    """A stem in one spelling: lower case, one Unicode form, no full width or leading zeros."""
    # Twice, because the lower case of a letter may again be written in two ways.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", stem).casefold())
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _extensions(file_of: dict[str, Path]) -> list[str]:
    """A note for each extension that differs from the annotated one."""
    names = ((PurePosixPath(filename), path) for filename, path in file_of.items())
    # `tile_7.25` is the stem of `tile_7.25.tif`, so it has no extension.
    counts = Counter(("" if p.name == path.stem else p.suffix, path.suffix) for p, path in names)
    return [
        f"{count:,} of {len(file_of):,} image files are {file}, where the annotation says "
        + (annotated or "no extension")
        for (annotated, file), count in counts.most_common()
        if annotated.lower() != file.lower()
    ]
