"""Records compared query by query: their own recalls, the same queries, what cannot be paired."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from bench import UserError, cli, perquery, record, retrieval, testset
from bench.data import spoken_form
from bench.recalls import METRICS
from bench.recipe import Recipe
from bench.trained import compare, paired
from methods.base import Sample

COUNTS = (5, 5, 3, 1, 5, 4)
"""Captions of the made test images: not the same number for each."""


def samples(images: int = 30, *, shared: int = 4, counts: Sequence[int] = COUNTS) -> list[Sample]:
    """A test set in which every so many images share a caption."""
    made = []
    for n in range(images):
        own = [f"a picture of thing {n}, view {k}" for k in range(counts[n % len(counts)])]
        own[0] = f"many things of kind {n // shared}"
        made.append(Sample(f"{n}.tif", tuple(own), "test", "port"))
    return made


def features(of: list[Sample], noise: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and captions encoded by a made model; equal captions have equal features."""
    rng = np.random.default_rng(seed)
    true = np.random.default_rng(0).normal(0, 1, (len(of), 8))
    image = true + rng.normal(0, noise, true.shape)
    known: dict[str, np.ndarray] = {}
    rows = [
        known.setdefault(caption, true[n] + rng.normal(0, noise, 8))
        for n, sample in enumerate(of)
        for caption in sample.captions
    ]
    image, text = (torch.tensor(np.array(part), dtype=torch.float32) for part in (image, rows))
    return torch.nn.functional.normalize(image, dim=1), torch.nn.functional.normalize(text, dim=1)


def trial(
    folder: Path,
    method: str,
    of: list[Sample],
    noise: float = 0.8,
    seed: int = 0,
    *,
    old: bool = False,
    **changed: Any,
) -> Path:
    """The record of a made model and what its queries found, as a trial writes them.

    old: as a version wrote it that kept no hash of the queries.
    """
    image_of = [n for n, sample in enumerate(of) for _ in sample.captions]
    sentences = [spoken_form(caption) for sample in of for caption in sample.captions]
    right = retrieval.right_items(image_of, sentences)
    ranks = retrieval.rank_both(*features(of, noise, len(method) + 10 * seed), right)
    metrics = {
        **retrieval.recalls(ranks["i2t"], ranks["t2i"]),
        **retrieval.t2i_ceiling(image_of, sentences),
    }
    recipe = asdict(Recipe(steps=60))
    document = {
        "schema": 1,
        "status": "ok",
        "identity": f"{method}{seed}".ljust(16, "0"),
        "trial": {
            **{"dataset": "made", "backbone": "starter", "method": method, "call": method},
            **{"settings": {}, "recipe": recipe, "seed": seed, "lr": 0.001},
        },
        "data": {"hashes": {"test": "names"}, "queries": testset.digest(of)},
        "metrics": {"test": metrics},
        "finished": "2026-01-01",
    }
    for name, value in changed.items():
        document[name] = {**document[name], **value} if isinstance(value, dict) else value
    if old:
        del document["data"]["queries"]
    path = folder / "made" / "starter" / method / f"seed{seed}-{method}{seed}.json"
    found = perquery.arrays(ranks, image_of)
    record.write(path, document, {".npz": lambda file: perquery.save(file, found)})
    return path


def compared(a: Path | list[Path], b: Path | list[Path], resamples: int = 50) -> compare.Comparison:
    first, second = ([given] if isinstance(given, Path) else given for given in (a, b))
    return compare.compare(first, second, resamples=resamples)


def recalls_of(path: Path) -> dict[str, float]:
    return {name: record.read(path)["metrics"]["test"][name] for name in METRICS}


def test_the_recalls_are_those_of_the_records_to_the_last_digit(tmp_path: Path) -> None:
    of = samples(60)
    a, b = trial(tmp_path, "lora", of, 1.2), trial(tmp_path, "cmer", of, 0.4)
    found = compared(a, b, 500)
    assert {one.metric: one.a for one in found.differences} == recalls_of(a)
    assert {one.metric: one.b for one in found.differences} == recalls_of(b)
    assert found == compared(a, b, 500)
    assert found.notes == ()
    for one in found.differences:
        assert one.low < one.difference < one.high
        assert (one.low + one.high) / 2 == pytest.approx(one.difference, abs=1.5)
    assert [one.metric for one in found.differences] == list(METRICS)
    assert one.low > 0
    assert one.p < 0.01


