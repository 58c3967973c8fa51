"""Our loop against a plain PIL + torchvision + DataLoader loop, and against its step alone.

    python benchmarks/loader.py --dataset ucm --methods cmer,linear,lora,full

The same method, data, batch and optimiser step. The plain loop opens, crops, flips and tokenises
every sample in two worker processes; ours reads the image cache. Rounds alternate between our loop,
the plain loop and the step on one resident batch; figures are medians over rounds. On a CPU the
loader shares the cores with the step. `synthetic` is first written as PNG files of 256 px.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from bench import backbone, batches, cache, data, machine
from bench.recipe import Recipe
from bench.train import Trainer
from methods import registry
from methods.base import Batch


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
                transforms.Normalize(base.mean, base.std),
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
) -> Iterator[Batch]:
    """Batches of the plain loop, for ever; texts as short as ours, so that the step is the same.

    The workers are spawned: a fork of a process with threads may hang.
    """
    loader = torch.utils.data.DataLoader(
        dataset,
        size,
        shuffle=True,
        num_workers=2,
        drop_last=True,
        pin_memory=device.type == "cuda",
        multiprocessing_context="spawn",
    )
    while True:
        for images, texts, items, captions in loader:
            fields = (images, texts[:, :length], items, captions)
            moved = [field.to(device, non_blocking=True) for field in fields]
            rest = (split.caption_sets[items], split.scenes[items])
            yield Batch(*moved, *(field.to(device) for field in rest))


def our_batches(loader: batches.Loader) -> Iterator[Batch]:
    """Batches of our loop, for ever."""
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def rate(trainer: Trainer, source: Iterator[Batch], steps: int, warmup: int = 2) -> float:
    """Images per second over so many steps, the first `warmup` left out."""
    images = 0
    for step in range(steps + warmup):
        if step == warmup:
            _wait(trainer.device)
            start, images = time.perf_counter(), 0
        batch = next(source)
        trainer.step([batch])
        images += len(batch.images)
    _wait(trainer.device)
    return images / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def files(dataset: data.Dataset, rows: list[int], folder: Path) -> list[Path]:
    """The image files of these rows; drawn ones are written first."""
    found = []
    for row in rows:
        path = dataset.paths[row]
        if path is None:
            path = folder / f"{row}.png"
            Image.fromarray(cache.picture(dataset, row, 256)).save(path)
        found.append(path)
    return found


def measure(name: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One data set: a row for each method."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = data.load(data.card(name), data.data_root(options.data_root))
    base = backbone.load(options.backbone)
    split = batches.TrainSplit.of(
        dataset, cache.images(dataset, base.image_size), base.mean, base.std
    )
    table = batches.TokenTable(base.tokenizer, base.pad_id)
    table.add([caption for five in split.captions for caption in five])
    kept = split.rows[: options.images]
    paths = files(dataset, kept, folder)
    split = replace(split, rows=kept, samples=split.samples[: len(kept)])
    split = replace(split, captions=split.captions[: len(kept)])
    recipe = Recipe(batch_size=options.batch, precision=options.precision)
    rows = []
    for call in options.methods.split(","):
        base = backbone.load(options.backbone)
        method = registry()[call](base.model).to(device)
        method.on_fit(len(kept))
        trainer = Trainer(method.train(), recipe, 1e-5, 10**6, device)
        loader = batches.Loader(
            split, table, method.train_caption, batch_size=options.batch, seed=0, device=device
        )
        resident = next(our_batches(loader))
        source = plain = None
        found: dict[str, list[float]] = {"loop": [], "plain": [], "step": []}
        for _ in range(options.rounds):
            source = our_batches(loader)
            found["loop"].append(rate(trainer, source, options.steps))
            source.close()  # its thread ends, so that what follows has the cores alone
            each = Plain(split, paths, base)
            plain = plain_batches(each, split, options.batch, table.length, device)
            found["plain"].append(rate(trainer, plain, options.steps))
            plain.close()
            found["step"].append(rate(trainer, repeat(resident), options.steps))
        middle = {key: statistics.median(values) for key, values in found.items()}
        pairs = {
            "loop_over_plain": zip(found["loop"], found["plain"], strict=True),
            "loop_over_step": zip(found["loop"], found["step"], strict=True),
        }
        ratios = {key: statistics.median(a / b for a, b in two) for key, two in pairs.items()}
        rows.append(
            {
                "dataset": name,
                "backbone": options.backbone,
                "method": call,
                "batch": options.batch,
                "rounds": options.rounds,
                "steps": options.steps,
                **{f"{key}_images_per_second": value for key, value in middle.items()},
                **ratios,
                "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            }
        )
        print(json.dumps(rows[-1], indent=1), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", default=["ucm", "synthetic"])
    parser.add_argument("--methods", default="cmer,linear,lora,full")
    parser.add_argument("--backbone", default="starter")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--images", type=int, default=10**9, help="training images at most")
    parser.add_argument("--steps", type=int, default=10, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, help="add the figures to this JSON")
    given = parser.parse_args()
    environment = machine.environment()
    about = {key: environment[key] for key in ("cpu", "threads", "torch")}
    for each in given.dataset:
        with tempfile.TemporaryDirectory() as place:
            measured = [{**about, **row} for row in measure(each, given, Path(place))]
        if given.out is not None:
            there = json.loads(given.out.read_text()) if given.out.exists() else []
            given.out.write_text(json.dumps([*there, *measured], indent=1) + "\n")
