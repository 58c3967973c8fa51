"""Two trained models compared query by query on the same test set; query: image or caption."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import UserError, paired, perquery, record, testset
from bench.perquery import Array, PerQuery
from bench.recalls import METRICS, WAYS
from bench.schema import Record

if TYPE_CHECKING:
    from rich.table import Table

SAME = 1e-6
"""Recalls in percent that differ by less are equal but for rounding."""


@dataclass(frozen=True)
class Difference:
    """One recall of A and B in percent as their records have it (means over seeds), the 95%
    interval of B - A and p."""

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
    """B against A.

    won and lost: for `i2t` and `t2i` the numbers of the queries that B ranks better and worse than
    A does (mean over seeds), the largest change of rank first; queries: how many there are. These
    are empty where what the queries found is not known. notes: what a reader must know to trust the
    numbers.
    """

    a: str
    b: str
    seeds: int
    differences: tuple[Difference, ...]
    won: dict[str, list[int]]
    lost: dict[str, list[int]]
    queries: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Side:
    """The trained models of one side: a record and its per-query results for each seed."""

    paths: list[Path]
    records: list[Record]
    queries: list[PerQuery]
    """Empty where they are missing."""

    @classmethod
    def of(cls, paths: Sequence[Path]) -> "_Side":
        """Raises UserError where a record cannot be compared; with a single one its queries have to
        be there."""
        records = [record.read(path) for path in paths]
        for path, document in zip(paths, records, strict=True):
            if document["status"] != "ok":
                raise UserError(f"{path} is {document['status']}; compare two trials that are ok")
            if not recalls(document):
                raise UserError(
                    f"{path} has no recall on the test set (random weights are not tested), so "
                    "there is nothing to compare; give two trials of a pretrained backbone"
                )
        try:
            queries = [perquery.load(path) for path in paths]
        except perquery.Missing:
            if len(paths) < 2:
                raise
            queries = []
        return cls(list(paths), records, queries)

    @property
    def name(self) -> str:
        """`cmer seed 0` or `cmer seeds 0, 1, 2`."""
        seeds = [str(document["trial"]["seed"]) for document in self.records]
        what = "seed" if len(seeds) == 1 else "seeds"
        return f"{self.records[0]['trial']['call']} {what} {', '.join(seeds)}"

    def recalls(self) -> Array:
        """The recalls of the records, `(S, 7)`."""
        return np.array([[recalls(d)[name] for name in METRICS] for d in self.records])

    def per_image(self) -> Array:
        """What each image adds to them, `(S, I, 7)`."""
        return np.stack([queries.per_image() for queries in self.queries])

    def rank(self, way: str) -> Array:
        """The mean rank of each query over the seeds, `(Q,)`."""
        return np.asarray(np.mean([queries.ranks[way] for queries in self.queries], axis=0))


def recalls(document: Record) -> dict[str, float]:
    """The seven strict recalls of a record on the test set; none where one is missing."""
    test = document.get("metrics", {}).get("test", {})
    found = {name: float(test[name]) for name in METRICS if name in test}
    return found if len(found) == len(METRICS) else {}


def compare(
    a: Path | Sequence[Path], b: Path | Sequence[Path], *, resamples: int = paired.RESAMPLES
) -> Comparison:
    """Compare the trained models of records on the same test queries.

    `a` and `b`: a record each, or as many of each, of the same seeds in the same order. Raises
    UserError where a record is not ok, what its queries found is not beside it, or the test
    queries are not the same.
    """
    sides = [_Side.of([given] if isinstance(given, Path) else given) for given in (a, b)]
    if len(sides[0].paths) != len(sides[1].paths):
        raise UserError("give as many records of one model as of the other, of the same seeds")
    notes = _check_queries(sides)
    if not all(side.queries for side in sides):
        return _over_seeds(sides, notes)
    first, second = sides[0].per_image(), sides[1].per_image()
    for side, per_image in zip(sides, (first, second), strict=True):
        _check_recalls(side, per_image)
    differences = second - first
    if len(differences) > 1:
        low, high, p = paired.seeds_and_images(differences)
    else:
        low, high = paired.bootstrap(differences[0], resamples)
        p = paired.permutation(differences[0], resamples)
    gains = {way: sides[0].rank(way) - sides[1].rank(way) for way in WAYS}
    return Comparison(
        sides[0].name,
        sides[1].name,
        len(differences),
        _differences(sides, low, high, p),
        {way: _first(gain) for way, gain in gains.items()},
        {way: _first(-gain) for way, gain in gains.items()},
        {way: len(gain) for way, gain in gains.items()},
        tuple(notes),
    )


def _differences(
    sides: Sequence[_Side], low: Array, high: Array, p: Array
) -> tuple[Difference, ...]:
    """Each recall with its test."""
    a, b = (side.recalls().mean(axis=0).tolist() for side in sides)
    rows = zip(METRICS, a, b, low.tolist(), high.tolist(), p.tolist(), strict=True)
    return tuple(Difference(*row) for row in rows)


def _over_seeds(sides: Sequence[_Side], notes: list[str]) -> Comparison:
    """A comparison of records alone, without what their queries found."""
    differences = sides[1].recalls() - sides[0].recalls()
    test = paired.seeds_and_images(differences[:, None])  # as of one image: over seeds alone
    notes.append(
        "What single queries found is not beside the records (*.npz), so this is about these test "
        "images alone, and which queries are won is not known; `bench run ... --rerun` writes it."
    )
    name_a, name_b = (side.name for side in sides)
    found = _differences(sides, *test)
    return Comparison(name_a, name_b, len(differences), found, {}, {}, {}, tuple(notes))


def _check_queries(sides: Sequence[_Side]) -> list[str]:
    """Raise UserError where test queries differ; returns notes on what could not be checked."""
    records = [pair for side in sides for pair in zip(side.paths, side.records, strict=True)]
    captions = [queries.captions for side in sides for queries in side.queries]
    even = all(np.array_equal(captions[0], counts) for counts in captions)
    for path, document in records[1:]:
        what = testset.difference(records[0][1], document)
        if what is None and not even:
            what = "numbers of test images or captions"
        if what is not None:
            raise UserError(
                f"{records[0][0]} and {path} differ in their {what}, so their queries cannot be "
                "paired; give two records of one data set and one version of its annotation"
            )
    unknown = {
        letter
        for letter, side in zip("AB", sides, strict=True)
        if not all(map(testset.is_known, side.records))
    }
    return [f"{' and '.join(sorted(unknown))}: {testset.UNKNOWN}."] if unknown else []


def _check_recalls(side: _Side, per_image: Array) -> None:
    """Raise UserError where what the queries found does not give the recalls of the records."""
    gap = np.abs(per_image.mean(axis=1) - side.recalls()).max(axis=1)
    for path, largest in zip(side.paths, gap, strict=True):
        if largest > SAME:
            raise UserError(
                f"{path.with_suffix('.npz')} does not give the recalls of the record beside it, so "
                "one of them was changed; repeat the trial with `bench run ... --rerun`"
            )


def _first(gain: Array) -> list[int]:
    """Queries with a gain, the largest first."""
    order: Sequence[int] = np.argsort(-gain, kind="stable").tolist()
    return [query for query in order if gain[query] > 0]


def table(comparison: Comparison) -> "Table":
    """A comparison for the terminal."""
    from rich.table import Table

    lines = []
    for way, what in (("i2t", "images"), ("t2i", "captions")):
        if way not in comparison.queries:
            continue
        won, lost, of = comparison.won[way], comparison.lost[way], comparison.queries[way]
        lines.append(
            f"{way}: of {of} {what} B ranks {len(won)} better, {len(lost)} worse, "
            f"{of - len(won) - len(lost)} alike"
        )
    lines += [_about(comparison), *comparison.notes]
    shown = Table(title=f"A  {comparison.a}\nB  {comparison.b}", caption="\n".join(lines))
    shown.title_justify = shown.caption_justify = "left"
    shown.add_column("%")
    for title in ("A", "B", "B - A", "95% interval", "p"):
        shown.add_column(title, justify="right", no_wrap=True)
    for row in comparison.differences:
        p = f"{row.p:.4f}" if row.p >= 1e-4 else "< 0.0001"
        sure = row.p < 0.05 and (row.low > 0 or row.high < 0)
        shown.add_row(
            row.metric,
            f"{row.a:.2f}",
            f"{row.b:.2f}",
            f"{row.difference:+.2f}",
            f"{row.low:+.2f} to {row.high:+.2f}",
            p,
            style="bold" if sure else "",
        )
    return shown


def _about(comparison: Comparison) -> str:
    """How interval and p came about, and what they do not cover."""
    if comparison.seeds > 1:
        text = f"95% interval, p: Student's t over {comparison.seeds} seeds"
        text += ", widened for the choice of test images" if comparison.queries else ""
        few = ". Two seeds say little: a third narrows the interval a lot."
        return text + (few if comparison.seeds == 2 else "")
    return (
        "95% interval: bootstrap over test images; p: permutation of A and B image by image. "
        "Another training may give something else: compare several seeds."
    )
