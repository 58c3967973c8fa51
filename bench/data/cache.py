"""The image cache: every image decoded and resized once, in one memory map of bytes."""

import inspect
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from bench import UserError, synthetic
from bench.data import Dataset, filehash, imagefile, pixelmap, resize, short_hash, wide
from bench.data.imagefile import Scale
from bench.data.pixelmap import Damaged, Layout, Pixels, Progress, Say
from bench.data.resize import CLIP, Resize, fit

__all__ = ["Pixels", "cache_folder", "decode", "fit", "images", "picture", "place"]

ATTEMPTS = 3


def cache_folder() -> Path:
    """Where decoded images are kept: $BENCH_CACHE, else the user's cache folder.

    A user without a home folder, as in some containers, has one of their own among the temporary
    files.
    """
    base = os.environ.get("BENCH_CACHE")
    if base:
        return Path(base)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "cmer-bench"
    try:
        return Path.home() / ".cache" / "cmer-bench"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"cmer-bench-{os.getuid()}"


def decode(path: Path, size: int, scale: Scale | None = None, how: Resize = CLIP) -> Pixels:
    """Read an image file and resize it to `(size, size, 3)`, as the backbone evaluates.

    `scale` is the card's, for wide images (see `bench.data.imagefile.read`). Raises UserError where
    the file cannot be read as an image.
    """
    return fit(imagefile.read(path, scale), size, how)


def picture(dataset: Dataset, row: int, size: int, how: Resize = CLIP) -> Pixels:
    """One image at any size `(size, size, 3)`, cut as the model sees it; for showing."""
    path, scale = dataset.paths[row], dataset.card.scale
    return synthetic.render(row, size) if path is None else decode(path, size, scale, how)


def images(
    dataset: Dataset,
    size: int,
    how: Resize = CLIP,
    progress: Progress = lambda done, total: None,
    say: Say = lambda text: None,
) -> Pixels:
    """All images `(S, size, size, 3)` uint8 as a read-only memory map, built on first use.

    Every checksum is compared at each opening; blocks that are damaged are decoded again. Of two
    processes that want the same map one builds and the other waits; a builder that dies is taken
    over from where it stopped. `say` gets sentences for the user. Raises UserError where an image
    cannot be read or the map cannot be written.
    """
    layout, path = Layout(len(dataset.samples), size), place(dataset, size, how)
    for _ in range(ATTEMPTS):
        try:
            return pixelmap.read(path, layout)
        except FileNotFoundError:
            pass
        except Damaged as error:
            say(f"{path} is damaged: {error}; what is bad is decoded again")
        except OSError as error:
            raise _unwritable(path.parent, error) from None
        _build(dataset, path, layout, progress, say, how)
    raise UserError(
        f"{path.parent} does not keep what is written there; set $BENCH_CACHE to a sound disk"
    )


def place(dataset: Dataset, size: int, how: Resize = CLIP) -> Path:
    """The file of a data set's pixels, there or not.

    Its name carries the card, the size and a hash of what the pixels follow from: the name and the
    content of every image in the card's order, the scale of wide images, the way of resizing, the
    code that decodes and the version of Pillow. A changed file is never served from an old map, and
    a copied or touched one is not decoded again. A data set's files are read for it once (see
    `bench.data.filehash`).
    """
    card, folder = dataset.card, cache_folder()
    names = [sample.filename for sample in dataset.samples]
    files = [path for path in dataset.paths if path is not None]
    try:
        hashes = filehash.contents(files, memo(card.name, dataset.folder)) if files else []
    except OSError as error:
        raise UserError(f"the image {error.filename} cannot be read ({error.strerror})") from None
    resized = [] if how == CLIP or not files else [str(how)]  # what is drawn is drawn square
    parts = [_recipe(card.kind), str(card.scale), *resized, *names, *hashes]
    key = short_hash("\n".join(parts))
    return folder / f"{card.name}-{size}-{key}.npy"


def memo(card: str, folder: Path) -> Path:
    """Where the hashes of the files in a data set's folder are remembered."""
    return cache_folder() / f"{card}-{short_hash(str(folder.resolve()))}.hashes.json"


def _recipe(kind: str) -> str:
    """Hash of the code that makes the pixels, so that after a change of it they are made again."""
    import PIL

    if kind == "synthetic":
        parts = sorted(Path(synthetic.__file__).parent.glob("*.py"))
        code = "".join(part.read_text(encoding="utf-8") for part in parts)
    else:
        code = "".join(inspect.getsource(part) for part in (imagefile, wide, decode, resize))
    return short_hash(f"{PIL.__version__} {pixelmap.BLOCK} {code}")


def _build(
    dataset: Dataset, path: Path, layout: Layout, progress: Progress, say: Say, how: Resize
) -> None:
    name = dataset.card.name

    def make(rows: range) -> Pixels:
        return np.stack([picture(dataset, row, layout.size, how) for row in rows])

    def begin(done: int) -> None:
        _demand_room(path, layout)
        say(
            f"decoding {layout.count:,} images of {name} at {layout.size} px into {path.parent}: "
            + mebibytes(layout.bytes)
            + (f", {done:,} images are there already" if done else "")
        )

    def check() -> None:
        if place(dataset, layout.size, how) != path:
            raise UserError(f"images of {name} changed while they were read; run it again")

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixelmap.build(path, layout, make, begin, check, progress, say)
    except OSError as error:
        if not path.exists():  # else, on a file system without locks, another builder was first
            raise _unwritable(path.parent, error) from None


def _demand_room(path: Path, layout: Layout) -> None:
    """Raise UserError where the map does not fit on its disk."""
    there, unfinished = 0, pixelmap.partial(path)
    if unfinished.exists():
        there = getattr(unfinished.stat(), "st_blocks", 0) * 512
    free, wanted = shutil.disk_usage(path.parent).free, layout.bytes - there
    if free < wanted:
        raise UserError(
            f"the decoded images take {mebibytes(wanted)} and {path.parent} has {mebibytes(free)} "
            "free; make room (`bench data cache --clear`) or set $BENCH_CACHE to another disk"
        )


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"the image cache in {folder} cannot be used ({error.strerror or error}); "
        "set $BENCH_CACHE to a folder that can be written and has room"
    )


def mebibytes(number: int) -> str:
    """`12.3 MiB`."""
    return f"{number / 2**20:,.1f} MiB"
