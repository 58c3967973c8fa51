"""How long starting takes: `import bench`, `bench --help`, and a sweep of two very short trials.

The sweep runs with the helper process that imports torch and open_clip for all trials, and without
it, where each trial starts a Python of its own. Seconds are medians of several runs; run it on an
idle machine: `python benchmarks/startup.py`. It writes benchmarks/startup.json.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 3
SWEEP = (
    "run --methods zeroshot,linear --dataset synthetic --backbone starter --gpus none "
    "--recipe steps=2,evaluations=1 --results"
)
COMMAND = "import sys; from bench.cli import main; sys.argv[0] = 'bench'; main()"
WITHOUT_HELPER = (
    "from bench.sweeps import forkserver; forkserver.warm_up = lambda: None; " + COMMAND
)


def seconds(words: list[str]) -> float:
    """Wall seconds of a command; raises CalledProcessError where it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - start


def sweep(code: str) -> float:
    """Wall seconds of the sweep into a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(["-c", code, *SWEEP.split(), folder])


def main() -> None:
    """Measure, print and write."""
    measures = {
        "python -c pass": lambda: seconds(["-c", "pass"]),
        "import bench": lambda: seconds(["-c", "import bench"]),
        "bench --help": lambda: seconds(["-m", "bench", "--help"]),
        "sweep of two short trials": lambda: sweep(COMMAND),
        "the same without the helper process": lambda: sweep(WITHOUT_HELPER),
    }
    found = {}
    for name, measure in measures.items():
        measure()  # byte code and the image cache are made once
        runs = [measure() for _ in range(RUNS)]
        found[name] = {"median_seconds": statistics.median(runs), "all_seconds": runs}
        print(f"{statistics.median(runs):7.2f} s  {name}", flush=True)
    document = {"cores": os.cpu_count(), "measured": found}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