def test_what_queries_found_gives_the_recalls(tmp_path: Path) -> None:
    path = trial(tmp_path, "lora", samples())
    queries = perquery.load(path)
    assert queries.per_image().shape == (30, 7)
    np.testing.assert_allclose(queries.per_image().mean(0), list(recalls_of(path).values()))
    with np.load(path.with_suffix(".npz")) as arrays:  # as the module's text says
        for place, k in enumerate((1, 5, 10)):
            share = 100 * arrays["t2i_hits"][:, place].mean()
            assert share == pytest.approx(recalls_of(path)[f"t2i_R@{k}"], abs=1e-9)
        assert {"dup_i2t", "dup_t2i_hits", "captions"} <= set(arrays)
    # There are ties: the expected ranks would give another recall than the chances of a hit.
    assert any(rank != int(rank) for rank in queries.ranks["i2t"])
    assert abs(100 * (queries.ranks["i2t"] <= 1).mean() - recalls_of(path)["i2t_R@1"]) > 1
    assert (perquery.load(path, "dup_").hits["i2t"] >= queries.hits["i2t"]).all()


def test_a_model_does_not_differ_from_itself(tmp_path: Path) -> None:
    path = trial(tmp_path, "lora", samples())
    found = compared(path, path)
    for one in found.differences:
        assert (one.difference, one.low, one.high, one.p) == (0, 0, 0, 1)
    assert found.won == found.lost == {"i2t": [], "t2i": []}


def test_queries_won_and_lost_the_largest_change_first(tmp_path: Path) -> None:
    of = samples(4, counts=(1, 2))
    paths = [trial(tmp_path, name, of) for name in ("a", "b")]
    for path, i2t, t2i in zip(
        paths, ([9, 5, 30, 1], [2, 4, 3, 8]), ([1, 2, 9, 3, 4, 5], [1, 7, 1, 3, 4, 5]), strict=True
    ):
        with np.load(path.with_suffix(".npz")) as arrays:
            ranks = {"i2t": np.float32(i2t), "t2i": np.float32(t2i)}
            found = {**arrays, **ranks}
        record.write(
            path, record.read(path), {".npz": lambda f, all=found: np.savez(f.open("wb"), **all)}
        )
    found = compared(*paths)
    assert found.won == {"i2t": [2, 0, 1], "t2i": [2]}
    assert found.lost == {"i2t": [3], "t2i": [1]}
    assert found.queries == {"i2t": 4, "t2i": 6}


def test_several_seeds_are_paired_even_without_what_queries_found(tmp_path: Path) -> None:
    """Then from the records alone, by the test that marks a report's tables."""
    of = samples()
    a = [trial(tmp_path, "lora", of, 0.9, seed) for seed in range(3)]
    b = [trial(tmp_path, "cmer", of, 0.4, seed) for seed in range(3)]
    whole = compared(a, b)
    assert (whole.seeds, whole.a) == (3, "lora seeds 0, 1, 2")
    ranks = [np.mean([perquery.load(p).ranks["i2t"] for p in side], axis=0) for side in (a, b)]
    assert set(whole.won["i2t"]) == set(np.flatnonzero(ranks[0] > ranks[1]).tolist())
    a[1].with_suffix(".npz").unlink()
    found = compared(a, b)
    assert (found.won, found.lost, found.queries) == ({}, {}, {})
    for one, other in zip(found.differences, whole.differences, strict=True):
        values = [[recalls_of(path)[one.metric] for path in side] for side in (a, b)]
        assert (one.a, one.b) == (other.a, other.b) == pytest.approx(np.mean(values, axis=1))
        gaps = (np.array(values[1]) - values[0]).tolist()
        assert one.p == pytest.approx(paired.t_test(gaps).p, abs=1e-6)
        assert one.low >= other.low  # other test images are not covered
    assert "these test images alone" in " ".join(found.notes)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(compare.table(found))
    assert "captions B ranks" not in console.export_text()
    assert "is missing" in refused(a[1], b[1])
    assert "as many records" in refused(a, b[:2])


