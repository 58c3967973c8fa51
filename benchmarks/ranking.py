"""Evaluation of large galleries against a straightforward numpy argsort: seconds, ratio, memory.

    python benchmarks/ranking.py          # 1,093 x 5,465: the size of RSICD's test set
    python benchmarks/ranking.py --sizes 10000x50000 --rounds 1 --plain-rows 1000

Random unit features, five captions per image. Both ways and the same recalls; ours adds those that
count equal sentences as right, ties and the ceiling. Rounds alternate; figures are medians.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import retrieval
from bench.measure import machine


def ours(image: torch.Tensor, text: torch.Tensor, right: dict[str, torch.Tensor]) -> Any:
    """The metrics as `bench.evaluate` makes them of the features."""
    ranks = retrieval.rank_both(image, text, right)
    return retrieval.recalls(ranks["i2t"], ranks["t2i"]), retrieval.recalls(
        ranks["dup_i2t"], ranks["dup_t2i"]
    )


def plain(image: torch.Tensor, text: torch.Tensor, image_of: np.ndarray, rows: int) -> Any:
    """Sort everything, look where the first right item stands; `rows` queries at a time."""

    def places(queries: np.ndarray, gallery: np.ndarray, owner: Any, item_owner: Any) -> Any:
        blocks = []
        for start in range(0, len(queries), rows):
            order = np.argsort(-(queries[start : start + rows] @ gallery.T), axis=1)
            right = item_owner[order] == owner[start : start + rows, None]
            blocks.append(right.argmax(axis=1))
        return np.concatenate(blocks)

    images, i, t = np.arange(len(image)), image.numpy(), text.numpy()
    i2t, t2i = places(i, t, images, image_of), places(t, i, image_of, images)
    result = {
        f"{way}_R@{k}": float(100 * (place < k).mean())
        for way, place in (("i2t", i2t), ("t2i", t2i))
        for k in retrieval.KS
    }
    return {**result, "mR": sum(result.values()) / len(result)}


def measure(images: int, captions: int, options: argparse.Namespace) -> dict[str, Any]:
    """One size: medians of both ways, taken in turns, after one round of ours to warm up."""
    generator = torch.Generator().manual_seed(0)
    image_of = np.arange(captions) % images
    image = torch.nn.functional.normalize(
        torch.randn(images, options.width, generator=generator), dim=1
    )
    noise = torch.randn(captions, options.width, generator=generator)
    text = torch.nn.functional.normalize(2 * image[image_of] + noise / options.width**0.25, dim=1)
    right = retrieval.right_items(image_of.tolist(), [str(c) for c in range(captions)])
    ours(image, text, right)
    fast, slow, agree = [], [], True
    for _ in range(options.rounds):
        for _ in range(options.inner):
            start = time.perf_counter()
            strict, _ = ours(image, text, right)
            fast.append(time.perf_counter() - start)
        start = time.perf_counter()
        expected = plain(image, text, image_of, options.plain_rows)
        slow.append(time.perf_counter() - start)
        agree &= all(abs(strict[name] - value) < 0.05 for name, value in expected.items())
    elements = min(images * captions, retrieval.ELEMENTS)
    return {
        "images": images,
        "captions": captions,
        "rounds": options.rounds,
        "seconds": statistics.median(fast),
        "seconds_best": min(fast),
        "argsort_seconds": statistics.median(slow),
        "ratio": statistics.median(slow) / statistics.median(fast),
        "recalls_agree": agree,
        "similarity_bytes_at_a_time": 4 * elements,
        "similarity_bytes_whole": 4 * images * captions,
        "argsort_queries_at_a_time": options.plain_rows,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["1093x5465"])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inner", type=int, default=3, help="runs of ours per round")
    parser.add_argument("--plain-rows", type=int, default=10**9, help="queries sorted at a time")
    parser.add_argument("--out", type=Path, help="add the figures to this JSON")
    options = parser.parse_args()
    environment = machine.environment(torch.device("cpu"))
    for size in options.sizes:
        row = measure(*map(int, size.split("x")), options)
        row = {"cpu": environment["cpu"], "threads": environment["threads"], **row}
        print(json.dumps(row, indent=1))
        if options.out is not None:
            rows = json.loads(options.out.read_text()) if options.out.exists() else []
            options.out.write_text(json.dumps([*rows, row], indent=1) + "\n")
