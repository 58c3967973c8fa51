"""Memory and speed of the methods on this machine's GPU, and how near the prediction came.

    python benchmarks/efficiency.py                       # some 40 minutes on one large GPU
    python benchmarks/efficiency.py --only-compare        # the table alone, from the records

Random weights and generated images, so that nothing has to be fetched. Each trial is a process of
its own; a trial that is recorded is not run again. Without a GPU the speeds are a CPU's and no peak
is measured: use few steps and a small backbone, or `bench plan`.
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
from bench.recipe import Recipe

METHODS = (
    "zeroshot,linear,full,bitfit,lora,coop,vpt,vlprompt,maple,adapter,clip_adapter,mrs_adapter,lst,"
    "cmer,cmer(focus='none'),cmer(focus='topk'),cmer(text_taps='none'),cmer(queue=0),cmer(scene_p=0)"
)
RECOMPUTED = "full,lora"
"""Methods also measured with gradient checkpointing, the usual way of saving memory."""


def measure(options: argparse.Namespace) -> None:
    """Run what is not recorded yet; trials that fail or run out of memory have a record too."""
    recipe = f"steps={options.steps},batch_size={options.batch},precision={options.precision}"
    for methods, more in ((options.methods, ""), (options.recomputed, ",checkpointing=true")):
        command = [sys.executable, "-m", "bench.cli", "run", "--dataset", "synthetic"]
        command += ["--methods", methods, "--recipe", recipe + more]
        command += ["--results", str(options.results)]
        for backbone in options.backbone:
            command += ["--backbone", f"{backbone}:none"]
        alone = {**os.environ, "BENCH_RESIDENT": "0"}  # nothing but the training on the GPU
        if methods and subprocess.run(command, env=alone).returncode == 2:
            raise SystemExit(2)


def row(document: dict[str, Any], workspace: int) -> dict[str, Any]:
    """One record as a line: what was measured, and what is predicted for the same trial."""
    trial, found = document["trial"], document["efficiency"]
    predicted = plan.predict(
        trial["backbone"],
        trial["method"],
        trial["settings"],
        Recipe(**trial["recipe"]),
        context_length=document["data"]["context_length"],
        workspace=workspace,
    )
    peak = found.get("peak_memory_train_bytes")
    return {
        "backbone": trial["backbone"],
        "method": trial["call"] + (" + checkpointing" if trial["recipe"]["checkpointing"] else ""),
        "status": document["status"],
        "measured MiB": float("nan") if peak is None else peak / 2**20,
        "predicted MiB": predicted["predicted_peak_bytes"] / 2**20,
        "images/s": float(found.get("step_images_per_second") or "nan"),
    }


def compare(options: argparse.Namespace) -> str:
    """A table: peak and speed of each trial, their ratios to the reference, the prediction's error.

    Without a GPU the ratio of the peaks is that of the predictions.
    """
    # cuBLAS's workspace, inside "allocated", is larger from Hopper on.
    large = torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 9
    documents = [record.read(path) for path in record.paths(options.results)]
    rows = [row(d, 2 * 32 * 2**20 if large else plan.WORKSPACE) for d in documents if "data" in d]
    table = pd.DataFrame(rows).sort_values(["backbone", "predicted MiB"])
    for name in ("measured MiB", "predicted MiB", "images/s"):
        base = table[table["method"] == options.reference].set_index("backbone")[name]
        table[f"{name} / {options.reference}"] = table[name] / table["backbone"].map(base)
    table["error"] = table["predicted MiB"] / table["measured MiB"] - 1
    return str(table.to_string(index=False, float_format="{:,.2f}".format, na_rep="-"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", nargs="+", default=["ViT-B-32", "ViT-B-16", "ViT-L-14"])
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--recomputed", default=RECOMPUTED)
    parser.add_argument("--reference", default="lora")
    parser.add_argument("--steps", type=int, default=80, help="ten warm up, then windows of ten")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--results", type=Path, default=Path("results/efficiency"))
    parser.add_argument("--only-compare", action="store_true")
    given = parser.parse_args()
    if not given.only_compare:
        measure(given)
    print(compare(given))
