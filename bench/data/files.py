"""Find the file of each annotated image, by name or stem, below the image folder."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from bench import UserError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".ppm", ".pgm"}
)
FOREIGN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
"""Folders of macOS, Synology and Windows, which are skipped like all hidden files."""
SHOWN = 3
"""Number of missing images for which a similar file name is suggested."""


@dataclass(frozen=True)
class Found:
    """The file of each annotated image (None: missing), and what else the folder holds."""

    paths: list[Path | None]
    missing: list[str]
    extra: list[Path]
    notes: tuple[str, ...]
    hints: dict[str, str] = field(default_factory=dict)
    """For the first missing images, a likely cause or a similar file name."""

    def lacking(self) -> str:
        """The name of the first missing image, with its hint."""
        first = self.missing[0]
        hint = self.hints.get(first)
        return f"{first!r}" + (f" ({hint})" if hint else "")


def scan(folder: Path) -> list[Path]:
    """Every file with the extension of an image below a folder, each folder entered once.

    Links are followed, but a loop of links is not walked twice. Hidden files (`._a.jpg` of macOS)
    are passed over. Raises UserError for a folder that cannot be read.
    """
    files: list[Path] = []
    entered: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise UserError(
            f"the folder {error.filename or folder} cannot be read ({error.strerror}); "
            "check its permissions"
        )

    for where, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        state = Path(where).stat()
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        folders[:] = sorted(n for n in folders if n not in FOREIGN and not n.startswith("."))
        for name in sorted(names):
            path = Path(where, name)
            hidden = name.startswith(".")
            if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
                files.append(path)
    return files


def match(
    name: str,
    folder: Path,
    filenames: Sequence[str],
    other_stem: Callable[[str], str | None] = lambda filename: None,
) -> Found:
    """Find each annotated image by its name, else by its stem, else by `other_stem`.

    Images without a file are then compared ignoring letter case, Unicode form, full-width signs and
    leading zeros, and matched if exactly one file fits. Of several files with the name, the one in
    the annotated folder is taken. Raises UserError if this is ambiguous, or if two entries mean
    the same file.
    """
    files = scan(folder)
    by_name, by_stem = _grouped(files, lambda path: path.name), _grouped(files, lambda p: p.stem)
    taken: dict[Path, str] = {}
    numbered = 0
    for filename in filenames:
        pure = PurePosixPath(filename)
        fit = by_name.get(pure.name) or by_stem.get(pure.stem) or by_stem.get(pure.name)
        if not fit and (fit := by_stem.get(other_stem(filename) or "")):
            numbered += 1
        if fit:
            path = _chosen(name, filename, fit)
            if path in taken:
                raise UserError(
                    f"{name}: the annotated images {taken[path]!r} and {filename!r} are both "
                    f"{path}; use the published annotation"
                )
            taken[path] = filename
    file_of = {filename: path for path, filename in taken.items()}
    alike = _alike([f for f in filenames if f not in file_of], [p for p in files if p not in taken])
    claims = Counter(paths[0] for paths in alike.values())
    respelled = {f: p[0] for f, p in alike.items() if len(p) == 1 and claims[p[0]] == 1}
    file_of |= respelled
    notes = [*_extensions(file_of), *_spellings(respelled)]
    if numbered:
        notes.append(f"{numbered} images were found by number in their original class folders")
    missing = [filename for filename in filenames if filename not in file_of]
    used = set(file_of.values())
    extra = [path for path in files if path not in used]
    hints = {
        f: hint for f in missing[:SHOWN] if (hint := _hint(folder, f, alike.get(f, []), extra))
    }
    return Found([file_of.get(f) for f in filenames], missing, extra, tuple(notes), hints)


def _grouped(files: Sequence[Path], key: Callable[[Path], str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(key(path), []).append(path)
    return groups


def _alike(filenames: Sequence[str], free: Sequence[Path]) -> dict[str, list[Path]]:
    """The free files whose names differ only in spelling, by annotated name."""
    by_spelling = _grouped(free, lambda path: plain(path.stem)) if filenames else {}
    alike = {}
    for filename in filenames:
        pure = PurePosixPath(filename)
        paths = by_spelling.get(plain(pure.stem)) or by_spelling.get(plain(pure.name))
        if paths:
            alike[filename] = paths
    return alike


def plain(stem: str) -> str:
    """A stem in one spelling: lower case, one Unicode form, no full width or leading zeros."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", stem).casefold())
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _chosen(name: str, filename: str, fit: list[Path]) -> Path:
    parts = PurePosixPath(filename).parent.parts
    if len(fit) > 1 and parts:
        fit = [p for p in fit if p.parent.parts[-len(parts) :] == parts] or fit
    if len(fit) > 1:
        raise UserError(
            f"{name}: several images could be {filename!r}: {fit[0]} and {fit[1]}; keep one of them"
        )
    return fit[0]


def _extensions(file_of: dict[str, Path]) -> list[str]:
    """A note for each extension that differs from the annotated one."""
    counts = Counter((PurePosixPath(f).suffix, path.suffix) for f, path in file_of.items())
    return [
        f"{count:,} of {len(file_of):,} image files are {file}, where the annotation says "
        + (annotated or "no extension")
        for (annotated, file), count in counts.most_common()
        if annotated.lower() != file.lower()
    ]


def _spellings(respelled: dict[str, Path]) -> list[str]:
    """A note on files that were matched although their names are spelled differently."""
    if not respelled:
        return []
    name, path = next(iter(respelled.items()))
    return [
        f"{len(respelled):,} file names differ from the annotation in spelling (letter case, "
        f"Unicode form, leading zeros); the first: {name!r} is {path.name!r}"
    ]


def _hint(folder: Path, filename: str, alike: list[Path], extra: list[Path]) -> str | None:
    """A hint for a missing image: a broken link, or files with a similar name."""
    own = folder / filename
    if own.is_symlink() or (folder / own.name).is_symlink():
        return "it is a link that leads nowhere"
    if len(alike) > 1:
        return f"it could be {alike[0].name!r} or {alike[1].name!r}; rename one of them"
    if alike:
        return f"{alike[0].name!r} would fit, but another annotated name too"
    near = get_close_matches(own.stem, [path.stem for path in extra], n=1, cutoff=0.8)
    file = next((path.name for path in extra if near and path.stem == near[0]), None)
    return None if file is None else f"the nearest file is {file!r}"
