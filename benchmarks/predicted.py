"""Memory and compute of the methods on a GPU, predicted: written as JSON and as a table.

    python benchmarks/predicted.py           # some minutes on a CPU, no GPU, no weights, no data
    python benchmarks/predicted.py --table   # the table alone, from predicted.json

The settings are those that `efficiency.py` measures on a GPU.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from efficiency import HALVED, RECOMPUTED, SETTINGS

from methods import registry

FILE = Path(__file__).with_name("predicted.json")
BACKBONES = {"ViT-B-32:none": "ViT-B/32", "ViT-L-14:none": "ViT-L/14"}
REFERENCE = "lora"


def predict(methods: str, more: str) -> list[dict[str, Any]]:
    """What `bench plan` says of method calls under batch 128, bf16 and one more recipe value."""
    recipe = ",".join(["precision=bf16,batch_size=128", *filter(None, [more])])
    command = [sys.executable, "-m", "bench.cli", "plan", "--dataset", "synthetic", "--json"]
    command += [word for name in BACKBONES for word in ("--backbone", name)]
    command += ["--methods", methods, "--recipe", recipe]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    names = {"": "", "checkpointing=true": " + checkpointing", "frozen=bf16": " + frozen=bf16"}
    return [row | {"call": row["call"] + names[more]} for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """The table: every method, by its peak on the first backbone; settings of one left out."""
    by_call = {(row["backbone"], row["call"]): row["figures"] for row in rows}
    peak = {key: figures["predicted_peak_bytes"] for key, figures in by_call.items()}
    heads = [f"{name}: peak, MiB | / {REFERENCE} | GFLOPs per image" for name in BACKBONES.values()]
    lines = [f"| method | {' | '.join(heads)} |", "| --- |" + " ---: |" * 3 * len(BACKBONES)]
    first = next(iter(BACKBONES))
    calls = [call for backbone, call in by_call if backbone == first and "cmer(" not in call]
    for call in sorted(calls, key=lambda call: peak[first, call]):
        cells = [f"`{call}`"]
        for name in BACKBONES:
            figures = by_call[name, call]
            flops = figures["forward_flops_per_image"] + figures["backward_flops_per_image"]
            cells += [
                f"{peak[name, call] / 2**20:,.0f}",
                f"{peak[name, call] / peak[name, REFERENCE]:.2f}",
                f"{flops / 1e9:.1f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="predict nothing anew")
    if not parser.parse_args().table:
        rows = predict(",".join([*registry(), SETTINGS]), "")
        rows += predict(RECOMPUTED, "checkpointing=true") + predict(HALVED, "frozen=bf16")
        FILE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(json.loads(FILE.read_text(encoding="utf-8"))))
