"""Made records in the form of bench.record, with numbers like real ones, for tests of reports."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.recipe import Recipe
from bench.record import STATUSES, load
from bench.report import report
from bench.report.group import Group
from bench.report.grouping import group_records

METHODS = {
    # name: (mR, MiB kept on ViT-B/32 at batch 128, images/s, trainable parameters, lr)
    "zeroshot": (23.5, 0.0, 0.0, 0, None),
    "linear": (34.0, 22.0, 900.0, 524_800, 1e-3),
    "full": (44.8, 5200.0, 210.0, 151_277_313, 1e-5),
    "lora": (43.9, 4300.0, 260.0, 1_179_648, 5e-4),
    "coop": (33.5, 2100.0, 330.0, 8_192, 2e-3),
    "vpt": (36.0, 3400.0, 280.0, 92_160, 1e-3),
    "adapter": (42.6, 4050.0, 270.0, 1_790_000, 5e-4),
    "bitfit": (41.0, 4150.0, 275.0, 171_000, 1e-3),
    "maple": (38.9, 3900.0, 265.0, 3_550_000, 1e-3),
    "lst": (40.1, 900.0, 520.0, 2_400_000, 1e-3),
    "clip_adapter": (35.2, 30.0, 880.0, 131_072, 1e-3),
    "mrs_adapter": (43.2, 4010.0, 268.0, 160_000, 5e-4),
    "cmer": (45.6, 1150.0, 480.0, 2_950_000, 3e-3),
}
SETTINGS = {"cmer": {"focus": "soft", "queue": 2048, "scene_p": 0.3}, "lora": {"rank": 8}}
COUNTS = {"ucm": (1680, 210, 210), "rsitmd": (3862, 429, 452), "rsicd": (8734, 1094, 1093)}


def call(method: str, **settings: Any) -> str:
    """A method call as the sweep writes it."""
    inside = ", ".join(f"{k}={v!r}" for k, v in settings.items())
    return f"{method}({inside})" if inside else method


def ranks(quality: float, images: int, seed: int) -> dict[str, np.ndarray]:
    """Ranks of queries; the easier queries are the same for every method."""
    hard = np.random.default_rng(7).normal(0, 1.5, images * 5)
    noise = np.random.default_rng(seed).normal(0, 0.6, images * 5)
    t2i = 1 + np.floor(np.exp(np.clip(5.2 - quality / 16 + hard + noise, 0, 6)) - 1)
    i2t = t2i.reshape(images, 5).min(axis=1) * 2 - 1
    both = {"i2t": i2t, "t2i": t2i}
    arrays: dict[str, Any] = {**both, **{f"dup_{k}": np.maximum(1, v - 2) for k, v in both.items()}}
    return {name: values.astype(np.float32) for name, values in arrays.items()}


def metrics(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Recalls of ranks, in percent."""
    found: dict[str, float] = {}
    for prefix in ("", "dup_"):
        names = [(way, k) for way in ("i2t", "t2i") for k in (1, 5, 10)]
        part = {f"{w}_R@{k}": 100 * float((arrays[prefix + w] <= k).mean()) for w, k in names}
        found |= {f"{prefix}{k}": v for k, v in part.items()}
        found[f"{prefix}mR"] = sum(part.values()) / 6
    ceiling = {"ceiling_t2i_R@1": 38.1, "ceiling_t2i_R@5": 84.8, "ceiling_t2i_R@10": 100.0}
    return found | ceiling


