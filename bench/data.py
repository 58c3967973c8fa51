"""Card -> samples -> image cache and token table -> batches on the device.

Legend: S samples, B batch, C captions per image, L text length.
"""

import hashlib
import json
import os
import queue
import random
import re
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bench import UserError, synthetic
from methods.base import Batch, Sample

SPLITS = ("train", "val", "test")
Progress = Callable[[int, int], None]
Pixels = npt.NDArray[np.uint8]


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


# Image cache.


def cache_folder() -> Path:
    """Where decoded images are kept: $BENCH_CACHE, else the user's cache folder."""
    base = os.environ.get("BENCH_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cmer-bench"


def _decode(path: Path, size: int) -> Pixels:
    """Decode, scale the short side to `size` (bicubic) and crop the centre, as CLIP evaluates."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"the image {path} cannot be read ({error}); fetch it again") from None
    width, height = image.size
    scale = size / min(width, height)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    image = image.resize(shape, Image.Resampling.BICUBIC)
    left, top = (shape[0] - size) // 2, (shape[1] - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


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
    key = short_hash("\n".join([recipe, *state]))
    path = cache_folder() / f"{dataset.card.name}-{size}-{key}.npy"
    if not path.exists():
        _build_cache(dataset, size, path, progress)
    return np.asarray(np.load(path, mmap_mode="r"))


def synthetic_version() -> str:
    """Hash of the generator's source, so that a changed drawing is drawn again."""
    return short_hash(Path(synthetic.__file__).read_text(encoding="utf-8"))


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
            work = lambda i: _decode(paths[i], size)  # noqa: E731
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


# Tokens.


class TokenTable:
    """Every distinct caption tokenised once, trimmed to the longest one where that is exact.

    `pad_id` is the token after the end of a caption; None where trimming is not exact.
    """

    def __init__(self, tokenizer: Callable[[list[str]], Tensor], pad_id: int | None) -> None:
        self.tokenizer = tokenizer
        self.pad_id = pad_id
        self.length = 0
        self._rows: dict[str, Tensor] = {}

    def add(self, captions: Sequence[str]) -> None:
        """Tokenise the captions not yet known."""
        fresh = list(dict.fromkeys(c for c in captions if c not in self._rows))
        if not fresh:
            return
        tokens = self.tokenizer(fresh)
        used = tokens.shape[1]
        if self.pad_id is not None:
            used = int((tokens != self.pad_id).any(dim=0).sum())
        self.length = max(self.length, used)
        self._rows.update(zip(fresh, tokens, strict=True))

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Token ids `(len(captions), L)`, L the longest caption known so far."""
        self.add(captions)
        return torch.stack([self._rows[c] for c in captions])[:, : self.length]


def spoken_form(caption: str) -> str:
    """A caption lower-cased and without punctuation: what counts as the same sentence."""
    return " ".join(re.sub(r"[^\w\s]", " ", caption.lower()).split())


# Training batches.


@dataclass
class TrainSplit:
    """The training split in arrays: what batches are made of."""

    pixels: Pixels
    rows: list[int]
    samples: list[Sample]
    captions: list[tuple[str, ...]]
    caption_ids: list[tuple[int, ...]]
    caption_sets: Tensor
    scenes: Tensor
    mean: Sequence[float]
    std: Sequence[float]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        pixels: Pixels,
        mean: Sequence[float],
        std: Sequence[float],
        splits: Sequence[str] = ("train",),
    ) -> "TrainSplit":
        """Collect the given splits; blank captions are dropped, an image without any too."""
        rows, samples, captions = [], [], []
        for row, sample in enumerate(dataset.samples):
            real = tuple(c for c in sample.captions if spoken_form(c))
            if sample.split in splits and real:
                rows.append(row)
                samples.append(sample)
                captions.append(real)
        ids: dict[str, int] = {}
        caption_ids = [
            tuple(ids.setdefault(spoken_form(c), len(ids)) for c in five) for five in captions
        ]
        sets = [sorted(set(five)) for five in caption_ids]
        width = max((len(s) for s in sets), default=1)
        padded = torch.tensor([s + [-1] * (width - len(s)) for s in sets])
        names = {name: i for i, name in enumerate(dataset.scenes)}
        scenes = torch.tensor([names.get(s.scene or "", -1) for s in samples])
        return cls(pixels, rows, samples, captions, caption_ids, padded, scenes, mean, std)

    def epoch(self, batch_size: int, seed: int, epoch: int) -> Iterator[list[tuple[int, int]]]:
        """Batches of (image, caption) over all pairs, no image twice in a batch.

        An epoch is as many rounds as the richest image has captions; each round passes every image
        once with another of its captions, in a new order; a round's last short batch is left out.
        """
        rng = random.Random(f"{seed}/{epoch}/order")
        rounds = max(len(five) for five in self.captions)
        chosen = [rng.sample(range(len(five)), len(five)) for five in self.captions]
        batch_size = min(batch_size, len(self.rows))
        for turn in range(rounds):
            order = rng.sample(range(len(self.rows)), len(self.rows))
            for start in range(0, len(order) - batch_size + 1, batch_size):
                batch = order[start : start + batch_size]
                yield [(i, chosen[i][turn % len(chosen[i])]) for i in batch]

    def batches_per_epoch(self, batch_size: int) -> int:
        """Steps in one epoch."""
        rounds = max(len(five) for five in self.captions)
        return rounds * (len(self.rows) // min(batch_size, len(self.rows)))


def crop_and_flip(
    images: Tensor, generator: torch.Generator, scale: tuple[float, float] = (0.5, 1.0)
) -> Tensor:
    """Random resized crop (area share in `scale`, aspect 3/4..4/3) and both flips, batched.

    `(B, 3, H, W)` float -> the same shape, bilinear. The random numbers come from a CPU generator,
    so that one seed gives one augmentation on every device.
    """
    n = len(images)
    u = torch.rand(6, n, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * u[0]
    aspect = torch.exp((2 * u[1] - 1) * torch.log(torch.tensor(4 / 3)))
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = width * torch.where(u[4] < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = height * torch.where(u[5] < 0.5, -1.0, 1.0)
    theta[:, 0, 2] = (2 * u[2] - 1) * (1 - width)
    theta[:, 1, 2] = (2 * u[3] - 1) * (1 - height)
    if images.device.type == "cuda":
        theta = theta.pin_memory().to(images.device, non_blocking=True)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 `(B, H, W, 3)` -> float `(B, 3, H, W)` with the backbone's mean and deviation."""
    shape = (1, 3, 1, 1)
    m = torch.tensor(mean, device=pixels.device).view(shape)
    s = torch.tensor(std, device=pixels.device).view(shape)
    return (pixels.permute(0, 3, 1, 2).float() / 255 - m) / s


class Loader:
    """Batches on the device, the next ones gathered in a thread while the present one trains."""

    def __init__(
        self,
        split: TrainSplit,
        table: TokenTable,
        caption: Callable[[str, Sample, random.Random], str],
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        augment: bool = True,
        ahead: int = 3,
    ) -> None:
        self.split, self.table, self.caption = split, table, caption
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.augment, self.ahead = augment, ahead

    def gather(self, pairs: list[tuple[int, int]], epoch: int, number: int) -> dict[str, Tensor]:
        """One batch on the host: pixels, texts, ids."""
        split = self.split
        rng = random.Random(f"{self.seed}/{epoch}/{number}/caption")
        images = torch.tensor([i for i, _ in pairs])
        pixels = torch.from_numpy(split.pixels[np.asarray([split.rows[i] for i, _ in pairs])])
        words = [self.caption(split.captions[i][c], split.samples[i], rng) for i, c in pairs]
        host = {
            "pixels": pixels,
            "texts": self.table(words),
            "image_ids": images,
            "caption_ids": torch.tensor([split.caption_ids[i][c] for i, c in pairs]),
            "caption_sets": split.caption_sets[images],
            "scenes": split.scenes[images],
        }
        if self.device.type == "cuda":
            host = {name: tensor.pin_memory() for name, tensor in host.items()}
        return host

    def place(self, host: dict[str, Tensor], epoch: int, number: int) -> Batch:
        """Move a gathered batch to the device and augment it there."""
        moved = {k: v.to(self.device, non_blocking=True) for k, v in host.items()}
        images = normalise(moved.pop("pixels"), self.split.mean, self.split.std)
        if self.augment:
            seed = int(short_hash(f"{self.seed}/{epoch}/{number}/crop"), 16) % 2**63
            images = crop_and_flip(images, torch.Generator().manual_seed(seed))
        return Batch(images=images, **moved)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, in an order that only seed and epoch decide."""
        ready: queue.Queue[Any] = queue.Queue(maxsize=self.ahead)
        stop = threading.Event()

        def put(item: Any) -> bool:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def work() -> None:
            try:
                batches = self.split.epoch(self.batch_size, self.seed, epoch)
                for number, pairs in enumerate(batches):
                    if not put((number, self.gather(pairs, epoch, number))):
                        return
                put(None)
            except BaseException as error:  # handed to the training thread, raised there
                put(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                number, host = item
                yield self.place(host, epoch, number)
        finally:
            stop.set()
            thread.join()
