"""CMER's decisions made on UCM's validation split: one change at a time, paired by seed.

    python benchmarks/decisions.py --data data --seeds 10            # every change below
    python benchmarks/decisions.py --data data --seeds 5 --only wide lr_high

The frozen features of eight views an image are computed once and shared by all trials: a trial's
seed decides how CMER starts, which captions and views make a batch and which captions carry a scene
label, but not which eight crops exist. A trial is 120 steps of the project's own training loop with
an evaluation on validation every 20. Results are appended to benchmarks/decisions.jsonl as they
come, and what is there is not run again; the table is in docs/cmer.md. Choose by validation alone:
test recall is there to be read. decisions-starter-1.jsonl holds the trials with the backbone of
versions before 0.5.
"""

import argparse
import copy
import json
import random
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.utils import _pytree as tree

from bench import backbone, data
from bench.recipe import Recipe
from bench.spec import resolve
from bench.trained import paired
from bench.training import batches, train
from bench.training.features import FeatureLoader, Features, Table
from bench.training.trainer import compute_dtype
from bench.workbench import Workbench
from methods import registry
from methods.base import Method
from methods.cmer import CMER, labelled, tap_places

RESULTS = Path(__file__).with_suffix(".jsonl")
PAGE = Path(__file__).parents[1] / "docs" / "cmer.md"
TABLE = re.compile(r"(<!-- from (benchmarks/\S+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
"""A table of docs/cmer.md: its first line, with the file that holds its trials, up to its end."""
CPU = torch.device("cpu")
VIEWS = 8
RECIPE = Recipe(batch_size=256, steps=120, evaluations=6)
BASE: dict[str, Any] = {"stride": 2, "text_taps": "all"}
"""Written out, so that these trials stay what they are should a default change again."""
BASE_LR = 0.006

Change = tuple[dict[str, Any], dict[str, Any]]
"""Settings of CMER and values of the recipe that differ from the base."""
CHANGES: dict[str, Change] = {
    "base": ({}, {}),
    "focus none": ({"focus": "none"}, {}),
    "focus topk": ({"focus": "topk"}, {}),
    "focus relu": ({"focus": "relu"}, {}),
    "no queue": ({"queue": 0}, {}),
    "queue weight 0.3": ({"queue_weight": 0.3}, {}),
    "queue masks captions, not scenes": ({"mask": "set"}, {}),
    "no scene labels": ({"scene_p": 0.0}, {}),
    "scene labels 0.6": ({"scene_p": 0.6}, {}),
    "former defaults": ({"stride": 0, "text_taps": "end"}, {}),
    "every tap": ({"stride": 1}, {}),
    "stride 4": ({"stride": 4}, {}),
    "reduction 2": ({"reduction": 2}, {}),
    "reduction 4": ({"reduction": 4}, {}),
    "text: end token": ({"text_taps": "end"}, {}),
    "lr 0.003": ({}, {"lr": 0.003}),
    "lr 0.009": ({}, {"lr": 0.009}),
    "weight decay 0.2": ({}, {"weight_decay": 0.2}),
    "96 steps": ({}, {"steps": 96}),
    "96 steps, lr 0.009": ({}, {"steps": 96, "lr": 0.009}),
    "240 steps": ({}, {"steps": 240}),
    "240 steps, lr 0.003": ({}, {"steps": 240, "lr": 0.003}),
    "batch 128, lr 0.003": ({}, {"batch_size": 128, "steps": 240, "lr": 0.003}),
    "batch 128": ({}, {"batch_size": 128, "steps": 240}),
    "batch 512, lr 0.009": ({}, {"batch_size": 512, "steps": 60, "lr": 0.009}),
}


class EveryCaption(batches.Loader):
    """Asks for each caption with and without a scene label."""

    def captions(self, pairs: list[tuple[int, int]], epoch: int, number: int) -> list[str]:
        """Both forms of the captions of a batch."""
        split = self.split
        plain = [(split.captions[i][c], split.samples[i]) for i, c in pairs]
        return [word for c, sample in plain for word in (c, labelled(c, sample))]


class Bench:
    """UCM, the starter and the features of every tap, ready for trials."""

    def __init__(self, root: Path, keep: Path | None) -> None:
        """`keep`: a file that the features are read from, or written to where it does not exist."""
        dataset = data.load(data.card("ucm"), root)
        bench = Workbench(dataset, backbone.load("starter"))
        self.base, self.table, self.split = bench.backbone, bench.tokens, bench.training()
        self.evaluations = bench.evaluations()
        self.dtype = compute_dtype(RECIPE.precision, CPU)
        widest = CMER(copy.deepcopy(self.base.model), stride=1, text_taps="all")
        self.features = Features(widest, self.table, self.dtype, CPU, VIEWS)
        if keep is not None and keep.exists():
            self.features.__dict__ |= torch.load(keep, weights_only=False, mmap=True)
            return
        loader = EveryCaption(
            self.split, self.table, str, batch_size=len(self.split.rows), seed=0, device=CPU
        )
        self.features.build(loader, 1, list(self.evaluations.values()), print)
        if keep is not None:
            for table in (self.features.images, self.features.texts):  # no views of one block
                table.parts = [None if p is None else p.clone() for p in table.parts]
            parts = ("images", "texts", "image_rows", "text_rows")
            torch.save({name: getattr(self.features, name) for name in parts}, keep)

    def trial(self, settings: dict[str, Any], recipe: Recipe, seed: int) -> dict[str, Any]:
        """Train CMER with these settings; what is recorded of it."""
        random.seed(seed)
        torch.manual_seed(seed)
        method = CMER(copy.deepcopy(self.base.model), **settings)
        features = self.seen_by(method, settings)

        def recall(split: str) -> float:
            evaluation = self.evaluations[split]
            encoded = evaluation.features(method, self.dtype, CPU, features)
            return evaluation.metrics(evaluation.ranks(*encoded))["mR"]

        plain = batches.Loader(
            self.split,
            self.table,
            method.train_caption,
            batch_size=recipe.batch_size,
            seed=seed,
            device=CPU,
            resident=False,
        )
        loader = FeatureLoader(features, plain)
        assert recipe.lr is not None
        with patch.object(train, "step_costs", return_value={}):  # nobody asks for costs here
            fitted = train.fit(method, loader, recipe, recipe.lr, lambda: recall("val"))
        method.load_own_state(fitted.best_state)
        return {
            "seed": seed,
            "val_mR": recall("val"),
            "test_mR": recall("test"),
            "best_step": fitted.best_step,
            "curve": [round(point["val_mR"], 3) for point in fitted.curve],
            "parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
            "seconds": round(fitted.efficiency["train_seconds"], 1),
        }

    def seen_by(self, method: Method, settings: dict[str, Any]) -> Features:
        """The features with the taps alone that these settings ask for; nothing is copied."""
        stride, text = settings["stride"], settings["text_taps"]
        image_taps = tap_places(len(method.image_tower.blocks), stride)
        text_taps = tap_places(len(method.text_tower.blocks), stride) if text != "none" else []

        def image(pooled: int, summaries: list[int], patches: list[int]) -> Any:
            return pooled, [summaries[t] for t in image_taps], [patches[t] for t in image_taps]

        def caption(pooled: int, summaries: list[int], tokens: list[int], mask: int) -> Any:
            seen = [tokens[t] for t in text_taps] if text == "all" else []
            return pooled, [summaries[t] for t in text_taps], seen, mask

        features = copy.copy(self.features)
        features.method = method
        features.images = part_of(features.images, image)
        features.texts = part_of(features.texts, caption)
        return features


def part_of(table: Table, pick: Callable[..., Any]) -> Table:
    """A table of some of the tensors of another; `pick` gets their numbers in the method's form."""
    leaves, spec = tree.tree_flatten(
        pick(*tree.tree_unflatten(range(len(table.parts)), table.spec))
    )
    part = copy.copy(table)
    part.parts, part.spec = [table.parts[i] for i in leaves], spec
    return part


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """All results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def difference(values: dict[int, float], base: dict[int, float]) -> tuple[int, float, float]:
    """Seeds that both have, mean of the paired differences, half width of its 95% interval."""
    pairs = [values[seed] - base[seed] for seed in sorted(values.keys() & base.keys())]
    test = paired.t_test(pairs)
    mean = statistics.fmean(pairs) if pairs else float("nan")
    return len(pairs), mean, test.half_width if test else float("nan")


def signed(difference: tuple[int, float, float]) -> str:
    """A mean difference with its interval, which needs two seeds."""
    seeds, mean, half = difference
    return f"{mean:+.2f} ± {half:.2f}" if seeds > 1 else f"{mean:+.2f}"


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """The table: a line per change, the one that helps validation most first.

    A change is compared with `base`, or with the change that its trials name as `against`.
    """
    recall: dict[str, dict[str, dict[int, float]]] = {}
    about: dict[str, dict[str, Any]] = {}
    for line in results:
        about[line["change"]] = line
        for split in ("val_mR", "test_mR"):
            recall.setdefault(line["change"], {}).setdefault(split, {})[line["seed"]] = line[split]
    rows = []
    for change, splits in recall.items():
        cells = [change, about[change]["call"], f"{about[change]['parameters']:,}"]
        cells.append(str(len(splits["val_mR"])))
        gain, against = 0.0, about[change].get("against", "base")
        for split, values in splits.items():
            change_of = difference(values, recall[against][split])
            gain = change_of[1] if split == "val_mR" else gain
            cells.append(f"{statistics.fmean(values.values()):.2f}")
            cells.append("" if change == "base" else signed(change_of))
        rows.append((gain, cells))
    rows.sort(key=lambda row: -row[0])
    head = ["change", "call", "parameters", "seeds"]
    head += ["val mR", "difference", "test mR", "difference"]
    lines = [head, ["---"] * len(head), *(cells for _, cells in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def update(page: str) -> str:
    """The page with the tables of all results so far."""
    root = RESULTS.parents[1]
    return TABLE.sub(lambda table: f"{table[1]}\n{markdown(read(root / table[2]))}\n", page)


def main() -> None:
    """Run what is missing, seed by seed, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("data"), help="root of the data sets")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="*", help="changes to try instead of all")
    parser.add_argument("--keep", type=Path, help="file that keeps the features for the next run")
    options = parser.parse_args()
    chosen = options.only or list(CHANGES)
    bench = Bench(options.data, options.keep)
    done = {(line["change"], line["seed"]) for line in read()}
    for seed in range(options.seeds):
        for change in dict.fromkeys(["base", *chosen]):
            if (change, seed) in done:
                continue
            changed_settings, changed_recipe = CHANGES[change]
            recipe = replace(RECIPE, **{"lr": BASE_LR, **changed_recipe})
            settings = {**BASE, **changed_settings}
            call = resolve("cmer", settings, registry()).text
            call = ", ".join([call, *(f"{k}={v:g}" for k, v in changed_recipe.items())])
            line = {"change": change, "call": call, **bench.trial(settings, recipe, seed)}
            print(json.dumps(line), flush=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            PAGE.write_text(update(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
