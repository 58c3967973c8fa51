"""Which file belongs to which annotated image: by name, by stem, never outside the image folder."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench import UserError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".ppm"}
)


@dataclass(frozen=True)
class Found:
    """The file of each annotated image (None: missing), and what else the folder holds."""

    paths: list[Path | None]
    missing: list[str]
    extra: list[Path]
    notes: tuple[str, ...]


def scan(folder: Path) -> list[Path]:
    """Every file with the extension of an image below a folder, each folder entered once.

    Links are followed, but a loop of links is not walked twice. Raises UserError for a folder that
    cannot be read.
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
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if path.suffix.lower() in SUFFIXES and path.is_file():
                found.append(path)
    return found


def match(
    name: str,
    folder: Path,
    filenames: Sequence[str],
    other_stem: Callable[[str], str | None] = lambda filename: None,
) -> Found:
    """Find each annotated image by its name, else by its stem, else by `other_stem`.

    Where several files fit, the one whose folders are those of the annotation is taken. Raises
    UserError where it stays open which file is meant, or where two entries mean one file.
    """
    by_name: dict[str, list[Path]] = {}
    by_stem: dict[str, list[Path]] = {}
    files = scan(folder)
    for path in files:
        by_name.setdefault(path.name, []).append(path)
        by_stem.setdefault(path.stem, []).append(path)
    paths: list[Path | None] = []
    taken: dict[Path, str] = {}
    missing, renamed, original = [], set[str](), 0
    for filename in filenames:
        pure = PurePosixPath(filename)
        fit = by_name.get(pure.name) or by_stem.get(pure.stem)
        if not fit and (stem := other_stem(filename)):
            fit = by_stem.get(stem)
            original += bool(fit)
        if not fit:
            missing.append(filename)
            paths.append(None)
            continue
        path = _one(name, filename, fit)
        if path in taken:
            raise UserError(
                f"{name}: the annotated images {taken[path]!r} and {filename!r} are both {path}; "
                "use the published annotation"
            )
        taken[path] = filename
        paths.append(path)
        if path.suffix != pure.suffix:
            renamed.add(filename)
    notes = []
    if renamed:
        suffixes = ", ".join(
            sorted({p.suffix for p, f in zip(paths, filenames, strict=True) if p and f in renamed})
        )
        notes.append(f"{len(renamed)} images have another extension than annotated ({suffixes})")
    if original:
        notes.append(f"{original} images were found by number in their original class folders")
    extra = [path for path in files if path not in taken]
    return Found(paths, missing, extra, tuple(notes))


def _one(name: str, filename: str, fit: list[Path]) -> Path:
    parts = PurePosixPath(filename).parent.parts
    if len(fit) > 1 and parts:
        fit = [p for p in fit if p.parent.parts[-len(parts) :] == parts] or fit
    if len(fit) > 1:
        raise UserError(
            f"{name}: several images could be {filename!r}: {fit[0]} and {fit[1]}; keep one of them"
        )
    return fit[0]