# What cannot be compared.


def refused(a: Path | list[Path], b: Path | list[Path]) -> str:
    with pytest.raises(UserError) as raised:
        compared(a, b)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_other_captions_scenes_or_order_are_refused(tmp_path: Path) -> None:
    of = samples()
    a = trial(tmp_path, "lora", of)
    first = of[0]
    others = {
        "caption": [Sample("0.tif", ("another", *first.captions[1:]), "test", "port"), *of[1:]],
        "scene": [Sample("0.tif", first.captions, "test", "pond"), *of[1:]],
        "order": [*of[1:], first],
    }
    for what, other in others.items():
        said = refused(a, trial(tmp_path / what, "cmer", other))
        assert "test captions, scenes or order of images" in said
        assert str(a) in said
    spaced = [Sample("0.png", tuple(c.replace(" ", "  ") for c in first.captions), "test", "port")]
    assert compared(a, trial(tmp_path / "spaces", "cmer", [*spaced, *of[1:]]))


def test_of_older_records_what_they_say_is_compared(tmp_path: Path) -> None:
    of = samples()
    a = trial(tmp_path, "lora", of, old=True)
    other = {"hashes": {"test": "other"}}
    assert "test images" in refused(a, trial(tmp_path / "1", "b", of, old=True, data=other))
    texts = [{"hashes": {"test": "names", "annotation": word}} for word in ("x", "y", "x")]
    x, y, z = (trial(tmp_path, n, of, old=True, data=d) for n, d in zip("xyz", texts, strict=True))
    assert "captions or scenes" in refused(x, y)
    assert "only the names of the test images" in " ".join(compared(x, z).notes)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    of = samples()
    a = trial(tmp_path, "a", of)
    assert "is failed" in refused(a, trial(tmp_path, "failed", of, status="failed"))
    assert "no recall" in refused(a, trial(tmp_path, "random", of, metrics={"test": {}}))
    assert "differ in their" in refused(a, trial(tmp_path, "few", samples(29)))
    b = trial(tmp_path, "b", of, 0.5)
    npz = b.with_suffix(".npz")
    content = npz.read_bytes()
    npz.unlink()
    assert "is missing" in refused(a, b)
    npz.write_bytes(a.with_suffix(".npz").read_bytes())
    assert "another run" in refused(a, b)
    for broken in (b"PK\x03\x04 no archive", content[: len(content) // 2], b""):
        document = record.read(b)
        record.write(b, document, {".npz": lambda file, broken=broken: file.write_bytes(broken)})
        assert "is damaged" in refused(a, b)
    changed = trial(tmp_path, "changed", of)
    document = record.read(changed)
    document["metrics"]["test"]["i2t_R@1"] += 1
    changed.write_text(json.dumps(document))
    assert "does not give the recalls" in refused(a, changed)


def test_the_command_takes_folders_below_the_results(tmp_path: Path) -> None:
    of = samples()
    for seed in range(3):
        trial(tmp_path, "lora", of, 0.9, seed)
        if seed < 2:
            trial(tmp_path, "cmer", of, 0.4, seed)
    words = ["compare", "made/starter/lora", "made/starter/cmer", "--results", str(tmp_path)]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "lora seeds 0, 1" in done.output
    assert "left out: seeds 2, which only one of them has" in done.output
    single = " ".join(CliRunner().invoke(cli.app, [*words, "--seed", "1"]).output.split())
    for text in ("A lora seed 1", "t2i: of 115 captions B ranks", "Another training may give"):
        assert text in single
    done = CliRunner().invoke(cli.app, [*words, "--seed", "7"])
    assert "no record of seed 7" in str(done.exception)
    done = CliRunner().invoke(cli.app, [*words, "--pictures", str(tmp_path / "won.png")])
    assert "one training; choose it: --seed" in str(done.exception)
    assert not done.stdout  # it is refused before the table


def test_a_call_with_brackets_is_shown_as_it_is() -> None:
    call = "peft(where='[kqv]')"
    shown = compare.table(compare.Comparison(call, call, 1, (), (), {}, {}, {}))
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(shown)
    assert console.export_text().count(call) == 2
