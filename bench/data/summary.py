"""A check of a data set as text for people: what is there, what is wrong, what follows."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.data.check import Images, Report, Words
from bench.data.twins import Twins

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 3
"""Examples named for each fault."""
LABELS = (
    "images",
    "captions",
    "  different ones (case, punctuation aside)",
    "  without a word",
    "  that another image of the split has too",
    "  that an image of train has too",
    "  that an image of train or val has too",
    "images with one caption, repeated",
)
"""Rows of the table; `column` gives their figures."""


def show(report: Report, console: "Console") -> None:
    """Print the report: the captions as a table, then the findings, then the verdict."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(escape(report.title), box=box.SIMPLE_HEAD, pad_edge=False)
    for split in report.words:
        table.add_column(split, justify="right")
    columns = [column(split, words) for split, words in report.words.items()]
    for row in zip(LABELS, *columns, strict=True):
        table.add_row(*row)
    console.print(table)
    for line in (*lines(report), "", verdict(report)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def column(split: str, words: Words) -> list[str]:
    """The figures of a split, one for each of `LABELS`."""

    def share(count: int, total: int) -> str:
        return f"{100 * count / total:.1f}%" if total else "-"

    return [
        f"{words.images:,}",
        f"{words.rows:,}",
        f"{words.sentences:,}",
        f"{words.blank:,}",
        share(words.shared_rows, words.rows),
        "-" if split == "train" else share(words.rows_in_train, words.rows),
        share(words.rows_in_train_and_val, words.rows) if split == "test" else "-",
        share(words.repeating_images, words.images),
    ]


def verdict(report: Report) -> str:
    """Whether the check passed, and each thing for which it did not."""
    images = report.images
    faults = {
        "it is not the data of the card": report.faults,
        "no image could be looked at": not images.compared,
        f"{len(images.missing):,} images are missing": images.missing,
        f"{len(images.undecodable):,} images cannot be read": images.undecodable,
    }
    if any(faults.values()):
        return f"NOT COMPLETE: {'; '.join(fault for fault, holds in faults.items() if holds)}"
    return "complete: the data that the card describes, and every image can be read"


def lines(report: Report) -> Iterator[str]:
    """The findings, one line each, the gravest first."""
    for fault in report.faults:
        yield f"FAULT {fault}"
    yield _test_set(report)
    if report.ceiling:
        best = " / ".join(f"{value:.1f}" for value in report.ceiling.values())
        why = "" if best == "100.0 / 100.0 / 100.0" else ", because images share captions"
        yield f"best possible strict t2i R@1 / R@5 / R@10 on test: {best}{why}"
    if silent := sum(w.images_without_words for w in report.words.values()):
        yield f"images without any word: {silent:,}"
    total = sum(report.counts.values())
    yield from _images(report.images, total)
    if scenes := {scene for counts in report.scenes.values() for scene in counts}:
        yield f"scenes: {len(scenes)}; {_scene_range(report)}"
    yield from _listed("images without a scene", report.unlabelled, total)
    yield from _lengths(report)
    yield from report.notes


def _test_set(report: Report) -> str:
    """Whether the test images are those of the card, and how far that is known."""
    images, digest = f"{report.counts['test']:,} images", f"hash {report.test_hash}"
    if not report.published_test_set:
        return f"test set: NOT the one of the card: {images}, {digest}"
    if report.published_test_hash is None:
        return (
            f"test set: {images}, as many as the card says; it pins no hash, so their names were "
            f"not compared ({digest})"
        )
    return f"test set: the one of the card, {images} of the same names ({digest})"


def _lengths(report: Report) -> Iterator[str]:
    """The longest caption, and the captions that the context cuts off."""
    if report.longest is not None:
        tokens, text = report.longest.tokens, report.longest.caption
        size = f"{len(text)} letters" if tokens is None else f"{tokens} tokens of {report.backbone}"
        short = text if len(text) <= 160 else f"{text[:160]} ..."
        yield f"longest caption: {size}, {report.longest.filename}: {short}"
    if cut := ", ".join(f"{number:,} in {split}" for split, number in report.cut.items() if number):
        yield (
            f"captions longer than the {report.context_length} tokens that {report.backbone} "
            f"takes: {cut}; a model does not see their end, and those that are equal without it "
            "count as one sentence"
        )


def _images(images: Images, total: int) -> Iterator[str]:
    yield from _listed("missing images", images.missing, total)
    if images.undecodable:
        first = "; ".join(list(images.undecodable.values())[:SHOWN])
        yield f"images that cannot be read: {len(images.undecodable):,}: {first}"
    yield from _listed("image files that no annotation names", images.extra)
    if len(images.sizes) > 1:
        sizes = ", ".join(f"{size} ({count:,})" for size, count in list(images.sizes.items())[:5])
        more = f", and {len(images.sizes) - 5} more" if len(images.sizes) > 5 else ""
        yield f"image sizes: {sizes}{more}"
    if images.twins:
        equal = sum(pair.same_pixels for pair in images.twins)
        both = f"{equal} equal, {len(images.twins) - equal} nearly equal"
        yield f"pairs of the same picture: {both}: {_examples(images.twins)}"
    for split in ("val", "test"):
        if leaks := images.leaks(split):
            leaked = {pair.images[pair.splits.index(split)] for pair in leaks}
            yield f"LEAK {len(leaked)} {split} images are in train too: {_examples(leaks)}"


def _examples(pairs: list[Twins]) -> str:
    return "; ".join(" = ".join(pair.images) for pair in pairs[:SHOWN])


def _scene_range(report: Report) -> str:
    """The smallest and the largest scene of the split with the most images."""
    split = max(report.scenes, key=lambda name: sum(report.scenes[name].values()))
    ordered = sorted(report.scenes[split].items(), key=lambda item: item[1])
    (low, few), (high, many) = ordered[0], ordered[-1]
    absent = [s for s in report.scenes.get("train", {}) if s not in report.scenes.get("test", {})]
    missing = f"; not in test: {', '.join(absent[:SHOWN])}" if absent else ""
    return f"in {split} from {few:,} images ({low}) to {many:,} ({high}){missing}"


def _listed(fault: str, names: Sequence[str], total: int | None = None) -> Iterator[str]:
    if names:
        of = "" if total is None else f" of {total:,}"
        more = ", ..." if len(names) > SHOWN else ""
        yield f"{fault}: {len(names):,}{of}: {', '.join(names[:SHOWN])}{more}"
