"""A check of a data set as text for people: what is there, what is wrong, what follows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.data.check import Report, Words

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 3
"""Examples named for each fault."""
ROWS = (
    ("images", "images", None, ()),
    ("captions", "rows", None, ()),
    ("  different ones (case, punctuation aside)", "sentences", None, ()),
    ("  without a word", "blank", None, ()),
    ("  that another image of the split has too", "shared_rows", "rows", ()),
    ("  that an image of train has too", "rows_in_train", "rows", ("train",)),
    ("  that an image of train or val has too", "rows_in_train_and_val", "rows", ("train", "val")),
    ("images with one caption, repeated", "repeating_images", "images", ()),
)
"""Lines of the table: label, field of `Words`, field that it is a share of, splits without it."""


def show(report: Report, console: "Console") -> None:
    """Print the report: the captions as a table, then the findings, then the verdict."""
    from rich import box
    from rich.table import Table

    table = Table(report.title, box=box.SIMPLE_HEAD, pad_edge=False)
    for split in report.words:
        table.add_column(split, justify="right")
    for label, cells in rows(report.words):
        table.add_row(label, *cells)
    console.print(table)
    for line in (*lines(report), "", verdict(report)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def rows(words: dict[str, Words]) -> list[tuple[str, list[str]]]:
    """The lines of the table, each with its figure for each split."""

    def cell(row: Words, name: str, whole: str | None) -> str:
        count: int = getattr(row, name)
        if whole is None:
            return f"{count:,}"
        total: int = getattr(row, whole)
        return f"{100 * count / total:.1f}%" if total else "-"

    return [
        (label, ["-" if split in but else cell(row, name, of) for split, row in words.items()])
        for label, name, of, but in ROWS
    ]


def verdict(report: Report) -> str:
    """Whether the check passed, and each thing for which it did not."""
    faults = {
        "it is not the data of the card": report.faults,
        "the test set is another one": not report.published_test_set and not report.faults,
        "no image could be looked at": not report.images_compared,
        f"{len(report.missing):,} images are missing": report.missing,
        f"{len(report.undecodable):,} images cannot be read": report.undecodable,
    }
    if any(faults.values()):
        return f"NOT COMPLETE: {'; '.join(fault for fault, holds in faults.items() if holds)}"
    what = "the published data" if report.shipped else "the data that the card describes"
    return f"complete: {what}, and every image can be read"


def lines(report: Report) -> list[str]:
    """The findings, one line each, the gravest first."""
    said = [*(f"FAULT {fault}" for fault in report.faults), _test_set(report)]
    if report.ceiling:
        best = " / ".join(f"{value:.1f}" for value in report.ceiling.values())
        why = "" if best == "100.0 / 100.0 / 100.0" else ", because images share captions"
        said.append(f"best possible strict t2i R@1 / R@5 / R@10 on test: {best}{why}")
    if silent := sum(w.images_without_words for w in report.words.values()):
        said.append(f"images without any word: {silent:,}")
    if report.images_compared:
        said += _images(report)
    if scenes := {scene for counts in report.scenes.values() for scene in counts}:
        said.append(f"scenes: {len(scenes)}; {_scene_range(report)}")
    said += _listed("images without a scene", report.unlabelled, sum(report.counts.values()))
    return [*said, *_lengths(report), *report.notes]


def _test_set(report: Report) -> str:
    """Whether the test images are those of the card, and how far that is known."""
    number, named = report.counts["test"], "published one" if report.shipped else "one of the card"
    if not report.published_test_set:
        return f"test set: NOT the {named}: {number:,} images, hash {report.test_hash}"
    if report.published_test_hash is None:
        return (
            f"test set: {number:,} images, as many as the card says; it pins no hash, so their "
            f"names were not compared (hash {report.test_hash})"
        )
    return f"test set: the {named}, {number:,} images of the same names (hash {report.test_hash})"


def _lengths(report: Report) -> list[str]:
    """The longest caption, and the captions that the context cuts off."""
    if not report.longest:
        return []
    tokens, text = report.longest["tokens"], report.longest["caption"]
    size = f"{len(text)} letters" if tokens is None else f"{tokens} tokens of {report.backbone}"
    short = text if len(text) <= 160 else f"{text[:160]} ..."
    said = [f"longest caption: {size}, {report.longest['filename']}: {short}"]
    if cut := ", ".join(f"{number:,} in {split}" for split, number in report.cut.items() if number):
        limit = f"the {report.context_length} tokens that {report.backbone} takes"
        said.append(
            f"captions longer than {limit}: {cut}; a model does "
            "not see their end, and those that are equal without it count as one sentence"
        )
    return said


def _images(report: Report) -> list[str]:
    said = _listed("missing images", report.missing, sum(report.counts.values()))
    said += [f"  {name}: {hint}" for name, hint in report.hints.items()]
    if report.undecodable:
        first = "; ".join(list(report.undecodable.values())[:SHOWN])
        said.append(f"images that cannot be read: {len(report.undecodable):,}: {first}")
    said += _listed("image files that no annotation names", report.extra)
    if len(report.sizes) > 1:
        sizes = ", ".join(f"{size} ({count:,})" for size, count in list(report.sizes.items())[:5])
        more = f", and {len(report.sizes) - 5} more" if len(report.sizes) > 5 else ""
        said.append(f"image sizes: {sizes}{more}")

    def examples(pairs: list[dict[str, Any]]) -> str:
        return "; ".join(" = ".join(pair["images"]) for pair in pairs[:SHOWN])

    if report.twins:
        equal = sum(pair["same_pixels"] for pair in report.twins)
        both = f"{equal} equal, {len(report.twins) - equal} nearly equal"
        said.append(f"pairs of the same picture: {both}: {examples(report.twins)}")
    for split in ("val", "test"):
        if leaks := report.leaks(split):
            names = {pair["images"][pair["splits"].index(split)] for pair in leaks}
            said.append(f"LEAK {len(names)} {split} images are in train too: {examples(leaks)}")
    return said


def _scene_range(report: Report) -> str:
    """The smallest and the largest scene of the split with the most images."""
    split = max(report.scenes, key=lambda name: sum(report.scenes[name].values()))
    ordered = sorted(report.scenes[split].items(), key=lambda item: item[1])
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
