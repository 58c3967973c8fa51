"""A check of a data set as text for people: what is there, what is wrong, what follows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.data.check import Report

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 3
"""Examples named of each fault."""


def show(report: Report, console: "Console") -> None:
    """Print the report."""
    from rich import box
    from rich.table import Table

    heads = ["split", "images", "rows", "unique", "blank", "shared", "in train", "or val"]
    table = Table(*heads, "one x 5", title=report.title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.caption = (
        "rows: captions; unique: case and punctuation aside; shared: rows whose sentence "
        "another image of the split carries; in train, or val: rows whose sentence occurs there; "
        "one x 5: images that repeat one sentence"
    )
    for split, w in report.words.items():
        train = "-" if split == "train" else _share(w.rows_in_train, w.rows)
        val = _share(w.rows_in_train_and_val, w.rows) if split == "test" else "-"
        cells = [w.images, w.rows, w.sentences, w.blank]
        shared, repeating = (
            _share(w.shared_rows, w.rows),
            _share(w.repeating_images, w.images),
        )
        table.add_row(split, *map(str, cells), shared, train, val, repeating)
    console.print(table)
    for line in lines(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def lines(report: Report) -> list[str]:
    """The findings, one line each, the gravest first."""
    said = [f"FAULT {fault}" for fault in report.faults]
    pinned = "names and number" if report.published_test_hash else "number; no hash is pinned"
    said.append(
        f"test set: the published one ({pinned}), hash {report.test_hash}"
        if report.published_test_set
        else f"test set: NOT the published one, hash {report.test_hash}"
    )
    if report.ceiling:
        best = " / ".join(f"{value:.1f}" for value in report.ceiling.values())
        said.append(f"best possible strict t2i R@1 / R@5 / R@10 on test: {best}")
    silent = sum(w.images_without_words for w in report.words.values())
    if silent:
        said.append(f"images without a word: {silent}")
    said += _images(report) if report.images_compared else []
    scenes = sorted({scene for counts in report.scenes.values() for scene in counts})
    total = sum(report.counts.values())
    if scenes:
        said.append(f"scenes: {len(scenes)}; {_scene_range(report)}")
    said += _listed("images without a scene", report.unlabelled, total)
    if report.longest:
        tokens, text = report.longest["tokens"], report.longest["caption"]
        size = f"{len(text)} letters" if tokens is None else f"{tokens} tokens"
        said.append(f"longest caption: {size}, {report.longest['filename']}: {text[:160]}")
    return said + list(report.notes)


def _images(report: Report) -> list[str]:
    total = sum(report.counts.values())
    said = _listed("missing images", report.missing, total)
    if report.undecodable:
        first = list(report.undecodable.values())
        said.append(f"undecodable images: {len(first)}: " + "; ".join(first[:SHOWN]))
    said += _listed("images that no annotation names", report.extra)
    if len(report.sizes) > 1:
        sizes = ", ".join(f"{size} ({count})" for size, count in list(report.sizes.items())[:5])
        said.append(f"{len(report.sizes)} sizes: {sizes}")
        said += _listed("images of an unusual size", report.odd_sized, total)
    equal = [pair for pair in report.twins if pair["same_pixels"]]
    examples = "; ".join(" = ".join(pair["images"]) for pair in report.twins[:SHOWN])
    shown = f": {examples}" if examples else ""
    near = len(report.twins) - len(equal)
    said.append(f"pairs of images: {len(equal)} equal, {near} nearly so{shown}")
    for split in ("val", "test"):
        leaks = report.leaks(split)
        if leaks:
            names = {
                name
                for pair in leaks
                for name, part in zip(pair["images"], pair["splits"], strict=True)
                if part == split
            }
            examples = "; ".join(" = ".join(pair["images"]) for pair in leaks[:SHOWN])
            said.append(f"LEAK {len(names)} {split} images are in train too: {examples}")
    return said


def _scene_range(report: Report) -> str:
    """The smallest and the largest scene of the split with the most images."""
    split = max(report.scenes, key=lambda name: sum(report.scenes[name].values()))
    ordered = sorted(report.scenes[split].items(), key=lambda item: item[1])
    if not ordered:
        return "none of them in the largest split"
    (low, few), (high, many) = ordered[0], ordered[-1]
    absent = [s for s in report.scenes.get("train", {}) if s not in report.scenes.get("test", {})]
    missing = f"; not in test: {', '.join(absent[:SHOWN])}" if absent else ""
    return f"in {split} from {few} ({low}) to {many} images ({high}){missing}"


def _listed(what: str, names: Sequence[str], total: int | None = None) -> list[str]:
    if not names:
        return []
    of = "" if total is None else f" of {total}"
    more = ", ..." if len(names) > SHOWN else ""
    return [f"{what}: {len(names)}{of}: {', '.join(names[:SHOWN])}{more}"]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"
