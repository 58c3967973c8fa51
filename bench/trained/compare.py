"""Compare two trained models query by query on one test set; a query is an image or a caption."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from bench import UserError, perquery, record, testset
from bench.perquery import Array, PerQuery
from bench.recalls import METRICS, WAYS
from bench.schema import Record
from bench.trained import paired

ROUNDING = 1e-6
"""Recalls in percent that differ by less are equal."""


@dataclass(frozen=True)
class Difference:
    """One recall of A and B in percent (recorded, means over seeds), with the 95% interval of B - A
    and the p-value."""

    metric: str
    a: float
    b: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """B - A in points."""
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """B against A. `won`, `lost` and `queries` are empty if per-query results are missing."""

    a: str
    b: str
    seeds: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    """What a reader must know to trust the numbers."""
    won: dict[str, list[int]]
    """For `i2t` and `t2i`, the indices of the queries that B ranks better (mean over seeds), the
    largest change of rank first."""
    lost: dict[str, list[int]]
    """The same for the queries that B ranks worse."""
    queries: dict[str, int]
    """How many queries there are of each kind."""


@dataclass(frozen=True)
class _Model:
    """One of the two models: for each seed its record and its per-query results."""

    paths: Sequence[Path]
    records: list[Record]
    queries: list[PerQuery]
    """Empty if the per-query results of a seed are missing."""

    @property
    def name(self) -> str:
        """`cmer seed 0` or `cmer seeds 0, 1, 2`."""
        seeds = [str(document["trial"]["seed"]) for document in self.records]
        word = "seed" if len(seeds) == 1 else "seeds"
        return f"{self.records[0]['trial']['call']} {word} {', '.join(seeds)}"

    def recalls(self) -> Array:
        """The recalls of the records, `(S, 7)`."""
        tests = [document["metrics"]["test"] for document in self.records]
        return np.array([[test[name] for name in METRICS] for test in tests])

    def rank(self, way: str) -> Array:
        """The mean rank of each query over the seeds, `(Q,)`."""
        return np.asarray(np.mean([queries.ranks[way] for queries in self.queries], axis=0))


def compare(
    a: Sequence[Path], b: Sequence[Path], *, resamples: int = paired.RESAMPLES
) -> Comparison:
    """Compare the trained models of records on the same test queries.

    `a` and `b`: a record each, or as many of each, of the same seeds in the same order. Raises
    UserError if a record is not ok, if the test queries differ, and for a single record without
    per-query results.
    """
    if len(a) != len(b):
        raise UserError("give as many records of one model as of the other, of the same seeds")
    first, second = _read(a), _read(b)
    notes = _check_queries(first, second)
    won, lost, counts = {}, {}, {}
    if first.queries and second.queries:
        per_image = [np.stack([q.per_image() for q in m.queries]) for m in (first, second)]
        for model, of_images in zip((first, second), per_image, strict=True):
            _check_recalls(model, of_images)
        differences = per_image[1] - per_image[0]
        for way in WAYS:
            gain = first.rank(way) - second.rank(way)
            won[way], lost[way], counts[way] = _gaining(gain), _gaining(-gain), len(gain)
    else:
        differences = (second.recalls() - first.recalls())[:, None]  # (S, 1, M): one "image"
        notes.append(
            "Per-query ranks (*.npz) are missing next to the records, so this is about these test "
            "images alone, and which queries are won is not known; `bench run ... --rerun` writes "
            "them."
        )
    if len(a) > 1:
        low, high, p = paired.seeds_and_images(differences)
    else:
        low, high = paired.bootstrap(differences[0], resamples)
        p = paired.permutation(differences[0], resamples)
    means = [model.recalls().mean(axis=0).tolist() for model in (first, second)]
    rows = zip(METRICS, *means, low.tolist(), high.tolist(), p.tolist(), strict=True)
    tested = tuple(Difference(*row) for row in rows)
    return Comparison(first.name, second.name, len(a), tested, tuple(notes), won, lost, counts)


def _read(paths: Sequence[Path]) -> _Model:
    records = [record.read(path) for path in paths]
    for path, document in zip(paths, records, strict=True):
        if document["status"] != "ok":
            raise UserError(f"{path} is {document['status']}; compare two trials that are ok")
        if set(METRICS) - document.get("metrics", {}).get("test", {}).keys():
            raise UserError(
                f"{path} has no recall on the test set (random weights are not tested), so "
                "there is nothing to compare; give two trials of a pretrained backbone"
            )
    try:
        queries = [perquery.load(path) for path in paths]
    except perquery.Missing:
        if len(paths) < 2:
            raise
        queries = []  # several seeds can be compared by their recalls alone
    return _Model(paths, records, queries)


def _check_queries(first: _Model, second: _Model) -> list[str]:
    """Raise UserError if the test queries differ; returns notes on what could not be checked."""
    counts = [queries.captions for queries in [*first.queries, *second.queries]]
    same_counts = all(np.array_equal(counts[0], other) for other in counts)
    reference = first.records[0].get("data", {})
    paths, records = [*first.paths, *second.paths], [*first.records, *second.records]
    differences = [
        (path, testset.difference(reference, document.get("data", {})))
        for path, document in zip(paths, records, strict=True)
    ]
    differences.append((paths[-1], None if same_counts else "numbers of test captions"))
    for path, what in differences:
        if what is not None:
            raise UserError(
                f"{paths[0]} and {path} differ in their {what}, so their queries cannot be "
                "paired; give two records of one data set and one version of its annotation"
            )
    sides = {"A": first.records, "B": second.records}
    unknown = [name for name, side in sides.items() if not all(map(testset.is_known, side))]
    return [f"{' and '.join(unknown)}: {testset.UNKNOWN}."] if unknown else []


def _check_recalls(model: _Model, per_image: Array) -> None:
    """Raise UserError if the per-query results do not give the recalls of the records.

    Older records do not hold the hash of the file beside them, which may be of another run.
    """
    gaps = np.abs(per_image.mean(axis=1) - model.recalls()).max(axis=1)
    for path, gap in zip(model.paths, gaps, strict=True):
        if not gap <= ROUNDING:
            raise UserError(
                f"{path.with_suffix('.npz')} does not give the recalls of the record beside it, so "
                "one of them was changed; repeat the trial with `bench run ... --rerun`"
            )


def _gaining(gain: Array) -> list[int]:
    """The indices of queries with a gain, the largest gain first."""
    order: list[int] = np.argsort(-gain, kind="stable").tolist()
    return [query for query in order if gain[query] > 0]


def table(comparison: Comparison) -> Table:
    """A comparison for the terminal."""
    lines = []
    for way, total in comparison.queries.items():
        won, lost = len(comparison.won[way]), len(comparison.lost[way])
        noun = "images" if way == "i2t" else "captions"
        alike = total - won - lost
        lines.append(f"{way}: of {total} {noun} B ranks {won} better, {lost} worse, {alike} alike")
    lines += [_about(comparison), *comparison.notes]
    names = escape(f"A  {comparison.a}\nB  {comparison.b}")
    shown = Table(title=names, caption=escape("\n".join(lines)))
    shown.title_justify = shown.caption_justify = "left"
    shown.add_column("%")
    for title in ("A", "B", "B - A", "95% interval", "p"):
        shown.add_column(title, justify="right", no_wrap=True)
    for row in comparison.differences:
        significant = row.p < 0.05 and (row.low > 0 or row.high < 0)
        shown.add_row(
            row.metric,
            f"{row.a:.2f}",
            f"{row.b:.2f}",
            f"{row.difference:+.2f}",
            f"{row.low:+.2f} to {row.high:+.2f}",
            f"{row.p:.4f}" if row.p >= 1e-4 else "< 0.0001",
            style="bold" if significant else "",
        )
    return shown


def _about(comparison: Comparison) -> str:
    """How interval and p-value are computed, and what they do not cover."""
    if comparison.seeds == 1:
        return (
            "95% interval: bootstrap over test images; p: permutation of A and B image by image. "
            "Another training may give something else: compare several seeds."
        )
    text = f"95% interval, p: Student's t over {comparison.seeds} seeds"
    text += ", widened for the choice of test images" if comparison.queries else ""
    advice = ". Two seeds say little: a third narrows the interval a lot."
    return text + (advice if comparison.seeds == 2 else "")
