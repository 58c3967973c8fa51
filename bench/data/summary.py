"""A check of a data set as text for people: what is there, what is wrong, what follows."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.console import few
from bench.data.check import Images, Report, Words


def show(report: Report, console: Console) -> None:
    """Print the report: the captions as a table, then the findings, then the verdict."""
    table = Table(escape(report.title), box=box.SIMPLE_HEAD, pad_edge=False)
    columns = [figures(split, words) for split, words in report.words.items()]
    for split in report.words:
        table.add_column(split, justify="right")
    for label in columns[0] if columns else ():
        table.add_row(label, *(column[label] for column in columns))
    console.print(table)
    for line in (*lines(report), "", verdict(report)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def figures(split: str, words: Words) -> dict[str, str]:
    """The column of a split in the table, by the labels of the rows."""

    def share(count: int, total: int = words.rows) -> str:
        return f"{100 * count / total:.1f}%" if total else "-"

    in_train, in_both = share(words.rows_in_train), share(words.rows_in_train_and_val)
    return {
        "images": f"{words.images:,}",
        "captions": f"{words.rows:,}",
        "  different ones (case, punctuation aside)": f"{words.sentences:,}",
        "  without a word": f"{words.blank:,}",
        "  that another image of the split has too": share(words.shared_rows),
        "  that an image of train has too": "-" if split == "train" else in_train,
        "  that an image of train or val has too": in_both if split == "test" else "-",
        "images with one caption, repeated": share(words.repeating_images, words.images),
    }


def verdict(report: Report) -> str:
    """Whether the check passed, and each thing for which it did not."""
    if report.incomplete:
        return f"NOT COMPLETE: {'; '.join(report.incomplete)}"
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
    yield from _scenes(report)
    yield from _listed("images without a scene", report.unlabelled, total)
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


def _images(images: Images, total: int) -> Iterator[str]:
    yield from _listed("missing images", images.missing, total)
    if images.undecodable:
        first = few(images.undecodable.values(), mark="; ")
        yield f"images that cannot be read: {len(images.undecodable):,}: {first}"
    yield from _listed("image files that no annotation names", images.extra)
    if len(images.sizes) > 1:
        sizes = [f"{size} ({count:,})" for size, count in images.sizes.items()]
        yield f"image sizes: {few(sizes, 5)}"
    if images.twins:
        equal = sum(pair.same_pixels for pair in images.twins)
        both = f"{equal} equal, {len(images.twins) - equal} nearly equal"
        yield f"pairs of the same picture: {both}: {few(map(str, images.twins), mark='; ')}"
    for split in ("val", "test"):
        if leaks := images.leaks(split):
            leaked = {pair.images[pair.splits.index(split)] for pair in leaks}
            examples = few(map(str, leaks), mark="; ")
            yield f"LEAK {len(leaked)} {split} images are in train too: {examples}"


def _scenes(report: Report) -> Iterator[str]:
    """How many scenes there are, with the smallest and largest in the largest split."""
    scenes = {scene for counts in report.scenes.values() for scene in counts}
    if not scenes:
        return
    split = max(report.scenes, key=lambda name: sum(report.scenes[name].values()))
    ordered = sorted(report.scenes[split].items(), key=lambda item: item[1])
    (low, least), (high, most) = ordered[0], ordered[-1]
    absent = [s for s in report.scenes.get("train", {}) if s not in report.scenes.get("test", {})]
    missing = f"; not in test: {few(absent)}" if absent else ""
    span = f"in {split} from {least:,} images ({low}) to {most:,} ({high})"
    yield f"scenes: {len(scenes)}; {span}{missing}"


def _listed(fault: str, names: Sequence[str], total: int | None = None) -> Iterator[str]:
    if names:
        of = "" if total is None else f" of {total:,}"
        yield f"{fault}: {len(names):,}{of}: {few(names)}"