def record(
    method: str,
    seed: int = 0,
    *,
    dataset: str = "ucm",
    backbone: str = "starter",
    status: str = "ok",
    gpu: str | None = None,
    recipe: dict[str, Any] | None = None,
    test: dict[str, float] | None = None,
    scene: str = "none",
    **settings: Any,
) -> dict[str, Any]:
    """One record; `test` are its metrics where they matter."""
    quality, kept, speed, trainable, lr = METHODS[method]
    quality += 3.0 if scene == "oracle" else 0.0
    words = repr(sorted(settings.items()))
    if settings:
        other = np.random.default_rng([ord(c) for c in words])
        quality, kept = quality - other.uniform(0, 3), kept * other.uniform(0.6, 1.1)
    rng = np.random.default_rng([seed, *(ord(c) for c in method + words)])
    whole = {**SETTINGS.get(method, {}), "scene_at_test": scene, **settings}
    shown = {**settings, **({"scene_at_test": scene} if scene != "none" else {})}
    rules = {**asdict(Recipe()), **(recipe or {})}
    text = call(method, **shown)
    counts = dict(zip(("train", "val", "test"), COUNTS.get(dataset, (80, 10, 10)), strict=True))
    defines = {"card": dataset, "test_split": f"{dataset}-test", "weights": backbone}
    trial = {
        "dataset": dataset,
        "backbone": backbone,
        "method": method,
        "call": text,
        "settings": whole,
        "lr": lr,
        "seed": seed,
        "recipe": rules,
        "defines": defines,
    }
    identity = hashlib.sha256(json.dumps(trial, sort_keys=True).encode()).hexdigest()[:16]
    document: dict[str, Any] = {
        "schema": 1,
        "status": status,
        "message": None if status == "ok" else f"made to be {status}",
        "traceback": "Traceback (most recent call last): ..." if status == "failed" else None,
        "identity": identity,
        "trial": trial,
        "metrics": {},
        "curve": [],
        "efficiency": {"trial_seconds": 61.0},
        "environment": {
            "python": "3.11.2",
            "torch": "2.15.0",
            "open_clip": "3.3.0",
            "peft": "0.21.0",
            "timm": "1.0.31",
            "platform": "Linux x86_64",
            "cpu": "Made CPU",
            "gpu": gpu,
            "cuda": "13.0" if gpu else None,
            "driver": "580.1" if gpu else None,
            "threads": 2,
            "git_commit": "0123abc",
            "git_dirty": False,
        },
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:01+00:00",
    }
    if status == "not_applicable":
        return document
    document["data"] = {
        "counts": counts,
        "hashes": {split: f"{dataset}-{split}" for split in counts},
        "card": dataset,
        "scenes": 21,
        "notes": [],
        "context_length": 27,
    }
    document["backbone"] = {
        "name": backbone,
        "weights": "made",
        "weights_sha256": backbone,
        "parameters": 151_277_313,
        "image_size": 224,
    }
    efficiency = document["efficiency"]
    efficiency |= {
        "device": gpu or "cpu",
        "precision": "bfloat16",
        "trainable_parameters": trainable,
        "total_parameters": 151_277_313 + trainable,
    }
    if status != "ok":
        return document
    arrays = ranks(quality + rng.normal(0, 0.4), counts["test"], seed)
    document["metrics"] = {"test": test or metrics(arrays)}
    document["metrics"]["val"] = {k: v + 1 for k, v in document["metrics"]["test"].items()}
    efficiency |= {"eval_images_per_second": 1500.0, "eval_captions_per_second": 5200.0}
    if trainable == 0:
        return document
    own, grads = 605 * 2**20, trainable * 4
    kept = int(kept * 2**20)
    efficiency |= {
        "peak_memory_train_bytes": own + 3 * grads + kept if gpu else None,
        "parameter_bytes": own + grads,
        "gradient_bytes": grads,
        "optimizer_bytes": 2 * grads,
        "activation_bytes": kept - grads if gpu else None,
        "saved_for_backward_bytes": kept,
        "train_images_per_second": speed * (3.1 if gpu else 0.1) * float(rng.normal(1, 0.01)),
        "train_images_per_second_iqr": speed * 0.002,
        "step_images_per_second": speed * (3.3 if gpu else 0.11),
        "train_seconds": 55.0,
    }
    final = document["metrics"]["test"]["mR"]
    for step in range(1, 11):
        share = 1 - 0.7 * float(np.exp(-step / 2.5))
        point = {"step": step * 39, "epoch": step * 3.0, "loss": 2.2 - share, "lr": lr}
        wobble = float(rng.normal(0, 0.3))
        document["curve"].append({**point, "val_mR": final * share + wobble})
    document["best_step"] = 390
    return document


def save(results: Path, documents: Iterable[dict[str, Any]]) -> list[Path]:
    """Write records where a sweep would."""
    paths = []
    for document in documents:
        trial = document["trial"]
        folder = results / trial["dataset"] / trial["backbone"].replace(":", "_") / trial["call"]
        path = folder / f"seed{trial['seed']}-{document['identity'][:8]}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, sort_keys=True))
        paths.append(path)
    return paths


def sweep(seeds: int = 3, methods: Iterable[str] = METHODS, **given: Any) -> list[dict[str, Any]]:
    """Records of every method and seed."""
    return [record(method, seed, **given) for method in methods for seed in range(seeds)]


def recalls(mean: float) -> dict[str, float]:
    """Test metrics that are all the same number."""
    names = [f"{way}_R@{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
    return {**dict.fromkeys(names, mean), "mR": mean}


def by_hand(method: str, values: Sequence[float | None], **given: Any) -> list[dict[str, Any]]:
    """Records of a method with the given mR by seed; None: this seed has no record."""
    seeds = [(seed, mr) for seed, mr in enumerate(values) if mr is not None]
    return [record(method, seed, test=recalls(mr), **given) for seed, mr in seeds]


def write_report(results: Path, out: Path, **given: Any) -> list[Path]:
    """The files of the report on a folder of records."""
    frame = load(results, left_out=(left_out := []).append)
    return report.write(frame, group_records(frame), results, out, left_out=left_out, **given)


def groups_of(folder: Path, documents: Iterable[dict[str, Any]]) -> list[Group]:
    """The groups of some records, written to `folder` and read again."""
    save(folder, documents)
    return group_records(load(folder))


def group_of(folder: Path, documents: Iterable[dict[str, Any]]) -> Group:
    """The one group that some records make."""
    [group] = groups_of(folder, documents)
    return group


def mixed() -> list[dict[str, Any]]:
    """Several data sets, devices, statuses and settings, as a real folder of results has them."""
    gpu = "NVIDIA H200"
    clip = "ViT-B-32-quickgelu:openai"
    documents = sweep(3)
    for settings in ({"queue": 0}, {"focus": "none"}, {"focus": "topk"}, {"scene_p": 0.0}):
        documents += [record("cmer", seed, **settings) for seed in range(3)]
    documents += sweep(2, ("zeroshot", "lora", "cmer"), dataset="rsicd", recipe={"epochs": 10.0})
    documents += sweep(3, dataset="rsitmd", backbone=clip, gpu=gpu)
    documents += [
        record("cmer", seed, dataset="rsitmd", backbone=clip, gpu=gpu, scene="oracle")
        for seed in range(3)
    ]
    documents += [
        record("lora", 0, rank=512, status="out_of_memory"),
        record("vpt", 7, status="diverged"),
        record("lora", 0, rank=7, status="failed"),
        record("linear", 9, status="not_applicable"),
    ]
    known = {document["status"] for document in documents}
    documents += [record("bitfit", 9, status=s) for s in STATUSES if s not in known]
    return documents
