"""Speed of the training loop, for every method: against its step alone, and against a plain loop.

    python benchmarks/loader.py --out benchmarks/loader.json    # some 7 minutes on 2 idle cores

All have the same method, data, batch and optimiser step. The step alone trains on one batch that is
on the device already, so the difference is what loading costs. The plain loop (PIL, torchvision,
DataLoader) opens, crops, flips and tokenises every sample in two worker processes; ours reads the
image cache. Rounds alternate between the three; figures are medians over rounds, ratios medians of
each round's. On a CPU the loader shares the cores with the step. `synthetic` is first written as
PNG files of 256 px.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from bench import backbone, data, record
from bench.data import cache
from bench.measure import machine
from bench.recipe import Recipe
from bench.spec import Call, parse_calls, resolve
from bench.training import batches
from bench.training.trainer import Trainer
from bench.workbench import Workbench
from methods import registry
from methods.base import Batch, NotApplicable


class Plain(torch.utils.data.Dataset[Any]):
    """What is usually written: one file opened, augmented and one caption tokenised per item."""

    def __init__(self, split: batches.TrainSplit, paths: list[Path], base: backbone.Backbone):
        self.paths, self.tokenizer = paths, base.tokenizer
        self.captions, self.caption_ids = split.captions, split.caption_ids
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(base.image_size, (0.5, 1.0), interpolation=3),
                transforms.RandomHorizontalFlip(),
                transforms.RandomVerticalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(base.preprocess.mean, base.preprocess.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> tuple[Any, ...]:
        chosen = random.randrange(len(self.captions[item]))
        with Image.open(self.paths[item]) as opened:
            image = self.transform(opened.convert("RGB"))
        text = self.tokenizer([self.captions[item][chosen]])[0]
        return image, text, item, self.caption_ids[item][chosen]


def plain_batches(
    dataset: Plain, split: batches.TrainSplit, size: int, length: int, device: torch.device
) -> Generator[Batch]:
    """Batches of the plain loop, for ever; texts as short as ours, so that the step is the same.

    The workers are spawned: a fork of a process with threads may hang.
    """
    loader = torch.utils.data.DataLoader(
        dataset,
        size,
        shuffle=True,
        num_workers=2,
        drop_last=True,
        persistent_workers=True,
        pin_memory=device.type == "cuda",
        multiprocessing_context="spawn",
    )
    while True:
        for images, texts, items, captions in loader:
            fields = (images, texts[:, :length], items, captions)
            moved = [field.to(device, non_blocking=True) for field in fields]
            rest = (split.caption_sets[items], split.scenes[items])
            yield Batch(*moved, *(field.to(device) for field in rest))


def our_batches(loader: batches.Loader) -> Generator[Batch]:
    """Batches of our loop, for ever."""
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def rate(trainer: Trainer, source: Iterator[Batch], seconds: float, warmup: int) -> float:
    """Images per second over so many seconds and at least one step, after some to warm up.

    The device is waited for after 1, 3, 7, ... steps: waiting after each would hide the overlap.
    """
    for _ in range(warmup):
        trainer.step([next(source)])
    _wait(trainer.device)
    images, steps, start = 0, 1, time.perf_counter()
    while not images or time.perf_counter() - start < seconds:
        for _ in range(steps):
            batch = next(source)
            trainer.step([batch])
            images += len(batch.images)
        _wait(trainer.device)
        steps *= 2
    return images / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def prepared(
    name: str, options: argparse.Namespace, folder: Path
) -> tuple[batches.TrainSplit, batches.TokenTable, list[Path]]:
    """The training split of a data set, cut down, its tokens, and its images as files.

    Drawn images are written into the folder.
    """
    dataset = data.load(data.card(name), data.data_root(options.data_root))
    bench = Workbench(dataset, backbone.load(options.backbone))
    whole, count = bench.training(), options.images
    split = replace(
        whole,
        rows=whole.rows[:count],
        samples=whole.samples[:count],
        captions=whole.captions[:count],
    )
    paths = []
    for row in split.rows if options.plain else []:
        path = dataset.paths[row]
        if path is None:
            path = folder / f"{row}.png"
            Image.fromarray(cache.picture(dataset, row, 256)).save(path)
        paths.append(path)
    return split, bench.tokens, paths


def measure(
    call: Call,
    split: batches.TrainSplit,
    table: batches.TokenTable,
    paths: list[Path],
    options: argparse.Namespace,
) -> dict[str, float]:
    """The speeds of one method in images per second, and the ratios between them.

    Raises NotApplicable.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = backbone.load(options.backbone)
    method = registry()[call.name](base.model, **dict(call.settings)).to(device)
    method.on_fit(len(split.rows))
    recipe = Recipe(batch_size=options.batch, precision=options.precision)
    trainer = Trainer(method.train(), recipe, 1e-5, 10**6, device)
    size, caption = options.batch, method.train_caption
    loader = batches.Loader(split, table, caption, batch_size=size, seed=0, device=device)
    resident = next(our_batches(loader))
    speeds: dict[str, list[float]] = {"loop": [], "step": []}
    for _ in range(options.rounds):
        source = our_batches(loader)
        speeds["loop"].append(rate(trainer, source, options.window, 1))
        source.close()  # its thread ends, so that what follows has the cores alone
        speeds["step"].append(rate(trainer, repeat(resident), options.window, 0))
        if call.text in options.plain.split(","):
            plain = plain_batches(Plain(split, paths, base), split, size, table.length, device)
            # The two workers' first batches come at once: so they are no measure.
            speed = rate(trainer, plain, 4 * options.window, 2)
            speeds.setdefault("plain", []).append(speed)
            plain.close()
    row = {f"{what}_images_per_second": statistics.median(v) for what, v in speeds.items()}
    loop = speeds.pop("loop")
    for what, other in speeds.items():
        ratios = [ours / theirs for ours, theirs in zip(loop, other, strict=True)]
        row[f"loop_over_{what}"] = statistics.median(ratios)
    return row


