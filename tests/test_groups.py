"""Which records stand in one table, what is said of their differences, and their means by hand."""

import re
from pathlib import Path
from typing import Any

import pytest

from bench.report import conditions, tables
from bench.report.entry import RECALL
from bench.report.group import slug
from bench.report.row import Statistic
from tests.helpers import fake_records as fakes
from tests.helpers.fake_records import by_hand, group_of, groups_of


def test_mean_and_sample_deviation(tmp_path: Path) -> None:
    group = group_of(tmp_path, by_hand("lora", [40.0, 42.0, 47.0]) + by_hand("vpt", [30.0]))
    lora, vpt = group.rows
    statistic = lora.statistic(RECALL)
    assert statistic is not None
    assert (statistic.mean, statistic.n) == (43.0, 3)
    assert statistic.std == pytest.approx(13**0.5)  # ((-3)^2 + (-1)^2 + 4^2) / (3 - 1) = 13
    assert vpt.statistic(RECALL) == Statistic(30.0, None, 1)
    cell = tables.cell_of(lora, tables.recalls()[0])
    assert (cell.text, cell.spread) == ("43.0", "3.6")


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
        ({"trial": {"cached_features": 1}}, 2),
        ({"defines": {"weights": "another"}}, 2),
        ({"defines": {"test_split": "another"}}, 2),
    ],
)
def test_what_is_never_mixed(tmp_path: Path, change: dict[str, Any], number: int) -> None:
    trial, defines = change.pop("trial", {}), change.pop("defines", {})
    other = fakes.record("cmer", **change)
    other["trial"] |= trial
    other["trial"]["defines"] |= defines
    found = groups_of(tmp_path, [fakes.record("lora"), other])
    assert len(found) == number
    assert len({group.name for group in found}) == number
    assert len({group.title for group in found}) == number


def test_what_may_be_mixed(tmp_path: Path) -> None:
    methods = ("lora", "vpt", "full")
    old, here, there = (fakes.record(m, backbone="ViT-B-32:/a/x.pt") for m in methods)
    for name in ("frozen", "compile", "deterministic"):
        del old["trial"]["recipe"][name]  # a record from before there were these
    there["trial"]["backbone"] = "ViT-B-32:/elsewhere/x.pt"
    assert group_of(tmp_path, [old, here, there]).backbone == "ViT-B-32:x.pt"


def test_two_learning_rates_of_the_recipe_are_two_rows(tmp_path: Path) -> None:
    group = group_of(tmp_path, [fakes.record("lora"), fakes.record("lora", recipe={"lr": 1e-4})])
    assert sorted(row.label for row in group.rows) == ["lora [own lr]", "lora [recipe lr=0.0001]"]


def test_other_learning_rates_of_the_method_are_never_averaged(tmp_path: Path) -> None:
    documents = by_hand("lora", [10.0, 11.0, 12.0]) + by_hand("lora", [40.0, 42.0])
    for n, document in enumerate(documents):
        document["trial"]["lr"] = 1e-3 if n < 3 else 3e-3
        document["identity"] = f"{n}" * 16
        document["finished"] = f"2026-01-0{n + 1}T00:00:00+00:00"

    def shown(folder: str, documents: list[dict[str, Any]]) -> tuple[dict[int, float], str]:
        group = group_of(tmp_path / folder, documents)
        [row] = group.rows
        return row.values(RECALL), conditions.replaced(group)

    values, words = shown("a", documents)
    assert values == {0: 40.0, 1: 42.0}
    assert "later records of the same calls exist: lora: 3 at lr 0.001." in words
    documents[0] |= {"finished": "2026-02-01T00:00:00+00:00"}  # the last of all
    values, words = shown("b", documents)
    assert values == {0: 10.0, 1: 11.0, 2: 12.0}
    assert "lora: 2 at lr 0.003." in words
    documents[3]["trial"]["lr"] = 1e-3  # of the same seed, before and after
    values, words = shown("c", [documents[0], documents[3]])
    assert values == {0: 10.0}
    assert "lora: 1 at lr 0.001." in words


def test_a_trial_that_ended_before_its_training_hides_no_other(tmp_path: Path) -> None:
    """One that was killed has no learning rate, and its record may be the last."""
    killed = [fakes.record("lora", seed, status="timeout") for seed in (2, 0)]
    documents = [*by_hand("lora", [40.0, 42.0]), *killed]
    for document in documents:
        document["trial"]["lr"] = None  # the call asks for none
    for document in documents[:2]:
        document["lr"] = 1e-3  # the method's own
    for document in killed:
        document["finished"], document["identity"] = "2026-02-01T00:00:00+00:00", "f" * 16
    said = "Left out, because later records of the same calls exist: lora: 1."
    for number, left_out in ((3, ""), (4, said)):
        group = group_of(tmp_path / str(number), documents[:number])
        [row] = group.rows
        assert row.values(RECALL) == {0: 40.0, 1: 42.0}
        assert tables.seeds_of(row).text == "2 of 3"
        assert conditions.replaced(group) == left_out


def test_a_trial_that_failed_early_does_not_make_a_method_train(tmp_path: Path) -> None:
    documents = by_hand("zeroshot", [20.0])
    documents.append(fakes.record("zeroshot", 1, status="not_applicable"))  # says no parameters
    [row] = group_of(tmp_path, documents).rows
    assert len(row.entries) == 2
    assert not row.trains


def test_names_of_files_in_any_script_are_plain_and_different() -> None:
    assert slug("ViT-B-32:openai") == "ViT-B-32-openai"
    names = {slug(name) for name in ("遥感", "海洋", "côte", "cote", "c-te")}
    assert len(names) == 5
    assert all(re.fullmatch("[A-Za-z0-9]+(-[A-Za-z0-9]+)*", name) for name in names)


def test_what_differs_is_named_and_has_letters(tmp_path: Path) -> None:
    documents = [fakes.record(m, s) for m in ("lora", "vpt", "coop", "full") for s in range(2)]
    for document in documents[2:4]:
        document["environment"]["cpu"] = "Another CPU"
    for document in (documents[2], documents[4]):
        document["environment"]["torch"] = "2.11.0"
    documents[6]["status"] = "failed"
    group = group_of(tmp_path, documents)
    differs = {row.label: row.differs for row in group.rows}
    assert differs == {
        "lora": [],
        "vpt": ["cpu Another CPU", "torch 2.11.0"],
        "coop": ["torch 2.11.0"],
        "full": ["seeds 1"],
    }
    letters = conditions.letters(group)
    table = tables.recall_table(group)
    assert table.heads[-1] == "differs"
    for cells in table.rows[:4]:
        assert cells[-1].text == " ".join(letters[words] for words in differs[cells[0].text])
    legend = conditions.legend(group)
    assert legend.startswith("Differs from the group (cpu Made CPU, torch 2.15.0): a: ")
    assert f"{letters['cpu Another CPU']}: cpu Another CPU" in legend
    assert [conditions.letter(n) for n in (0, 25, 26, 52)] == ["a", "z", "aa", "ba"]


def test_trials_without_metrics_and_failed_ones_come_last(tmp_path: Path) -> None:
    documents = [fakes.record(method) for method in ("lora", "cmer")]
    documents[0]["metrics"] = {}
    documents.append(fakes.record("adapter", status="failed"))
    group = group_of(tmp_path, documents)
    assert [row.label for row in group.rows] == ["cmer", "lora", "adapter"]
    assert [cell.text for cell in tables.recall_table(group).rows[1][:3]] == ["lora", "1", "–"]
