"""Our loop against its step alone, for every method, and against a plain loop with two workers.

    python benchmarks/loader.py --out benchmarks/loader.json    # 7 minutes on 2 idle cores

The same method, data, batch and optimiser step. The plain loop (PIL, torchvision, DataLoader)
opens, crops, flips and tokenises every sample in two worker processes; ours reads the image cache.
Rounds alternate between our loop, the step on one resident batch and the plain loop; figures are
medians over rounds, ratios medians of each round's. On a CPU the loader shares the cores with the
step. `synthetic` is first written as PNG files of 256 px.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from bench import backbone, batches, data, record
from bench.data import cache
from bench.measure import machine
from bench.recipe import Recipe
from bench.spec import Call, parse_calls, resolve
from bench.trainer import Trainer
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


@dataclass
class Material:
    """One data set, ready for both loops."""

    name: str
    split: batches.TrainSplit
    table: batches.TokenTable
    paths: list[Path]

    @staticmethod
    def of(name: str, options: argparse.Namespace, folder: Path) -> "Material":
        """Its training split, cut down; drawn images are written as files into the folder."""
        dataset = data.load(data.card(name), data.data_root(options.data_root))
        bench = Workbench(dataset, backbone.load(options.backbone))
        split = bench.training()
        count = min(options.images, len(split.rows))
        split = replace(
            split,
            rows=split.rows[:count],
            samples=split.samples[:count],
            captions=split.captions[:count],
        )
        paths = []
        for row in split.rows if options.plain else []:
            path = dataset.paths[row]
            if path is None:
                path = folder / f"{row}.png"
                Image.fromarray(cache.picture(dataset, row, 256)).save(path)
            paths.append(path)
        return Material(name, split, bench.tokens, paths)


@dataclass
class Rounds:
    """One method on one data set: images per second of each round, by what was timed."""

    call: Call
    on: Material
    options: argparse.Namespace
    device: torch.device
    found: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, until: float) -> None:
        """Rounds until that moment of `time.monotonic`, and at least `options.rounds`.

        Raises NotApplicable.
        """
        options, split = self.options, self.on.split
        base = backbone.load(options.backbone)
        method = registry()[self.call.name](base.model, **dict(self.call.settings)).to(self.device)
        method.on_fit(len(split.rows))
        recipe = Recipe(batch_size=options.batch, precision=options.precision)
        trainer = Trainer(method.train(), recipe, 1e-5, 10**6, self.device)
        loader = batches.Loader(
            split,
            self.on.table,
            method.train_caption,
            batch_size=options.batch,
            seed=0,
            device=self.device,
        )
        resident = next(our_batches(loader))
        with_plain = self.call.text in options.plain
        done = 0
        while done < options.rounds or (time.monotonic() < until and not with_plain):
            source = our_batches(loader)
            self._note("loop", rate(trainer, source, options.window, 1))
            source.close()  # its thread ends, so that what follows has the cores alone
            self._note("step", rate(trainer, repeat(resident), options.window, 0))
            if with_plain:
                each, length = Plain(split, self.on.paths, base), self.on.table.length
                plain = plain_batches(each, split, options.batch, length, self.device)
                # The two workers' first batches come at once: so they are no measure.
                self._note("plain", rate(trainer, plain, 4 * options.window, 2))
                plain.close()
            done += 1

    def _note(self, what: str, value: float) -> None:
        self.found.setdefault(what, []).append(value)

    def row(self) -> dict[str, Any]:
        """Medians, and the medians of the rounds' ratios."""
        loop = self.found["loop"]
        return {
            "dataset": self.on.name,
            "method": self.call.text,
            "rounds": len(loop),
            **{f"{k}_images_per_second": statistics.median(v) for k, v in self.found.items()},
            **{
                f"loop_over_{key}": statistics.median(
                    a / b for a, b in zip(loop, other, strict=True)
                )
                for key, other in self.found.items()
                if key != "loop"
            },
        }


def measure(options: argparse.Namespace, calls: list[Call]) -> list[dict[str, Any]]:
    """A row for each data set and method; what time is left is shared among those to come."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    end = time.monotonic() + 60 * options.minutes
    left, rows = len(calls) * len(options.dataset), []
    for name in options.dataset:
        with tempfile.TemporaryDirectory() as place:
            material = Material.of(name, options, Path(place))
            for call in calls:
                rounds = Rounds(call, material, options, device)
                share = (end - time.monotonic()) / left
                left -= 1
                try:
                    rounds.measure(time.monotonic() + share)
                except NotApplicable as error:
                    print(f"{name} {call.text}: {error}", flush=True)
                    continue
                rows.append(rounds.row())
                print(_told(rows[-1]), flush=True)
    return rows


def _told(row: dict[str, Any]) -> str:
    speed, ratio = row["loop_images_per_second"], row["loop_over_step"]
    plain = row.get("loop_over_plain")
    beside = "" if plain is None else f", {plain:.2f} x the plain loop"
    what = f"{row['dataset']} {row['method']}: {speed:.0f} images/s"
    return f"{what}, {ratio:.3f} x its step{beside} ({row['rounds']} rounds)"


def main(options: argparse.Namespace) -> None:
    """Say what will be done, do it, write one JSON: the machine, the options, the rows."""
    known = registry()
    named = parse_calls(options.methods or ",".join(known))
    asked = [resolve(name, given, known) for name, given in named]
    calls = [call for call in asked if known[call.name].lr is not None]
    options.plain = [call.text for call in calls if call.text in options.plain.split(",")]
    environment = machine.environment()
    device = environment["gpu"] or f"{environment['cpu']}, {environment['threads']} threads"
    plain = ", ".join(options.plain) or "no method"
    print(
        f"{len(calls)} methods x {', '.join(options.dataset)}, {options.backbone}, batch "
        f"{options.batch}, on {device}:\n"
        f"our loop and its step alone in turns, {options.window:g} s or a step each, "
        f"{options.rounds} rounds and more;\n"
        f"the plain loop beside {plain}. Takes some {options.minutes:g} minutes, more where the "
        "fewest rounds need them.",
        flush=True,
    )
    for call in asked:
        if call not in calls:
            print(f"{call.text} trains nothing: left out")
    start = time.monotonic()
    rows = measure(options, calls)
    kept = ("backbone", "batch", "precision", "images", "window")
    document = {
        "machine": environment,
        "options": {name: getattr(options, name) for name in kept},
        "minutes": round((time.monotonic() - start) / 60, 1),
        "rows": rows,
    }
    if options.out is not None:
        text = json.dumps(document, indent=1) + "\n"
        record.atomically(options.out, lambda path: path.write_text(text))
        print(f"wrote {options.out} after {document['minutes']} minutes")


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
    parser.add_argument("--rounds", type=int, default=3, help="at least")
    parser.add_argument("--minutes", type=float, default=7.0, help="in all; rounds fill them")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, help="write this JSON")
    main(parser.parse_args())