def main(options: argparse.Namespace) -> None:
    """Measure each method on each data set, and write one JSON: machine, options, rows."""
    known = registry()
    named = parse_calls(options.methods or ",".join(known))
    calls = [resolve(name, settings, known) for name, settings in named]
    rows = []
    for name in options.dataset:
        with tempfile.TemporaryDirectory() as folder:
            split, table, paths = prepared(name, options, Path(folder))
            for call in calls:
                if known[call.name].lr is None:
                    print(f"{call.text} trains nothing: left out")
                    continue
                try:
                    figures = measure(call, split, table, paths, options)
                except NotApplicable as error:
                    print(f"{name} {call.text}: {error}", flush=True)
                    continue
                rows.append(
                    {"dataset": name, "method": call.text, "rounds": options.rounds, **figures}
                )
                shown = ", ".join(f"{what} {value:.4g}" for what, value in figures.items())
                print(f"{name} {call.text}: {shown}", flush=True)
    kept = ("backbone", "batch", "precision", "images", "window")
    document = {
        "machine": machine.environment(),
        "options": {name: getattr(options, name) for name in kept},
        "rows": rows,
    }
    if options.out is not None:
        text = json.dumps(document, indent=1) + "\n"
        record.atomically(options.out, lambda path: path.write_text(text))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", default=["ucm", "synthetic"])
    parser.add_argument("--methods", help="calls with commas; default: all that are registered")
    parser.add_argument("--plain", default="cmer", help="methods beside which the plain loop runs")
    parser.add_argument("--backbone", default="starter")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--images", type=int, default=1680, help="training images at most")
    parser.add_argument("--window", type=float, default=0.6, help="seconds timed at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, help="write this JSON")
    main(parser.parse_args())
