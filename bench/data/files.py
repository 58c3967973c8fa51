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
    found: list[Path] = []
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
                found.append(path)
    return found


def match(
    name: str,
    folder: Path,
    filenames: Sequence[str],
    other_stem: Callable[[str], str | None] = lambda filename: None,
) -> Found:
    """Find each annotated image by its name, else by its stem, else by `other_stem`.

    Images without a file are then compared ignoring letter case, Unicode form, full-width signs and
    leading zeros, and matched if exactly one file fits. Of several files with the name, the one in
    the annotated folder is taken. Raises UserError where this is ambiguous, or where two entries
    mean the same file.
    """
    files = scan(folder)
    search = _Search(files)
    paths: list[Path | None] = [None] * len(filenames)
    taken: dict[Path, str] = {}
    original = 0
    for row, filename in enumerate(filenames):
        fit = search.exact(filename)
        if not fit and (stem := other_stem(filename)):
            fit = search.by_stem.get(stem, [])
            original += bool(fit)
        if not fit:
            continue
        path = _one(name, filename, fit)
        if path in taken:
            raise UserError(
                f"{name}: the annotated images {taken[path]!r} and {filename!r} are both {path}; "
                "use the published annotation"
            )
        taken[path] = filename
        paths[row] = path
    left = [row for row, path in enumerate(paths) if path is None]
    alike, sure = search.alike([filenames[row] for row in left], set(taken))
    for row in left:
        if filenames[row] in sure:
            path = alike[filenames[row]][0]
            paths[row], taken[path] = path, filenames[row]
    pairs = [(f, p) for f, p in zip(filenames, paths, strict=True) if p is not None]
    missing = [f for f, p in zip(filenames, paths, strict=True) if p is None]
    notes = [*_extensions(pairs), *_spellings(pairs, {filenames[row] for row in left})]
    if original:
        notes.append(f"{original} images were found by number in their original class folders")
    extra = [path for path in files if path not in taken]
    hints = {f: _hint(folder, f, alike.get(f, []), extra) for f in missing[:SHOWN]}
    return Found(paths, missing, extra, tuple(notes), {k: v for k, v in hints.items() if v})


class _Search:
    """The files of a folder by their names."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.by_name: dict[str, list[Path]] = {}
        self.by_stem: dict[str, list[Path]] = {}
        for path in files:
            self.by_name.setdefault(path.name, []).append(path)
            self.by_stem.setdefault(path.stem, []).append(path)

    def exact(self, filename: str) -> list[Path]:
        """Files of this name, else of the same stem, else those whose stem is this name."""
        pure = PurePosixPath(filename)
        ways = ((self.by_name, pure.name), (self.by_stem, pure.stem), (self.by_stem, pure.name))
        return next((found[key] for found, key in ways if key in found), [])

    def alike(
        self, filenames: list[str], taken: set[Path]
    ) -> tuple[dict[str, list[Path]], set[str]]:
        """The free files whose names differ only in spelling, by annotated name.

        Also returns the unambiguous names: those that fit one file which fits no other name.
        """
        free: dict[str, list[Path]] = {}
        for path in self.files if filenames else []:
            if path not in taken:
                free.setdefault(plain(path.stem), []).append(path)
        keys: dict[str, str] = {}
        for filename in filenames:
            pure = PurePosixPath(filename)
            stem, whole = plain(pure.stem), plain(pure.name)
            keys[filename] = stem if stem in free else whole
        often = Counter(keys.values())
        found = {filename: free[key] for filename, key in keys.items() if key in free}
        sure = {f for f, paths in found.items() if len(paths) == 1 and often[keys[f]] == 1}
        return found, sure


def plain(stem: str) -> str:
    """A stem in one spelling: lower case, one Unicode form, no full width or leading zeros."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", stem).casefold())
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _one(name: str, filename: str, fit: list[Path]) -> Path:
    parts = PurePosixPath(filename).parent.parts
    if len(fit) > 1 and parts:
        fit = [p for p in fit if p.parent.parts[-len(parts) :] == parts] or fit
    if len(fit) > 1:
        raise UserError(
            f"{name}: several images could be {filename!r}: {fit[0]} and {fit[1]}; keep one of them"
        )
    return fit[0]


def _extensions(pairs: Sequence[tuple[str, Path]]) -> list[str]:
    """A note for each extension that differs from the annotated one."""
    counts = Counter((PurePosixPath(f).suffix, path.suffix) for f, path in pairs)
    return [
        f"{count:,} of {len(pairs):,} image files are {file}, where the annotation says "
        + (annotated or "no extension")
        for (annotated, file), count in counts.most_common()
        if annotated.lower() != file.lower()
    ]


def _spellings(pairs: Sequence[tuple[str, Path]], respelled: set[str]) -> list[str]:
    """A note on files that were matched although their names are spelled differently."""
    odd = [(f, path) for f, path in pairs if f in respelled]
    if not odd:
        return []
    name, path = odd[0]
    return [
        f"{len(odd):,} file names differ from the annotation in spelling (letter case, Unicode "
        f"form, leading zeros); the first: {name!r} is {path.name!r}"
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
