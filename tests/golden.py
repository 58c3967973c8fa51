"""Golden values: what five short trials reach and what each `--help` says, to hold a restructuring.

`python tests/golden.py help` or `... trials` writes them anew, into tests/golden/. Do that only
after a change that is meant to change them, and look at the difference that git shows.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from bench import cli

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "golden"
HELP, TRIALS = FOLDER / "help.txt", FOLDER / "trials.json"
COUNTS = {"train": 32, "val": 16, "test": 16}
CARD = """name = "scenes"
title = "The first scenes of synthetic"
kind = "karpathy"
annotation = "dataset.json"
images = "images"
citation = "this repository"
licence = "MIT"
source = "tests/golden.py"
backbone = "starter"
[counts]
train = 32
val = 16
test = 16
"""
SWEEPS = {
    "": ["--methods", "zeroshot,lora,cmer", "--lr", "0.003"],
    "cached ": ["--methods", "cmer", "--lr", "0.003", "--cache-features", "1"],
    "gradcache ": ["--methods", "full", "--lr", "0.0003", "--recipe", "gradcache=3"],
}
"""The command lines of the five trials; the key tells trials of the same method apart."""


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """The words of `bench`, its groups and commands, and what each of them is for typer."""
    command = command or typer.main.get_command(cli.app)
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*words, name))


def help_pages() -> str:
    """The help of `bench` and of each of its commands, 80 columns wide."""
    pages = []
    for words, _ in commands():
        plain = {"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1", "TERM": "dumb"}
        done = CliRunner().invoke(cli.app, [*words, "--help"], env=plain, prog_name="bench")
        assert done.exit_code == 0, done.output
        text = "\n".join(line.rstrip() for line in done.output.strip().splitlines())
        pages.append(f"$ {' '.join(['bench', *words, '--help'])}\n\n{text}\n")
    return "\n\n".join(pages)


def write_scenes(root: Path) -> Path:
    """Write a few scenes of `synthetic` as files with a card, which is returned."""
    from PIL import Image

    from bench import synthetic

    images = []
    folder = root / "scenes" / "images"
    folder.mkdir(parents=True)
    splits = [split for split, count in COUNTS.items() for _ in range(count)]
    for index, split in enumerate(splits):
        name = synthetic.filename(index)
        Image.fromarray(synthetic.render(index, 64)).save(folder / name)
        sentences = [{"raw": text} for text in synthetic.describe(index)[1]]
        images.append({"filename": name, "split": split, "sentences": sentences})
    (root / "scenes" / "dataset.json").write_text(json.dumps({"images": images}))
    (root / "scenes.toml").write_text(CARD)
    return root / "scenes.toml"


def trials(root: Path) -> dict[str, Any]:
    """Curve and metrics of five trials that are run below `root` by the command line."""
    card = write_scenes(root)
    reached: dict[str, Any] = {}
    for head, words in SWEEPS.items():
        results = root / f"results {head}".strip()
        common = ["--dataset", str(card), "--data-root", str(root), "--results", str(results)]
        recipe = "steps=4,batch_size=8,evaluations=2,precision=fp32"
        quiet = {"CUDA_VISIBLE_DEVICES": "", "BENCH_CACHE": str(root / "cache")}
        command = ["run", *common, "--recipe", recipe, *words]
        done = CliRunner().invoke(cli.app, command, env=quiet)
        assert done.exit_code == 0, done.output
        for path in sorted(results.rglob("seed*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            names = ("step", "epoch", "loss", "lr", "val_mR")
            curve = [{name: point[name] for name in names} for point in record["curve"]]
            metrics = {split: dict(sorted(m.items())) for split, m in record["metrics"].items()}
            reached[f"{head}{record['trial']['method']}"] = {"curve": curve, "metrics": metrics}
    return reached


def main() -> None:
    """Write what is named on the command line: help, trials, or both."""
    for what in sys.argv[1:] or ["help", "trials"]:
        if what == "help":
            HELP.write_text(help_pages(), encoding="utf-8")
        else:
            with tempfile.TemporaryDirectory() as folder:
                text = json.dumps(trials(Path(folder)), indent=1)
            TRIALS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
