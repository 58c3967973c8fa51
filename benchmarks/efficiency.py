"""Memory and speed of the methods on this machine's GPU, and how near the prediction came.

    python benchmarks/efficiency.py                       # one backbone after the other
    python benchmarks/efficiency.py --backbone ViT-B-32   # one alone, where time is short
    python benchmarks/efficiency.py --only-compare        # the tables alone, from the records

Random weights and generated images, so that nothing has to be fetched. Each trial is a process of
its own; a trial that is recorded is not run again. A backbone's table comes when its trials are
done. Without a GPU the speeds are a CPU's and no peak is measured: use few steps and a small
backbone, or `bench plan`.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from bench import record
from bench.measure import plan
from bench.measure.rehearsal import WORKSPACE
from bench.recipe import Recipe
from methods import registry

SETTINGS = (
    "adapter(parallel=True),cmer(focus='none'),cmer(focus='topk'),cmer(text_taps='none'),"
    "cmer(queue=0),cmer(scene_p=0)"
)
"""Measured beside every method at its defaults."""
RECOMPUTED = "full,lora"
"""Methods also measured with gradient checkpointing, the usual way of saving memory."""
HALVED = "linear,cmer,lst,lora"
"""Methods also measured with frozen weights held in bfloat16, where that is computed in."""


def measure(options: argparse.Namespace, backbone: str) -> None:
    """Run what is not recorded yet; trials that fail or run out of memory have a record too."""
    recipe = f"steps={options.steps},batch_size={options.batch},precision={options.precision}"
    calls = [(options.methods, ""), (options.recomputed, ",checkpointing=true")]
    if options.precision == "bf16":
        calls.append((options.halved, ",frozen=bf16"))
    for methods, more in calls:
        command = [sys.executable, "-m", "bench.cli", "run", "--dataset", "synthetic"]
        command += ["--methods", methods, "--recipe", recipe + more]
        command += ["--results", str(options.results), "--backbone", f"{backbone}:none"]
        alone = {**os.environ, "BENCH_RESIDENT": "0"}  # nothing but the training on the GPU
        if methods and subprocess.run(command, env=alone).returncode == 2:
            raise SystemExit(2)


def row(document: dict[str, Any], workspace: int) -> dict[str, Any]:
    """One record as a line: what was measured, and what is predicted for the same trial."""
    trial, measured = document["trial"], document["efficiency"]
    recipe = Recipe(**trial["recipe"])
    predicted = plan.predict(
        trial["backbone"],
        trial["method"],
        trial["settings"],
        recipe,
        context_length=document["data"]["context_length"],
        workspace=workspace,
    )
    peak = measured.get("peak_memory_train_bytes") if document["status"] == "ok" else None
    name = trial["call"] + " + checkpointing" * recipe.checkpointing
    return {
        "method": name + " + frozen=bf16" * (recipe.frozen == "bf16"),
        "status": document["status"],
        "measured MiB": float("nan") if peak is None else peak / 2**20,
        "predicted MiB": predicted["predicted_peak_bytes"] / 2**20,
        "images/s": float(measured.get("step_images_per_second") or "nan"),
    }


def compare(options: argparse.Namespace, backbone: str) -> str:
    """A table: peak and speed of each trial, their ratios to the reference, the prediction's error.

    Without a GPU the ratio of the peaks is that of the predictions.
    """
    # cuBLAS's workspace, inside "allocated", is larger from Hopper on.
    large = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 9
    records = record.read_all(record.paths(options.results), left_out=print)
    wanted = {"batch_size": options.batch, "precision": options.precision}
    rows = [
        row(document, 2 * 32 * 2**20 if large else WORKSPACE)
        for document in sorted((document for _, document in records), key=steps)
        if document["trial"]["backbone"] == f"{backbone}:none"
        and wanted.items() <= document["trial"]["recipe"].items()
        and "data" in document
        and document["status"] != "not_applicable"
    ]
    where = f"{backbone}, batch {options.batch}, {options.precision}"
    if not rows:
        return f"{where}: no records in {options.results}"
    table = pd.DataFrame(rows).drop_duplicates("method", keep="last").sort_values("predicted MiB")
    for name in ("measured MiB", "predicted MiB", "images/s"):
        base = table.loc[table["method"] == options.reference, name]
        table[f"{name} / {options.reference}"] = table[name] / base.sum(min_count=1)
    table["error"] = table["predicted MiB"] / table["measured MiB"] - 1
    text = table.to_string(index=False, float_format="{:,.2f}".format, na_rep="-")
    return f"{where}\n{text}"


def steps(document: dict[str, Any]) -> int:
    """How long a record's training was: of two of one method the longer is shown."""
    return int(document["trial"]["recipe"]["steps"] or 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", nargs="+", default=["ViT-B-32", "ViT-B-16", "ViT-L-14"])
    parser.add_argument("--methods", default=",".join([*registry(), SETTINGS]))
    parser.add_argument("--recomputed", default=RECOMPUTED)
    parser.add_argument("--halved", default=HALVED)
    parser.add_argument("--reference", default="lora")
    parser.add_argument("--steps", type=int, default=80, help="ten warm up, then windows of ten")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--results", type=Path, default=Path("results/efficiency"))
    parser.add_argument("--only-compare", action="store_true")
    options = parser.parse_args()
    for name in options.backbone:
        if not options.only_compare:
            measure(options, name)
        print(compare(options, name), flush=True)
