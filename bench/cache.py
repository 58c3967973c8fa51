"""The image cache: every image decoded and resized once, in one memory map of bytes."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench import imagefile, synthetic
from bench.data import Dataset, short_hash
from bench.imagefile import Scale

Pixels = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]


def cache_folder() -> Path:
    """Where decoded images are kept: $BENCH_CACHE, else the user's cache folder."""
    base = os.environ.get("BENCH_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cmer-bench"


def decode(path: Path, size: int, scale: Scale | None = None) -> Pixels:
    """Decode, scale the short side to `size` (bicubic) and crop the centre, as CLIP evaluates.

    `(size, size, 3)`; `scale` is the card's, for wide images (see `bench.imagefile.read`). Raises
    UserError where the file cannot be read as an image.
    """
    from PIL import Image

    image = imagefile.read(path, scale)
    width, height = image.size
    ratio = size / min(width, height)
    shape = (max(size, round(width * ratio)), max(size, round(height * ratio)))
    image = image.resize(shape, Image.Resampling.BICUBIC)
    left, top = (shape[0] - size) // 2, (shape[1] - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def picture(dataset: Dataset, row: int, size: int) -> Pixels:
    """One image at any size `(size, size, 3)`, cut as the model sees it; for showing."""
    path, scale = dataset.paths[row], dataset.card.scale
    return synthetic.render(row, size) if path is None else decode(path, size, scale)


def images(dataset: Dataset, size: int, progress: Progress | None = None) -> Pixels:
    """All images `(S, size, size, 3)` uint8 as a read-only memory map, built on first use.

    The map's name carries the card, the size and the state of every image file (name, bytes,
    modification time), so that a changed file is never served from an old map.
    """
    state = [
        f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" if p else s.filename
        for p, s in zip(dataset.paths, dataset.samples, strict=True)
    ]
    recipe = synthetic_version() if dataset.card.kind == "synthetic" else "1"
    if dataset.card.scale is not None:
        recipe += f" scale={dataset.card.scale}"
    key = short_hash("\n".join([recipe, *state]))
    path = cache_folder() / f"{dataset.card.name}-{size}-{key}.npy"
    if not path.exists():
        _build_cache(dataset, size, path, progress)
    return np.asarray(np.load(path, mmap_mode="r"))


def synthetic_version() -> str:
    """Hash of the generator's source, so that a changed drawing is drawn again."""
    parts = sorted(Path(synthetic.__file__).parent.glob("*.py"))
    return short_hash("\n".join(part.read_text(encoding="utf-8") for part in parts))


def _build_cache(dataset: Dataset, size: int, path: Path, progress: Progress | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.partial")
    shape = (len(dataset.samples), size, size, 3)
    try:
        out = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
        if dataset.card.kind == "synthetic":
            work: Callable[[int], Pixels] = partial(synthetic.render, size=size)
        else:
            paths = [p for p in dataset.paths if p is not None]
            work = lambda i: decode(paths[i], size, dataset.card.scale)  # noqa: E731
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for i, image in enumerate(pool.map(work, range(shape[0]), chunksize=16)):
                out[i] = image
                if progress is not None and i % 64 == 63:
                    progress(i + 1, shape[0])
        out.flush()
        del out
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
