"""Groups, means, marks and the written tables, on made records with numbers worked out by hand."""

import csv
import io
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from rich.console import Console

from bench import UserError, paired, record, spec
from bench.report import (
    ablation,
    conditions,
    contents,
    csvs,
    groups,
    latex,
    markdown,
    page,
    published,
    report,
    summary,
    tables,
    terminal,
)
from bench.report.significance import LEVEL, Significance
from methods import registry
from tests.helpers import fake_records as fakes

TUNED = """
seeds = [0]
recipe = { epochs = 30.0, steps = 30, batch_size = 128 }
[[tuned]]
dataset = "ucm"
backbone = "starter"
call = "lora"
lr = 0.006
grid = [0.002, 0.006]
val_mR = [16.2, -1.0]
at_edge = true
"""


LONG = {"rank": 16, "targets": "attention,mlp", "where": "last_half_of_the_blocks", "dropout": 0.1}
"""Settings whose call has 92 letters."""


def recalls(mean: float) -> dict[str, float]:
    """Test metrics that are all the same number."""
    names = [f"{way}_R@{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
    return {**dict.fromkeys(names, mean), "mR": mean}


def by_hand(method: str, values: list[float], **given: Any) -> list[dict[str, Any]]:
    """Records of a method with the given mR by seed."""
    return [fakes.record(method, n, test=recalls(v), **given) for n, v in enumerate(values)]


def load(tmp_path: Path, documents: list[dict[str, Any]], **given: Any) -> list[groups.Group]:
    """The groups of some records written to and read from the disk."""
    fakes.save(tmp_path / "results", documents, **given)
    return groups.group_records(record.load(tmp_path / "results"))


def cost_table(group: groups.Group, reference: str = "") -> tables.Table:
    """The table of costs, with ratios to a method or call."""
    return tables.method_table(group, tables.costs(group, group.row(reference)), Significance(None))


def section(group: groups.Group, results: Path | None = None) -> contents.Section:
    """What the report says of a group."""
    said = contents.contents(pandas.DataFrame(), [group], Significance(results), "lora", {})
    return said.sections[0]


def words_of(group: groups.Group) -> str:
    """All sentences of a group's section."""
    said = section(group)
    notes = [note for part in said.parts for note in [*part.notes, part.differs]]
    return " ".join([*said.conditions, *said.origin, *notes])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of many kinds of records with ranks, and its report."""
    root = tmp_path_factory.mktemp("mixed")
    documents = fakes.mixed()
    gpu = {"dataset": "rsitmd", "backbone": "ViT-B-32-quickgelu:openai", "gpu": "NVIDIA H200"}
    documents += [fakes.record("lora", seed, **gpu, **LONG) for seed in range(3)]
    fakes.save(root / "results", documents, arrays=True)
    (root / "results" / "tuned-ucm.toml").write_text(TUNED)
    report.write(root / "results", root / "reports")
    return root / "results", root / "reports"


def test_mean_and_sample_deviation(tmp_path: Path) -> None:
    [one] = load(tmp_path, by_hand("lora", [40.0, 42.0, 47.0]) + by_hand("vpt", [30.0]))
    lora, vpt = one.rows
    found = lora.statistic("metrics.test.mR")
    assert found is not None
    assert found.mean == 43.0
    assert found.std == pytest.approx(13**0.5)  # ((-3)^2 + (-1)^2 + 4^2) / (3 - 1) = 13
    assert found.n == 3
    assert vpt.statistic("metrics.test.mR") == groups.Statistic(30.0, None, 1)
    text = tables.cell_of(lora, tables.recalls()[0])
    assert (text.text, text.spread) == ("43.0", "3.6")


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({}, 1),
        ({"recipe": {"lr": 1e-4}}, 1),
        ({"recipe": {"batch_size": 64}}, 2),
        ({"recipe": {"track": "train+val"}}, 2),
        ({"scene": "oracle"}, 2),
        ({"gpu": "NVIDIA H200"}, 2),
        ({"dataset": "rsicd"}, 2),
        ({"backbone": "ViT-B-32:openai"}, 2),
    ],
)
def test_what_is_never_mixed(tmp_path: Path, change: dict[str, Any], number: int) -> None:
    found = load(tmp_path, [fakes.record("lora"), fakes.record("cmer", **change)])
    assert len(found) == number
    assert len({one.name for one in found}) == number
    assert len({one.title for one in found}) == number


def test_what_may_be_mixed(tmp_path: Path) -> None:
    old, here, there = (
        fakes.record(m, backbone="ViT-B-32:/a/x.pt") for m in ("lora", "vpt", "full")
    )
    for name in ("frozen", "compile", "deterministic"):
        del old["trial"]["recipe"][name]  # a record from before there were these
    there["trial"]["backbone"] = "ViT-B-32:/elsewhere/x.pt"
    for number, document in enumerate((old, here, there)):
        fakes.save(tmp_path / str(number), [document])
    [one] = groups.group_records(record.load(tmp_path))
    assert one.backbone == "ViT-B-32:x.pt"


@pytest.mark.parametrize("key", ["weights", "test_split"])
def test_other_weights_or_split_under_the_same_name(tmp_path: Path, key: str) -> None:
    other = fakes.record("cmer")
    other["trial"]["defines"][key] = "another"
    found = load(tmp_path, [fakes.record("lora"), other])
    assert len(found) == 2
    assert len({one.name for one in found}) == 2


def test_cached_features_stand_apart(tmp_path: Path) -> None:
    other = fakes.record("cmer")
    other["trial"]["cached_features"] = 1
    found = load(tmp_path, [fakes.record("lora"), other])
    assert sorted(one.cached_features for one in found) == [False, True]


def test_two_learning_rates_are_two_rows(tmp_path: Path) -> None:
    [one] = load(tmp_path, [fakes.record("lora"), fakes.record("lora", recipe={"lr": 1e-4})])
    assert sorted(row.label for row in one.rows) == ["lora [own lr]", "lora [recipe lr=0.0001]"]


def test_other_learning_rates_of_the_method_are_never_averaged(tmp_path: Path) -> None:
    documents = by_hand("lora", [10.0, 11.0, 12.0]) + by_hand("lora", [40.0, 42.0])
    for n, document in enumerate(documents):
        document["trial"]["lr"] = 1e-3 if n < 3 else 3e-3
        document["identity"] = f"{n}" * 16
        document["finished"] = f"2026-01-0{n + 1}T00:00:00+00:00"
    [one] = load(tmp_path, documents)
    [row] = one.rows
    assert row.values("metrics.test.mR") == {0: 40.0, 1: 42.0}
    assert "later records of the same calls exist: lora: 3 at lr 0.001." in conditions.replaced(one)
    documents[0] |= {"finished": "2026-02-01T00:00:00+00:00"}  # the last of all
    [one] = load(tmp_path / "b", documents)
    assert one.rows[0].values("metrics.test.mR") == {0: 10.0, 1: 11.0, 2: 12.0}
    assert "lora: 2 at lr 0.003." in conditions.replaced(one)
    documents[3]["trial"]["lr"] = 1e-3  # of the same seed, before and after
    [one] = load(tmp_path / "c", documents[:1] + documents[3:4])
    assert one.rows[0].values("metrics.test.mR") == {0: 10.0}
    assert "lora: 1 at lr 0.001." in conditions.replaced(one)


def test_differs_names_what_should_be_equal(tmp_path: Path) -> None:
    documents = [fakes.record(m, s) for m in ("lora", "vpt", "coop") for s in range(2)]
    documents[2]["environment"]["torch"] = "2.11.0"
    documents[4]["status"] = "failed"
    [one] = load(tmp_path, documents)
    assert {row.label: row.differs for row in one.rows} == {
        "lora": "",
        "vpt": "torch 2.11.0",
        "coop": "seeds 1",
    }


def marks(one: groups.Group, results: Path | None = None) -> dict[str, str]:
    """Marks of mR."""
    return Significance(results).marks(one, "metrics.test.mR", 1)


def test_bold_only_where_significant(tmp_path: Path) -> None:
    # Differences 1, 1.3, 0.7: t = 1 / (0.3 / sqrt 3) = 5.8 > 4.30.
    sure = by_hand("lora", [40, 44, 48.0]) + by_hand("vpt", [39, 42.7, 47.3])
    [one] = load(tmp_path / "a", sure)
    assert marks(one) == {"lora": "best", "vpt": "second"}
    [one] = load(tmp_path / "level", sure + by_hand("coop", [39, 42.7, 47.3]))
    assert marks(one) == {"lora": "best", "vpt": "second", "coop": "second"}
    # Differences 3, -1, 1: t = 1 / (2 / sqrt 3) = 0.87.
    [one] = load(tmp_path / "b", by_hand("lora", [42, 43, 48.0]) + by_hand("vpt", [39, 44, 47.0]))
    assert marks(one) == {"lora": "second", "vpt": "second"}
    # Two seeds: differences 1, 1.2, t = 1.1 / 0.1 = 11 < 12.7.
    [one] = load(tmp_path / "c", by_hand("lora", [40, 44.2]) + by_hand("vpt", [39.0, 43]))
    assert marks(one) == {"lora": "second", "vpt": "second"}


def test_one_seed_marks_nothing_and_says_so(tmp_path: Path) -> None:
    [one] = load(tmp_path, by_hand("lora", [90.0]) + by_hand("vpt", [10.0]))
    assert marks(one) == {}
    assert "nothing is marked" in words_of(one)
    table = tables.recall_table(one, Significance(None))
    assert not any(cell.mark for row in table.rows for cell in row)
    [one] = load(tmp_path / "some", by_hand("lora", [90.0]) + by_hand("vpt", [10.0, 11.0]))
    assert marks(one) == {}


def test_marks_are_of_the_records_alone(tmp_path: Path) -> None:
    """The same records are marked alike with and without what their queries found beside them."""
    documents = fakes.sweep(3, ("zeroshot", "cmer", "lora"))
    load(tmp_path / "with", documents, arrays=True)
    load(tmp_path / "without", documents)
    assert list((tmp_path / "with").rglob("*.npz"))
    assert not list((tmp_path / "without").rglob("*.npz"))
    for name in ("with", "without"):
        report.write(tmp_path / name / "results", tmp_path / name / "out", formats=("md",))
    written = [(tmp_path / name / "out" / "report.md").read_text() for name in ("with", "without")]
    assert written[0] == written[1]
    assert "**" in written[0]


def test_seeds_in_common_are_paired(tmp_path: Path) -> None:
    # Of seeds 1 and 2, which both have, the differences are 1 and 1.02: t = 101 > 12.7.
    documents = by_hand("lora", [90, 44, 48.02]) + by_hand("vpt", [0, 43.0, 47.0])[1:]
    [one] = load(tmp_path, documents)
    assert marks(one) == {"lora": "best", "vpt": "second"}


@pytest.mark.parametrize(("seeds", "methods"), [(2, 2), (3, 2), (3, 12), (5, 4)])
def test_equal_methods_are_seldom_marked(seeds: int, methods: int) -> None:
    """The best of equal methods is bold in no more than 5% of tables, with few seeds too."""
    rng = np.random.default_rng([seeds, methods])
    alarms = 0
    for _ in range(400):
        values = rng.normal(40, 2, (methods, seeds))
        first, second = np.argsort(-values.mean(axis=1))[:2]
        p = paired.t_test(values[first] - values[second])
        alarms += p is not None and p < LEVEL
    assert alarms <= 0.05 * 400 + 3 * (0.05 * 0.95 * 400) ** 0.5  # three standard errors above


def test_a_few_bytes_are_no_spread(tmp_path: Path) -> None:
    documents = fakes.sweep(3, ("lora",))
    for number, document in enumerate(documents):
        document["efficiency"]["saved_for_backward_bytes"] = 500 * 2**20 + 4 * number
    [one] = load(tmp_path, documents)
    table = cost_table(one)
    [cells] = [dict(zip(table.heads, row, strict=True)) for row in table.rows]
    assert (cells["memory, MiB"].text, cells["memory, MiB"].spread) == ("500", "")
    assert cells["images/s"].spread != ""


def test_less_memory_and_more_speed_are_better(tmp_path: Path) -> None:
    documents = fakes.sweep(3, ("full", "lora", "cmer"))
    sizes = (900, 901, 902, 500, 505, 501, 100, 104, 102)
    for document, kept in zip(documents, sizes, strict=True):
        document["efficiency"]["saved_for_backward_bytes"] = kept * 2**20
    [one] = load(tmp_path, documents)
    table = cost_table(one)
    cells = {row[0].text: dict(zip(table.heads, row, strict=True)) for row in table.rows}
    memory = cells["cmer"]["memory, MiB"]
    assert (memory.text, memory.spread, memory.mark) == ("102", "2", "best")
    assert cells["lora"]["memory, MiB"].mark == "second"
    assert cells["cmer"]["images/s"].mark == "best"
    assert cells["lora"]["images/s"].mark == "second"
    documents[-1]["efficiency"]["warning"] = "the GPU was 40% busy"  # cmer's: not comparable
    [one] = load(tmp_path / "busy", documents)
    assert Significance(None).marks(one, "efficiency.train_images_per_second", 1) == {}


def test_costs_on_a_cpu_and_on_a_gpu(tmp_path: Path) -> None:
    [cpu] = load(tmp_path / "cpu", [fakes.record("lora")])
    [gpu] = load(tmp_path / "gpu", [fakes.record("lora", gpu="NVIDIA H200")])
    assert cpu.memory == "efficiency.saved_for_backward_bytes"
    assert gpu.memory == "efficiency.peak_memory_train_bytes"
    assert "bytes that autograd keeps" in words_of(cpu)
    assert "for trying out" in words_of(cpu)
    assert "the most bytes that tensors took" in words_of(gpu)
    assert "kept for backward, MiB" in [column.title for column in tables.costs(gpu)]


def test_ratios_to_the_reference(tmp_path: Path) -> None:
    documents = [fakes.record("lora"), fakes.record("cmer")]
    for document, (kept, speed) in zip(documents, ((400, 10.0), (100, 25.0)), strict=True):
        document["efficiency"]["saved_for_backward_bytes"] = kept * 2**20
        document["efficiency"]["train_images_per_second"] = speed
    [one] = load(tmp_path, documents)
    table = cost_table(one, "lora")
    places = [table.heads.index(head) for head in ("memory / lora", "images/s / lora")]
    ratios = {row[0].text: [row[place].text for place in places] for row in table.rows}
    assert ratios == {"lora": ["1.00×", "1.00×"], "cmer": ["0.25×", "2.50×"]}
    one.ok[-1].record["efficiency"]["warning"] = "busy"  # lora's, to which cmer is compared
    table = cost_table(one, "lora")
    assert [table.rows[0][place].sign for place in places] == ["", "†"]
    assert not any("/ vpt" in h for h in cost_table(one, "vpt").heads)
    documents = by_hand("cmer", [40.0]) + by_hand("cmer", [45.0], queue=0)  # the better one
    fakes.save(tmp_path / "two" / "results", documents)
    [one] = groups.group_records(record.load(tmp_path / "two" / "results"))
    for call in ("cmer", "cmer(queue=0)"):
        heads = cost_table(one, call).heads
        assert f"memory / {call}" in heads
    with pytest.raises(UserError, match=r"no trial of 'cmerr' .* \(did you mean 'cmer'\?\)"):
        report.write(tmp_path / "two" / "results", tmp_path / "out", reference="cmerr")


@pytest.mark.parametrize("status", [*record.STATUSES[1:], "some_later_status"])
def test_holes_are_shown_as_what_they_are(tmp_path: Path, status: str) -> None:
    documents = [fakes.record("lora"), fakes.record("vpt", status=status)]
    [one] = load(tmp_path, documents)
    words = status.replace("_", " ")
    table = tables.recall_table(one, Significance(None))
    assert [row[0].text for row in table.rows[:2]] == ["lora", "vpt"]
    assert [cell.text for cell in table.rows[1][1:]] == ["0 of 1", words, *"––––––"]
    cost = cost_table(one, "lora")
    assert cost.rows[1][2].text == words
    assert conditions.not_ok(one) == [f"vpt, seed 0: {words}: made to be {status}"]
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(terminal.table(record.load(tmp_path / "results")))
    assert words in console.export_text()


def test_efficiency_without_metrics(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ("lora", "cmer"))
    for document in documents:
        document["metrics"] = {}
    fakes.save(tmp_path / "results", documents)
    report.write(tmp_path / "results", tmp_path / "out")
    assert "| `lora` | 2 | – |" in (tmp_path / "out" / "report.md").read_text()
    fakes.save(tmp_path / "results", [fakes.record("adapter", status="failed")])
    [one] = groups.group_records(record.load(tmp_path / "results"))
    assert [row.label for row in one.rows] == ["cmer", "lora", "adapter"]  # what failed is last


def test_ceiling_and_chance(tmp_path: Path) -> None:
    found = load(tmp_path, [fakes.record("cmer"), fakes.record("cmer", scene="oracle")])
    last = [tables.recall_table(one, Significance(None)).rows[-1] for one in found]
    assert [cell.text for cell in last[0]][6:9] == ["38.1", "84.8", "100.0"]
    assert last[1][0].text == "chance inside the true scene"
    assert last[1][2].text == "46.9"


def settings_table(one: groups.Group) -> tables.Table:
    [(_, _, table)] = ablation.ablation_tables(one, Significance(None))
    return table


def test_ablation_has_the_default_first_and_one_setting_at_a_time(tmp_path: Path) -> None:
    documents = by_hand("cmer", [45.0, 47.0, 46.0]) + by_hand("lora", [40.0, 41.0])
    documents += by_hand("cmer", [44.0, 46.1, 44.9], queue=512)  # -1, -0.9, -1.1: t = 17 > 4.30
    documents += by_hand("cmer", [46.0, 45.0, 46.1], queue=0)  # +1, -2, +0.1: no difference
    documents += by_hand("cmer", [41.0], focus="none", queue=0)
    documents.append(fakes.record("cmer", focus="none", status="out_of_memory"))
    [one] = load(tmp_path, documents)
    [(method, about, table)] = ablation.ablation_tables(one, Significance(None))
    assert method == "cmer"
    assert about.startswith("Settings of cmer, one changed at a time; default: focus='soft', queue")
    assert "several" in about
    assert [row[0].text for row in table.rows] == [
        "default",
        "focus='none'",
        "queue=0",
        "queue=512",
        "focus='none', queue=0",
    ]
    assert table.breaks == (1, 2, 4)
    place = table.heads.index("mR - default")
    changes = [row[place].text + row[place].sign for row in table.rows]
    assert changes == ["", "–", "-0.3", "-1.0 *", "-4.0"]
    assert [cell.text for cell in table.rows[3][2:6]] == ["45.0", "-1.0", "45.0", "45.0"]
    assert table.rows[1][place - 1].text == "out of memory"
    assert set(ablation.COLUMNS) < set(table.heads)


def test_stars_are_corrected_for_the_number_of_calls(tmp_path: Path) -> None:
    """A difference that alone is significant (p 0.012) is not among five that were tried."""
    base, clear = [45.0, 47.0, 46.0], [44.0, 46.1, 44.9]
    one_call = by_hand("cmer", base) + by_hand("cmer", [44.0, 46.2, 44.8], queue=512)
    several = [n for q in range(4) for n in by_hand("cmer", [45.5, 46.0, 46.4], queue=q)]
    place = 3
    for name, documents, star in (("one", one_call, " *"), ("five", one_call + several, "")):
        table = settings_table(load(tmp_path / name, documents)[0])
        [row] = [row for row in table.rows if row[0].text == "queue=512"]
        assert table.heads[place] == "mR - default"
        assert (row[place].text, row[place].sign) == ("-1.0", star)
    documents = by_hand("cmer", base) + by_hand("cmer", clear, queue=512) + several  # p 0.0034
    table = settings_table(load(tmp_path / "clear", documents)[0])
    assert [row[place].sign for row in table.rows if row[0].text == "queue=512"] == [" *"]


def test_ablation_counts_the_learning_rate_as_a_setting(tmp_path: Path) -> None:
    documents = by_hand("cmer", [45.0]) + by_hand("cmer", [44.0], queue=0)
    documents += by_hand("cmer", [43.0], focus="none") + by_hand("cmer", [42.0], scene_p=0.0)
    for document, (call, lr) in zip(
        documents,
        (("cmer", 1e-3), ("cmer(queue=0, lr=0.001)", 1e-3), ("", 2e-3), ("cmer(lr=0.002)", 2e-3)),
        strict=True,
    ):
        document["trial"] |= {"lr": lr, "call": call or "cmer(focus='none')"}
    documents[3]["trial"]["settings"]["scene_p"] = 0.3  # all defaults, at another rate
    table = settings_table(load(tmp_path, documents)[0])
    assert [row[0].text for row in table.rows] == [
        "default",
        "lr=0.002",
        "queue=0",
        "focus='none', lr=0.002",
    ]


def test_a_setting_that_an_older_record_has_not_is_as_in_the_default(tmp_path: Path) -> None:
    documents = by_hand("cmer", [45.0]) + by_hand("cmer", [44.0], queue=0)
    del documents[0]["trial"]["settings"]["scene_p"]
    table = settings_table(load(tmp_path, documents)[0])
    assert [row[0].text for row in table.rows] == ["default", "queue=0"]


def test_the_committed_ablation_changes_one_setting_at_a_time() -> None:
    file = Path(__file__).parent.parent / "benchmarks" / "ablation.toml"
    calls = [
        spec.resolve(name, given, registry())
        for text in tomllib.loads(file.read_text())["methods"]
        for name, given in spec.parse_calls(text)
    ]
    default, *others = calls
    assert default.text == default.name
    for call in others:
        changed = [k for k, v in call.settings if v != dict(default.settings)[k]]
        assert len(changed) == 1, call.text
        assert call.lr == others[0].lr


def test_many_calls_of_a_method_are_left_to_its_table_of_settings(tmp_path: Path) -> None:
    values = (0, 1, 2, 3, 4, 5)
    documents = by_hand("cmer", [45.0]) + by_hand("lora", [40.0])
    for value in values:
        documents += by_hand("cmer", [60.0 - value], queue=value)
        documents[-1]["metrics"]["val"]["mR"] = 50.0 + (value == 4)
    # What stands in the table of settings alone is told of as well.
    documents[2]["efficiency"] |= {"windows": 5, "busy_windows": 2, "disturbed": True}
    documents.append(fakes.record("cmer", 1, queue=0, status="out_of_memory"))
    [one] = load(tmp_path, documents)
    folded = ablation.fold(one)
    assert [row.label for row in folded.rows] == ["cmer(queue=4)", "cmer", "lora"]
    assert len(settings_table(folded).rows) == 7
    assert "5 more calls of cmer" in words_of(folded)
    few = replace(one, rows=one.rows[1:])
    assert "out of memory: made" in conditions.not_ok(folded)[0]
    [note] = conditions.footnotes(folded).values()
    assert "2 of 5 windows busy: cmer(queue=0) seed 0)." in note
    assert ablation.fold(few) is few
    assert csvs.table([folded], "lora") == csvs.table([one], "lora")


def test_busy_and_throttled_figures_are_marked_and_explained(tmp_path: Path) -> None:
    documents = [fakes.record(m, s, gpu="NVIDIA H200") for m in ("lora", "cmer") for s in range(2)]
    plain, busy, windows, hot = (document["efficiency"] for document in documents)
    plain |= {"warning": None, "busy_windows": 3, "windows": 5, "disturbed": False}  # left out
    busy["warning"] = "the GPU was 40% busy before the trial began"
    windows |= {"busy_windows": 2, "windows": 5, "disturbed": True}
    hot |= {"throttled_windows": 1, "windows": 5, "gpu_throttle_reasons": ["power_cap"]}
    fakes.save(tmp_path / "results", documents)
    [one] = groups.group_records(record.load(tmp_path / "results"))
    table = cost_table(one, "lora")
    signs = {row[0].text: [cell.sign for cell in row] for row in table.rows}
    place = {head: number for number, head in enumerate(table.heads)}
    assert signs["lora"][place["images/s"]] == "†"
    assert signs["cmer"][place["images/s"]] == "†‡"
    assert signs["cmer"][place["memory, MiB"]] == "†"
    ratio = {row[0].text: row[place["images/s / lora"]].sign for row in table.rows}
    assert ratio == {"lora": "†", "cmer": "†‡"}
    assert signs["lora"][place["trainable parameters"]] == ""
    assert signs["lora"][place["kept for backward, MiB"]] == ""
    first, second = conditions.footnotes(one).values()
    assert "the GPU was 40% busy before the trial began: lora seed 1" in first
    assert "2 of 5 windows busy: cmer seed 0" in first
    assert "lora seed 0" not in first
    assert "1 of 5 windows (power cap): cmer seed 1" in second
    hot["epoch_seconds"] = 9.0
    [cached] = load(tmp_path / "cached", documents[3:])
    assert conditions.spoilt(cached.rows[0], "efficiency.epoch_seconds") == "‡"
    frame = record.load(tmp_path / "results")
    said = contents.contents(frame, [one], Significance(None), "lora", {})
    for text in (markdown.write(said), page.html(frame, said, [one], "")):
        assert first in text.replace("\\_", "_")
        assert "†‡" in text
    parts = {part.name: part for part in said.sections[0].parts}
    assert first not in parts["recall"].notes  # the note stands where its mark does
    assert first in parts["cost"].notes
    written = latex.write(said.sections[0], parts["cost"])
    assert r"$^\dagger$$^\ddagger$" in written
    assert written.index("2 of 5 windows busy") > written.index(r"\bottomrule")


def test_many_busy_trials_are_not_all_named(tmp_path: Path) -> None:
    documents = fakes.sweep(conditions.SHOWN + 2, ["lora"])
    for document in documents:
        document["efficiency"] |= {"windows": 5, "busy_windows": 5, "disturbed": True}
    [note] = conditions.footnotes(load(tmp_path, documents)[0]).values()
    assert note.endswith("lora seed 5 and 2 more).")


def test_the_conditions_say_how_the_trials_were(tmp_path: Path) -> None:
    def said(**given: Any) -> str:
        document = fakes.record("cmer", **given)
        document["trial"]["cached_features"] = 4
        [one] = load(tmp_path / "".join(map(str, given.values())), [document])
        return words_of(one)

    usual = said()
    assert "best validation mR is tested, once" in usual
    assert "cached features, which means another augmentation." in usual
    assert "oracle" not in usual
    assert "nothing is selected" in said(recipe={"track": "train+val"})
    assert "oracle information" in said(scene="oracle")
    assert "the untrained backbone predicts the scene" in said(scene="predicted")
    assert "memory leaves them out" in said(gpu="NVIDIA H200")


def test_cached_features_have_no_evaluation_speed(tmp_path: Path) -> None:
    documents = [fakes.record("cmer"), fakes.record("cmer", seed=1)]
    documents[1]["trial"]["cached_features"] = 4
    plain, cached = sorted(load(tmp_path, documents), key=lambda group: group.cached_features)
    for group, there in ((plain, True), (cached, False)):
        frame = record.load(tmp_path / "results")
        said = contents.contents(frame, [group], Significance(None), "lora", {})
        assert ("evaluation images/s" in markdown.write(said)) is there
    assert "images whose cached features are trained on" in words_of(cached)


def test_energy_is_told_per_image_trained_on(tmp_path: Path) -> None:
    documents = by_hand("lora", [40.0], gpu="NVIDIA H200")
    documents[0]["efficiency"] |= {"gpu_energy_joules": 998_400.0, "gpu_power_watts_mean": 400.0}
    [one] = load(tmp_path, documents)
    table = cost_table(one, "lora")
    # 390 steps of 128 images are 49,920 images: 20 J each
    assert table.rows[0][table.heads.index("J/image")].text == "20"
    documents[0]["trial"]["recipe"]["accumulation"] = 2
    [one] = load(tmp_path / "more", documents)
    assert one.ok[0].get(groups.JOULES) == pytest.approx(10)
    assert "batch 256;" in words_of(one)
    machine = tables.method_table(one, tables.machine(one), Significance(None))
    assert machine.rows[0][machine.heads.index("power, W")].text == "400"
    assert "evaluation captions/s" in machine.heads


def test_letters_stand_for_what_differs(tmp_path: Path) -> None:
    documents = [fakes.record(m, s) for m in ("lora", "vpt", "coop") for s in range(2)]
    for document in documents[2:4]:
        document["environment"]["cpu"] = "Another CPU of a long name"
    for document in (documents[2], documents[4]):
        document["environment"]["torch"] = "2.11.0"
    [one] = load(tmp_path, documents)
    table = tables.recall_table(one, Significance(None))
    cells = {row[0].text: row[-1].text for row in table.rows[:3]}
    assert table.heads[-1] == "differs"
    letter = conditions.letters(one)
    cpu, torch = letter["cpu Another CPU of a long name"], letter["torch 2.11.0"]
    assert {cpu, torch} == {"a", "b"}
    assert cells["lora"] == ""
    assert set(cells["vpt"].split()) == {"a", "b"}
    assert cells["coop"] == torch
    legend = conditions.legend(one)
    assert [conditions.letter(n) for n in (0, 25, 26, 52)] == ["a", "z", "aa", "ba"]
    assert legend.startswith("Differs from the group (cpu Made CPU, torch 2.15.0): a: ")
    assert f"{cpu}: cpu Another CPU of a long name" in legend


def test_calibration_warns_outside_the_band_only(tmp_path: Path) -> None:
    clip = {"dataset": "rsitmd", "backbone": "ViT-B-32-quickgelu:openai"}
    good = load(tmp_path / "good", by_hand("zeroshot", [23.6], **clip))
    assert published.calibration(good) == []
    [fits] = published.calibrations(good)
    assert str(fits).endswith("on rsitmd: mR 23.60, published 23.05 to 24.19: as it should be")
    bad = load(tmp_path / "bad", by_hand("zeroshot", [18.0], **clip))
    [warning] = published.calibration(bad)
    assert "18.00" in warning
    assert "published 23.05 to 24.19. Look for the fault" in warning
    assert warning.index("resized") < warning.index("tokenizer") < warning.index("QuickGELU")
    assert warning.index("QuickGELU") < warning.index("split")
    assert "(try ViT-B-32:openai)" in warning
    ucm = load(tmp_path / "ucm", by_hand("zeroshot", [18.0], backbone="ViT-B-32:openai"))
    assert "published 33.08." in published.calibration(ucm)[0]
    other = load(tmp_path / "other", by_hand("zeroshot", [18.0], dataset="rsitmd"))
    assert published.calibration(other) == []
    trained = load(tmp_path / "trained", by_hand("lora", [18.0], **clip))
    assert published.calibration(trained) == []
    remote = {"dataset": "rsicd", "backbone": "ViT-L-14-quickgelu:RemoteCLIP-ViT-L-14.pt"}
    [result] = published.calibrations(load(tmp_path / "r", by_hand("zeroshot", [36.0], **remote)))
    assert (result.fits, result.band) == (True, "36.35")
    report.write(tmp_path / "bad" / "results", tmp_path / "out")
    assert "[!WARNING]" in (tmp_path / "out" / "report.md").read_text()


def test_a_backbone_trained_on_the_data_set_is_marked_in_every_table(tmp_path: Path) -> None:
    seen = by_hand("zeroshot", [40.0], dataset="rsitmd", backbone="ViT-B-32:RemoteCLIP-ViT-B-32.pt")
    other = by_hand("lora", [41.0], dataset="rsitmd", backbone="ViT-B-32:mine.pt")
    old = by_hand("lora", [20.0], dataset="rsicd", backbone="starter")
    for made in other:
        made["backbone"]["trained_on"] = ["rsitmd"]
    unseen = by_hand("lora", [20.0], dataset="ucm", backbone="starter")
    groups = load(tmp_path, [*seen, *other, *old, *unseen])
    marked = {(one.dataset, one.spec): one.title.count(" § · ") for one in groups}
    assert marked == {
        ("rsicd", "starter"): 1,
        ("rsitmd", "ViT-B-32:RemoteCLIP-ViT-B-32.pt"): 1,
        ("rsitmd", "ViT-B-32:mine.pt"): 1,
        ("ucm", "starter"): 0,
    }
    notes = {(g.dataset, g.spec): conditions.footnotes(g).get("§", "") for g in groups}
    said = "starter was trained on the training images and captions of rsicd itself"
    assert said in notes["rsicd", "starter"]
    assert notes["ucm", "starter"] == ""
    table, legends = published.beside_ours(groups, "rsitmd") or pytest.fail("none published")
    signs = {row[1].text: row[1].sign for row in table.rows[:2]}
    assert signs == {"ViT-B-32:RemoteCLIP-ViT-B-32.pt": " §", "ViT-B-32:mine.pt": " §"}
    assert sum("§ ViT-B-32:RemoteCLIP-ViT-B-32.pt was trained on" in text for text in legends) == 1
    report.write(tmp_path / "results", tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    html = (tmp_path / "out" / "index.html").read_text()
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal.table(record.load(tmp_path / "results")))
    for written in (text, html, console.export_text()):
        assert written.count("§ starter was trained on the training images") >= 1
    for part in ("recall", "cost"):
        tex = (tmp_path / "out" / "latex" / f"rsicd-starter-{part}.tex").read_text()
        assert r"starter \S{}" in tex[tex.index(r"\caption") :]
        assert "was trained on the training images" in tex


def test_published_numbers_are_whole() -> None:
    rows = published.numbers()
    assert len(rows) > 80
    for row in rows:
        six = [row[f"{way}_R{k}"] for way in ("i2t", "t2i") for k in (1, 5, 10)]
        if any(six):
            mean = statistics.fmean(map(float, six))
            assert mean == pytest.approx(float(row["mR_recomputed"]), abs=0.011)
        else:  # only the mean was found
            assert not row["mR_recomputed"]
            assert float(row["mR"]) > 0
        assert row["source"]
        assert row["backbone"]
        assert row["protocol"]


def test_published_beside_ours(mixed: tuple[Path, Path]) -> None:
    text = (mixed[1] / "report.md").read_text()
    part = text[text.index("## Published on rsitmd") : text.index("## Published on ucm")]
    assert "| `cmer` | ViT-B-32-quickgelu:openai |" in part
    assert "oracle" not in part
    known = groups.group_records(record.load(mixed[0]))
    found = published.beside_ours(known, "rsitmd")
    assert found is not None
    table, notes = found
    legend = " ".join(notes)
    for name, protocol, source in (
        ("cmer", "best on val", "ours, NVIDIA H200"),
        (
            "PE-RSITR (MRS-Adapter+HMMC)",
            "trained on train and val; selection not stated",
            "PE-RSIT",
        ),
        ("HarMA (CLIP)", "its code: 80% of train, best epoch on test kept", "THIRD-PARTY"),
    ):
        [row] = [row for row in table.rows if row[0].text == name]
        letter, number = row[-1].text.split()
        assert f" {letter}: {protocol}" in legend
        assert f" {number}: {source}" in legend
        if name == "HarMA (CLIP)":
            figures = " ".join(cell.text for cell in row[3:10])
            assert figures == "46.53 25.81 48.37 60.61 19.92 53.27 71.21"
    [odd] = [row for row in table.rows if row[3].sign]
    assert (odd[0].text, odd[3].text) == ("AdaptFormer", "34.81")
    odd_ones = "*: the mean of its six recalls is not the mR printed: AdaptFormer 34.51."
    assert legend.endswith(odd_ones)
    by_a_tenth = published.beside_ours(known, "rsicd")
    assert by_a_tenth is not None
    assert by_a_tenth[1][-1].endswith("CLIP-CL full FT on RET-3 33.84.")
    alone = published.beside_ours([replace(one, cached_features=1) for one in known], "rsitmd")
    assert alone is not None
    assert not any(row[0].code for row in alone[0].rows)
    selected = [replace(one, recipe={**one.recipe, "track": "train+val"}) for one in known]
    both = published.beside_ours(selected, "rsitmd")
    assert both is not None
    assert both[1][0].startswith("Protocol a: train+val, last step;")


@pytest.mark.parametrize(
    ("cell", "written", "set_"),
    [
        (
            tables.Cell("4.1", "0.2", "best"),
            "**4.1**\u00a0±\u00a00.2",
            r"\textbf{4.1}{\tiny$\pm$0.2}",
        ),
        (tables.Cell("4.1", mark="second"), "<ins>4.1</ins>", r"\underline{4.1}"),
        (tables.Cell("91", sign="†‡"), "91†‡", r"91$^\dagger$$^\ddagger$"),
        (tables.Cell("-1.0", sign=" *"), r"-1.0 \*", "$-$1.0*"),
        (tables.Cell("m(a='x|y_z')", code=True), r"`m(a='x\|y_z')`", r"\texttt{m(a='x$|$y\_z')}"),
        (tables.Cell("a_b*|<i>"), r"a\_b\*\|\<i\>", r"a\_b*$|$$<$i$>$"),
    ],
)
def test_cells_in_markdown_and_latex(cell: tables.Cell, written: str, set_: str) -> None:
    assert markdown._cell(cell) == written
    assert latex._cell(cell) == set_


def test_markdown_tables_are_even(mixed: tuple[Path, Path]) -> None:
    lines = (mixed[1] / "report.md").read_text().splitlines()
    tables_ = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    widths = [
        {len(re.findall(r"(?<!\\)\|", line)) for line in t.splitlines() if line} for t in tables_
    ]
    assert all(len(width) <= 1 for width in widths)
    assert "| --- |" + " ---: |" * 8 in lines  # a method call at the left, figures at the right
    assert sum(bool(width) for width in widths) > 10
    named = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", "\n".join(lines))
    assert named
    assert all((mixed[1] / name).exists() for name in named)


def test_a_latex_file_for_each_table(mixed: tuple[Path, Path]) -> None:
    files = sorted(path.name for path in (mixed[1] / "latex").iterdir())
    assert {name for name in files if name.startswith(("published", "search", "ucm-starter"))} == {
        *("published-rsicd-table.tex", "published-rsitmd-table.tex", "published-ucm-table.tex"),
        *("search-tuned-ucm-table.tex", "ucm-starter-recall.tex", "ucm-starter-cost.tex"),
        *("ucm-starter-settings-cmer.tex", "ucm-starter-settings-lora.tex"),
        *("ucm-starter-duplicates.tex", "ucm-starter-machine.tex", "ucm-starter-reach.tex"),
    }
    assert all(re.fullmatch(r"[A-Za-z0-9-]+\.tex", name) for name in files)
    for file in (mixed[1] / "latex").iterdir():
        text = file.read_text()
        check_latex(text)
        for caption in re.findall(r"\\caption\{(.*)\}", text):
            assert caption.count(". ") == 0, caption  # one sentence
            assert len(caption) < 250
        assert "commit" not in re.sub(r"(?m)^%.*$", "", text)
        assert text.count("% conditions: ") >= 2


def test_a_latex_table_has_its_conditions_below_and_mr_last(mixed: tuple[Path, Path]) -> None:
    text = (mixed[1] / "latex" / "ucm-starter-recall.tex").read_text()
    heads = next(line for line in text.splitlines() if "R@10 &" in line)
    assert heads.removesuffix(r" \\").split(" & ")[-2:] == ["R@10", "mR"]
    assert text.index("210 test images; seeds 0, 1, 2") > text.index("% ")
    notes = text[text.index(r"\bottomrule") :]
    assert "210 test images; seeds 0, 1, 2" in notes
    assert "sample standard deviation" in notes


def test_tables_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    fakes.save(tmp_path / "r", [fakes.record("lora")])
    folder = tmp_path / "out" / "latex"
    folder.mkdir(parents=True)
    for old in (tmp_path / "out" / "ucm-starter.tex", folder / "gone.tex"):
        old.write_text(f"{latex.MADE}. Needs booktabs.\nold figures")
    (folder / "mine.tex").write_text("my own")
    report.write(tmp_path / "r", tmp_path / "out", formats=("tex",))
    names = {path.name for path in (tmp_path / "out").rglob("*.tex")}
    assert "mine.tex" in names
    assert not names & {"gone.tex", "ucm-starter.tex"}


LAYOUTS = {
    "one column, 11 points": r"\documentclass[11pt]{article}",
    "two columns": r"\documentclass[twocolumn]{article}"
    r"\usepackage[textwidth=6.875in,textheight=8.875in]{geometry}",  # CVPR's
    "the column of two": r"\documentclass[twocolumn]{article}",
}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_latex_fits_the_page(mixed: tuple[Path, Path], tmp_path: Path, layout: str) -> None:
    """No box too wide, no float too high; in one column of two where `table*` becomes `table`."""
    body = ""
    for file in sorted((mixed[1] / "latex").iterdir()):
        text = file.read_text()
        body += text.replace("table*", "table") if layout == "the column of two" else text
        body += r"\clearpage" + "\n"
    head = LAYOUTS[layout] + r"\usepackage{array,booktabs,adjustbox}"
    (tmp_path / "t.tex").write_text(rf"{head}\begin{{document}}{body}\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if re.search(r"File `(adjustbox|array)\.sty' not found", done.stdout):
        pytest.skip("a TeX without adjustbox")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "too large" not in done.stdout


def test_every_table_is_in_every_form(mixed: tuple[Path, Path]) -> None:
    forms = [(mixed[1] / name).read_text() for name in ("report.md", "index.html")]
    forms.append("".join(file.read_text() for file in sorted((mixed[1] / "latex").iterdir())))
    words = ("every image that carries the very caption", "Compute and machine", "Settings of cmer")
    words += ("PE-RSITR (MRS-Adapter+HMMC)", "2 points for each method, seed 0, 30 steps")
    words += ("lr 0.002, 0.006", "lr 0.006 (edge of the grid: lr)", "tuned-ucm.toml", "oracle")
    for text in forms:
        for word in words:
            assert word in text.replace(r"\allowbreak{}", ""), word


def numbers_of(text: str) -> list[str]:
    """The figures with decimals in a text."""
    return re.findall(r"\d+\.\d+", text)


def test_markdown_and_latex_have_the_same_decimals(mixed: tuple[Path, Path]) -> None:
    markdown_, latex_ = (
        (mixed[1] / name).read_text() for name in ("report.md", "latex/ucm-starter-recall.tex")
    )
    start = markdown_.index('<a id="ucm-starter"></a>')
    table = markdown_[start:].partition("| --- |")[2].partition("\n\n")[0]
    rows = latex_[latex_.index(r"\midrule") : latex_.index(r"\bottomrule")]
    assert sorted(numbers_of(table)) == sorted(numbers_of(rows))


def test_only_some_methods_and_columns(tmp_path: Path) -> None:
    documents = fakes.sweep(2, ("zeroshot", "lora", "cmer", "vpt"))
    documents += [fakes.record("cmer", seed, queue=0) for seed in range(2)]
    fakes.save(tmp_path / "r", documents)
    given = {"methods": "lora,cmer(queue=0)", "columns": "memory, MR,images/s / lora"}
    report.write(tmp_path / "r", tmp_path / "out", formats=("md", "tex", "csv"), **given)
    text = (tmp_path / "out" / "report.md").read_text()
    lines = text[text.index('<a id="ucm-starter"></a>') :].splitlines()
    heads, _, *rows = [line for line in lines if line.startswith("|")][:4]
    assert heads == "| method | n | memory, MiB | mR | images/s / lora |"
    assert sorted(row.split("`")[1] for row in rows) == ["cmer(queue=0)", "lora"]
    assert "`vpt`" not in text
    assert (tmp_path / "out" / "latex" / "ucm-starter-table.tex").is_file()
    records = list(csv.DictReader((tmp_path / "out" / "records.csv").open()))
    assert len(records) == 10  # the records are all there
    report.write(tmp_path / "r", tmp_path / "out", formats=("md",), methods="cmer")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| `cmer` |" in text
    assert "| `cmer(queue=0)` |" in text  # a name stands for all calls
    for wrong, sentence in (
        ({"methods": "cmr"}, r"no trial of 'cmr' is recorded \(did you mean 'cmer'\?\)"),
        ({"columns": "mR,memry"}, r"no column is called 'memry' \(did you mean 'memory'\?\)"),
    ):
        with pytest.raises(UserError, match=sentence):
            report.write(tmp_path / "r", tmp_path / "out", **wrong)


def test_the_summary_names_the_best_and_what_is_level(tmp_path: Path) -> None:
    documents = by_hand("lora", [40, 44, 48.0]) + by_hand("vpt", [39.0, 42.7, 47.3])
    documents += by_hand("coop", [42.0, 43.0, 46.0]) + by_hand("zeroshot", [20.0, 20.0, 20.0])
    documents += by_hand("full", [50.0], dataset="rsicd")
    for document in documents:
        kept = {"lora": 300, "vpt": 100, "coop": 50}.get(document["trial"]["method"], 200)
        if document["efficiency"].get("saved_for_backward_bytes"):
            document["efficiency"]["saved_for_backward_bytes"] = kept * 2**20
    found = load(tmp_path, documents)
    assert [group.dataset for group in found] == ["ucm", "rsicd"]  # more seeds first
    table, _ = summary.summary(found, Significance(None))
    first, second = ([cell.text for cell in row] for row in table.rows)
    assert table.rows[0][0].link == "ucm-starter"
    assert first[1:7] == ["210", "3", "4", "lora 44.0 ± 4.0", "coop", "coop 50 MiB"]
    assert second[2:6] == ["1", "1", "full 50.0", "–"]
    one_seed = load(tmp_path / "b", by_hand("lora", [40.0]) + by_hand("vpt", [39.0]))
    table, _ = summary.summary(one_seed, Significance(None))
    assert table.rows[0][5].text == "one seed: not tested"


def test_the_report_begins_with_contents_and_summary(mixed: tuple[Path, Path]) -> None:
    text = (mixed[1] / "report.md").read_text()
    links = re.findall(r"(?m)^- \[[^\]]*\]\(#([^)]*)\)", text[: text.index("## Summary")])
    assert len(links) > 5
    assert [f'<a id="{link}"></a>' in text for link in links] == [True] * len(links)
    assert text.index("## Summary") < text.index(f'<a id="{links[0]}"></a>')
    assert links[0] == "rsitmd-ViT-B-32-quickgelu-openai-NVIDIA-H200"  # 3 seeds, most methods


def test_a_legend_explains_the_marks_that_are_there(tmp_path: Path) -> None:
    sure = by_hand("lora", [40, 44, 48.0]) + by_hand("vpt", [39, 42.7, 47.3])
    [group] = load(tmp_path, sure)
    parts = {part.name: part for part in section(group).parts}
    assert "Bold: best, and better than the second (underlined)" in " ".join(parts["recall"].notes)
    assert "†" not in "".join(parts["cost"].notes)
    assert parts["recall"].differs == ""
    assert "Bold" not in " ".join(parts["machine"].notes)


def check_latex(text: str) -> None:
    """Braces and environments balanced, `&` even in each tabular, no bare special character."""
    text = re.sub(r"(?m)^%.*\n", "", text)
    assert text.isascii(), set(text) - set(map(chr, range(128)))
    depth = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{([^}]*)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    outside = re.sub(
        r"\\label\{[^}]*\}|~\\ref\{[^}]*\}|\\[_&%$#]|\$\^?\\[a-z]+\$|\$[<>|-]\$", "", text
    )
    outside = re.sub(r">\{\\raggedright\\arraybackslash\}p\{11em\}", "l", outside)
    tabulars = re.findall(r"(?s)\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", outside)
    assert len(tabulars) == text.count("begin{tabular}") >= 1
    for columns, body in tabulars:
        for line in body.strip().splitlines():
            if line.endswith(r"\\"):
                spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
                assert line.count("&") + 1 + sum(spans) == len(columns), line
    assert not re.search(r"[_%$#^~]", outside), re.search(r".{20}[_%$#^~].{20}", outside)
    assert all("&" not in line for line in outside.splitlines() if not line.endswith(r"\\"))


def test_a_long_table_goes_on_in_another_float() -> None:
    rows = [[tables.Cell(f"m{k}", code=True), tables.Cell("1.0")] for k in range(70)]
    table = tables.Table(["method", "figure"], rows, breaks=(1, latex.ROWS + 5))
    part = contents.Part("one", "A table", table, ["A note."])
    text = latex.write(contents.Section("s", "S", [part]), part)
    pieces = re.findall(r"(?s)\\midrule\n(.*?)\\bottomrule", text)
    for piece, (first, gap) in zip(pieces, ((0, 1), (latex.ROWS, 5)), strict=True):
        lines = piece.splitlines()
        assert lines[0].startswith(rf"\texttt{{m{first}}} & 1.0")
        assert [n for n, line in enumerate(lines) if line == r"\addlinespace"] == [gap]
    assert text.count("A table (1 of 2).") == text.count("A table (2 of 2).") == 1
    assert text.count("A note.") == 1


@pytest.mark.parametrize(
    ("text", "written"),
    [("a_b&c%", r"a\_b\&c\%"), ("{~}", r"\{\textasciitilde{}\}"), ("\\x", r"\textbackslash{}x")],
)
def test_latex_escapes(text: str, written: str) -> None:
    assert latex.escaped(text) == written


def test_csv_have_all_records_and_full_precision(mixed: tuple[Path, Path]) -> None:
    tidy = list(csv.DictReader((mixed[1] / "records.csv").open()))
    assert len(tidy) == len(record.paths(mixed[0]))
    assert {row["status"] for row in tidy} == set(record.STATUSES)
    one = next(row for row in tidy if row["status"] == "ok")
    document = json.loads((mixed[0] / one["path"]).read_text())
    assert float(one["metrics.test.mR"]) == document["metrics"]["test"]["mR"]
    rows = list(csv.DictReader((mixed[1] / "table.csv").open()))
    order = ["trial.dataset", "trial.backbone", "trial.method", "trial.call"]
    order += sorted(name for name in tidy[0] if name.startswith("trial.settings."))
    order += ["lr", "trial.seed", "status", "metrics.test.mR", "metrics.test.i2t_R@1"]
    assert list(tidy[0])[: len(order)] == order
    lora = next(r for r in rows if r["group"] == "ucm-starter" and r["method"] == "lora")
    values = [
        float(r["metrics.test.mR"])
        for r in tidy
        if (r["trial.dataset"], r["trial.call"]) == ("ucm", "lora")
    ]
    assert float(lora["mR_mean"]) == pytest.approx(statistics.mean(values))
    assert float(lora["mR_std"]) == pytest.approx(statistics.stdev(values))
    assert lora["mR_n"] == "3"


def test_parquet_has_all_records(
    mixed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    tidy = pandas.read_parquet(mixed[1] / "records.parquet")
    plain = pandas.read_csv(mixed[1] / "records.csv")
    assert list(tidy.columns) == list(plain.columns)
    assert tidy["metrics.test.mR"].tolist() == pytest.approx(
        plain["metrics.test.mR"].tolist(), nan_ok=True
    )
    assert tidy["status"].tolist() == plain["status"].tolist()
    frame = record.load(mixed[0])[["status", "data.notes"]].head(2)
    frame["odd"] = [1, "word"]
    assert csvs.parquet(frame, tmp_path / "odd.parquet")
    assert pandas.read_parquet(tmp_path / "odd.parquet")["odd"].tolist() == ["1", '"word"']
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not csvs.parquet(frame, tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()


def test_same_records_same_bytes(mixed: tuple[Path, Path], tmp_path: Path) -> None:
    documents = fakes.sweep(2, ("zeroshot", "lora", "cmer"))
    fakes.save(tmp_path / "a" / "results", documents)
    for source in sorted((tmp_path / "a").rglob("*.json"), reverse=True):  # another order on disk
        target = tmp_path / "b" / source.relative_to(tmp_path / "a")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    first = report.write(tmp_path / "a" / "results", tmp_path / "a" / "reports")
    time.sleep(1.1)  # a date in a file would show
    second = report.write(tmp_path / "b" / "results", tmp_path / "b" / "reports")
    assert [path.name for path in first] == [path.name for path in second]
    assert len(first) >= 15
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


@pytest.mark.parametrize("width", [80, 100])
def test_console_table_fits(mixed: tuple[Path, Path], width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal.table(record.load(mixed[0])))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for number in ("zeroshot", "out of", "images/s", "warning: zeroshot"):
        assert number in text
    line = next(line for line in text.splitlines() if line.strip().startswith("full "))
    assert len(re.findall(r"\d[\d.,]*", line)) == 8  # n, two R@1, mR and its spread, three costs


def test_on_the_screen_a_mark_is_explained_once_for_all_groups(tmp_path: Path) -> None:
    documents = [fakes.record("lora", dataset=dataset) for dataset in ("rsicd", "ucm")]
    for document in documents:
        document["efficiency"]["warning"] = "another process holds 9 GiB of the GPU"
    fakes.save(tmp_path, documents)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal.table(record.load(tmp_path)))
    text = " ".join(console.export_text().split())
    assert text.count("\u2020 other processes used the machine, so that this figure is not") == 1
    assert text.count("kept MiB: what one training step keeps") == 1


def test_galleries_stop_when_the_page_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.save(tmp_path / "r", [fakes.record("lora", dataset=d) for d in ("rsicd", "ucm")])
    monkeypatch.setattr(report, "GALLERY_BYTES", 10)
    asked: list[str] = []

    def gallery(one: groups.Group) -> str:
        asked.append(one.dataset)
        return "<p>eleven pictures</p>"

    report.write(tmp_path / "r", tmp_path / "out", formats=("html",), gallery=gallery)
    assert asked == ["rsicd"]
    text = (tmp_path / "out" / "index.html").read_text()
    assert "eleven pictures" in text
    assert "No gallery: those above fill the page" in text


def test_no_record_and_unknown_format(tmp_path: Path) -> None:
    report.write(tmp_path / "none", tmp_path / "out")
    assert "0 records" in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(UserError, match="docx"):
        report.write(tmp_path / "none", tmp_path / "out", formats=("docx",))


def test_a_thousand_records_in_seconds(tmp_path: Path) -> None:
    documents = [
        fakes.record(method, seed, dataset=dataset)
        for dataset in ("ucm", "rsicd")
        for method in fakes.METHODS
        for seed in range(39)
    ]
    assert len(documents) >= 1000
    fakes.save(tmp_path / "results", documents)
    started = time.process_time()
    report.write(tmp_path / "results", tmp_path / "out")
    assert time.process_time() - started < 12  # four on an idle machine


def test_a_report_does_without_torch(tmp_path: Path) -> None:
    fakes.save(tmp_path / "results", [fakes.record("lora")])
    (tmp_path / "results" / "tuned.toml").write_text(TUNED)
    code = "import sys; from bench.cli import app; app(sys.argv[1:], standalone_mode=False); "
    code += "assert not {'torch', 'open_clip'} & sys.modules.keys()"  # they take seconds to import
    options = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", code, "report", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
