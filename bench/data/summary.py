"""A check of a data set as text for people: what is there, what is wrong, what follows."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.data.check import Report, Words

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 3
"""Examples named of each fault."""


def show(report: Report, console: "Console") -> None:
    """Print the report: the captions as a table, then the findings, then the verdict."""
    from rich import box
    from rich.table import Table

    table = Table(report.title, box=box.SIMPLE_HEAD, pad_edge=False)
    for split in report.words:
        table.add_column(split, justify="right")
    for what, cells in rows(report.words):
        table.add_row(what, *cells)
    console.print(table)
    for line in (*lines(report), "", verdict(report)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def rows(words: dict[str, Words]) -> list[tuple[str, list[str]]]:
    """What is counted of the captions, each with its figure for each split."""

    def row(what: str, cell: Callable[[Words], str], *but: str) -> tuple[str, list[str]]:
        return what, ["-" if split in but else cell(w) for split, w in words.items()]

    return [
        row("images", lambda w: f"{w.images:,}"),
        row("captions", lambda w: f"{w.rows:,}"),
        row("  different ones (case, punctuation aside)", lambda w: f"{w.sentences:,}"),
        row("  without a word", lambda w: f"{w.blank:,}"),
        row("  that another image of the split has too", lambda w: _share(w.shared_rows, w.rows)),
        row("  that an image of train has too", lambda w: _share(w.rows_in_train, w.rows), "train"),
        row(
            "  that an image of train or val has too",
            lambda w: _share(w.rows_in_train_and_val, w.rows),
            *("train", "val"),
        ),
        row("images with one caption, repeated", lambda w: _share(w.repeating_images, w.images)),
    ]


def verdict(report: Report) -> str:
    """Whether the check passed, and each thing for which it did not."""
    wrong = list(report.faults and ["it is not the data of the card"])
    if not report.published_test_set and not report.faults:
        wrong.append("the test set is another one")
    if not report.images_compared:
        wrong.append("no image could be looked at")
    if report.missing:
        wrong.append(f"{len(report.missing):,} images are missing")
    if report.undecodable:
        wrong.append(f"{len(report.undecodable):,} images cannot be read")
    if wrong:
        return f"NOT COMPLETE: {'; '.join(wrong)}"
    return f"complete: {_data(report)}, and every image can be read"


def _data(report: Report) -> str:
    return "the published data" if report.shipped else "the data that the card describes"


def lines(report: Report) -> list[str]:
    """The findings, one line each, the gravest first."""
    said = [f"FAULT {fault}" for fault in report.faults]
    said.append(_test_set(report))
    if report.ceiling:
        best = " / ".join(f"{value:.1f}" for value in report.ceiling.values())
        why = "" if best == "100.0 / 100.0 / 100.0" else ", because images share captions"
        said.append(f"best possible strict t2i R@1 / R@5 / R@10 on test: {best}{why}")
    silent = sum(w.images_without_words for w in report.words.values())
    if silent:
        said.append(f"images without any word: {silent:,}")
    said += _images(report) if report.images_compared else []
    scenes = sorted({scene for counts in report.scenes.values() for scene in counts})
    total = sum(report.counts.values())
    if scenes:
        said.append(f"scenes: {len(scenes)}; {_scene_range(report)}")
    said += _listed("images without a scene", report.unlabelled, total)
    return [*said, *_lengths(report), *report.notes]


def _test_set(report: Report) -> str:
    """Whether the test images are those of the card, and how far that is known."""
    number, known = report.counts["test"], f"hash {report.test_hash}"
    if not report.published_test_set:
        named = "published one" if report.shipped else "one of the card"
        return f"test set: NOT the {named}: {number:,} images, {known}"
    if report.published_test_hash is None:
        return (
            f"test set: {number:,} images, as many as the card says; it pins no hash, so their "
            f"names were not compared ({known})"
        )
    named = "the published one" if report.shipped else "the one of the card"
    return f"test set: {named}, {number:,} images of the same names ({known})"


def _lengths(report: Report) -> list[str]:
    if not report.longest:
        return []
    tokens, text = report.longest["tokens"], report.longest["caption"]
    size = f"{len(text)} letters" if tokens is None else f"{tokens} tokens of CLIP"
    short = text if len(text) <= 160 else f"{text[:160]} ..."
    said = [f"longest caption: {size}, {report.longest['filename']}: {short}"]
    cut = {split: number for split, number in report.cut.items() if number}
    if cut:
        listed = ", ".join(f"{number:,} in {split}" for split, number in cut.items())
        said.append(
            f"captions longer than CLIP's {report.context_length} tokens: {listed}; a model does "
            "not see their end, and those that are equal without it count as one sentence"
        )
    return said


def _images(report: Report) -> list[str]:
    total = sum(report.counts.values())
    said = _listed("missing images", report.missing, total)
    said += [f"  {name}: {hint}" for name, hint in report.hints.items()]
    if report.undecodable:
        first = list(report.undecodable.values())
        said.append(f"images that cannot be read: {len(first):,}: " + "; ".join(first[:SHOWN]))
    said += _listed("image files that no annotation names", report.extra)
    if len(report.sizes) > 1:
        sizes = ", ".join(f"{size} ({count:,})" for size, count in list(report.sizes.items())[:5])
        more = f", and {len(report.sizes) - 5} more" if len(report.sizes) > 5 else ""
        said.append(f"image sizes: {sizes}{more}")
    if report.twins:
        equal = sum(pair["same_pixels"] for pair in report.twins)
        examples = "; ".join(" = ".join(pair["images"]) for pair in report.twins[:SHOWN])
        near = len(report.twins) - equal
        said.append(f"pairs of the same picture: {equal} equal, {near} nearly equal: {examples}")
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
    return f"in {split} from {few:,} images ({low}) to {many:,} ({high}){missing}"


def _listed(what: str, names: Sequence[str], total: int | None = None) -> list[str]:
    if not names:
        return []
    of = "" if total is None else f" of {total:,}"
    more = ", ..." if len(names) > SHOWN else ""
    return [f"{what}: {len(names):,}{of}: {', '.join(names[:SHOWN])}{more}"]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"
