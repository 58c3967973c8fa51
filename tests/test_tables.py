"""What the tables of a report say: marks, costs, settings, conditions and the notes below them."""

import io
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from bench import record, spec
from bench.report import ablation, conditions, contents, summary, tables, terminal
from bench.report.entry import JOULES, RECALL, SPEED
from bench.report.group import Group
from bench.report.significance import marks
from methods import registry
from tests.helpers import fake_records as fakes
from tests.helpers.fake_records import by_hand, group_of, groups_of

MIB = 2**20
GPU = "NVIDIA H200"
Rows = dict[str, dict[str, tables.Cell]]


def cells_of(table: tables.Table) -> Rows:
    """The cells of a table by the first cell of their row and by heading."""
    return {row[0].text: dict(zip(table.heads, row, strict=True)) for row in table.rows}


def costs(group: Group, reference: str = "") -> Rows:
    """The cells of the table of costs, with ratios to a method or call."""
    return cells_of(tables.method_table(group, tables.costs(group, group.row(reference))))


def parts_of(group: Group, results: Path) -> dict[str, tables.Part]:
    """The tables of a group's section by name, with their notes."""
    report = contents.contents(pd.DataFrame(), [group], results, "lora", {})
    return {part.name: part for part in report.sections[0].parts}


def words_of(group: Group) -> str:
    """What is said of a group and of its costs."""
    return " ".join([*conditions.conditions(group), *conditions.cost_words(group)])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Differences 1, 1.3, 0.7: t = 1 / (0.3 / sqrt 3) = 5.8 > 4.30.
        (
            {"lora": [40, 44, 48.0], "vpt": [39, 42.7, 47.3]},
            {"lora": "best", "vpt": "second"},
        ),
        (
            {"lora": [40, 44, 48.0], "vpt": [39, 42.7, 47.3], "coop": [39, 42.7, 47.3]},
            {"lora": "best", "vpt": "second", "coop": "second"},
        ),
        # Differences 3, -1, 1: t = 1 / (2 / sqrt 3) = 0.87.
        ({"lora": [42, 43, 48.0], "vpt": [39, 44, 47.0]}, {"lora": "second", "vpt": "second"}),
        # Two seeds: differences 1, 1.2, t = 1.1 / 0.1 = 11 < 12.7.
        ({"lora": [40, 44.2], "vpt": [39.0, 43]}, {"lora": "second", "vpt": "second"}),
        # Only seeds 1 and 2 are shared: differences 1 and 1.02, t = 101 > 12.7.
        ({"lora": [90, 44, 48.02], "vpt": [None, 43.0, 47.0]}, {"lora": "best", "vpt": "second"}),
        # With its seed 0 lora has the higher mean, but it is worse in the seeds that are shared.
        ({"lora": [90, 40.0, 41], "vpt": [None, 43, 44.02]}, {"lora": "second", "vpt": "second"}),
        ({"lora": [90.0], "vpt": [10.0, 11.0]}, {}),  # one seed proves nothing
    ],
)
def test_bold_only_if_significant(
    tmp_path: Path, values: dict[str, list[float | None]], expected: dict[str, str]
) -> None:
    documents = [document for method, mr in values.items() for document in by_hand(method, mr)]
    assert marks(group_of(tmp_path, documents), RECALL, 1) == expected


def test_one_seed_marks_nothing_and_says_so(tmp_path: Path) -> None:
    group = group_of(tmp_path, by_hand("lora", [90.0]) + by_hand("vpt", [10.0]))
    part = parts_of(group, tmp_path)["recall"]
    assert not any(cell.mark for row in part.table.rows for cell in row)
    assert "nothing is marked" in part.words


def test_less_memory_and_more_speed_are_better(tmp_path: Path) -> None:
    documents = fakes.sweep(3, ("full", "lora", "cmer"))
    sizes = (900, 901, 902, 500, 500.001, 500.002, 100, 104, 102)
    for document, kept in zip(documents, sizes, strict=True):
        document["efficiency"]["saved_for_backward_bytes"] = int(kept * MIB)
    cells = costs(group_of(tmp_path, documents))
    memory = cells["cmer"]["memory, MiB"]
    assert (memory.text, memory.spread, memory.mark) == ("102", "2", "best")
    memory = cells["lora"]["memory, MiB"]
    assert (memory.text, memory.spread, memory.mark) == ("500", "", "second")  # a few bytes
    assert cells["lora"]["images/s"].spread != ""
    assert cells["cmer"]["images/s"].mark == "best"
    assert cells["lora"]["images/s"].mark == "second"
    documents[-1]["efficiency"]["warning"] = "the GPU was 40% busy"  # cmer's: not comparable
    assert marks(group_of(tmp_path / "busy", documents), SPEED, 1) == {}


def test_memory_on_a_cpu_and_on_a_gpu(tmp_path: Path) -> None:
    cpu = group_of(tmp_path / "cpu", [fakes.record("lora")])
    gpu = group_of(tmp_path / "gpu", [fakes.record("lora", gpu=GPU)])
    assert cpu.memory == "efficiency.saved_for_backward_bytes"
    assert gpu.memory == "efficiency.peak_memory_train_bytes"
    assert "bytes that autograd keeps" in words_of(cpu)
    assert "for trying out" in words_of(cpu)
    assert "the most bytes that tensors took" in words_of(gpu)
    assert "kept for backward, MiB" in costs(gpu)["lora"]


def test_ratios_to_the_reference(tmp_path: Path) -> None:
    documents = [fakes.record("lora"), fakes.record("cmer"), fakes.record("cmer", queue=0)]
    figures = ((400, 10.0), (100, 25.0), (200, 20.0))
    for document, (kept, speed) in zip(documents, figures, strict=True):
        document["efficiency"]["saved_for_backward_bytes"] = kept * MIB
        document["efficiency"]["train_images_per_second"] = speed
    group = group_of(tmp_path, documents)
    names = ("memory / lora", "images/s / lora")
    ratios = {label: [row[n].text for n in names] for label, row in costs(group, "lora").items()}
    assert ratios == {
        "lora": ["1.00×", "1.00×"],
        "cmer": ["0.25×", "2.50×"],
        "cmer(queue=0)": ["0.50×", "2.00×"],
    }
    group.ok[0].record["efficiency"]["warning"] = "busy"
    assert "memory / cmer(queue=0)" in costs(group, "cmer(queue=0)")["lora"]
    assert not any("/ vpt" in head for head in costs(group, "vpt")["lora"])
    documents[0]["efficiency"]["train_images_per_second"] = 0.0  # nothing is a multiple of that
    cells = costs(group_of(tmp_path / "zero", documents), "lora")
    assert cells["cmer"]["images/s / lora"].text == "–"


@pytest.mark.parametrize("status", [*record.STATUSES[1:], "some_later_status"])
def test_a_trial_that_did_not_end_well_is_shown(tmp_path: Path, status: str) -> None:
    group = group_of(tmp_path, [fakes.record("lora"), fakes.record("vpt", status=status)])
    words = status.replace("_", " ")
    rows = tables.recall_table(group).rows
    assert [row[0].text for row in rows[:2]] == ["lora", "vpt"]
    assert [cell.text for cell in rows[1][1:]] == ["0 of 1", words, *"––––––"]
    assert costs(group, "lora")["vpt"]["trainable parameters"].text == words
    assert conditions.not_ok(group) == [f"vpt, seed 0: {words}: made to be {status}"]
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(terminal.table([group]))
    assert words in console.export_text()


def test_ceiling_and_chance(tmp_path: Path) -> None:
    plain, oracle = groups_of(
        tmp_path, [fakes.record("cmer"), fakes.record("cmer", scene="oracle")]
    )
    ceiling = cells_of(tables.recall_table(plain))["ceiling: shared captions"]
    assert [ceiling[f"t2i R@{k}"].text for k in (1, 5, 10)] == ["38.1", "84.8", "100.0"]
    chance = cells_of(tables.recall_table(oracle))["chance inside the true scene"]
    assert chance["mR"].text == "46.9"


def test_what_memory_leaves_out_of_rows_with_cached_features_is_said(tmp_path: Path) -> None:
    for gpu in (GPU, None):
        plain, cached = (fakes.record("cmer", gpu=gpu, recipe={"time": 80.0}) for _ in range(2))
        cached["trial"]["cached_features"], cached["identity"] = 4, "0" * 16
        words = words_of(group_of(tmp_path / str(gpu), [plain, cached]))
        assert "Rows with cached features" in words
        assert ("Memory leaves cached features out." in words) == (gpu is not None)


# Settings, one changed at a time.


def settings_table(folder: Path, documents: list[dict[str, Any]]) -> Rows:
    """The only table of settings of some records."""
    [part] = ablation.ablation_tables(group_of(folder, documents))
    return cells_of(part.table)


def test_ablation_has_the_default_first_and_one_setting_at_a_time(tmp_path: Path) -> None:
    documents = by_hand("cmer", [45.0, 47.0, 46.0]) + by_hand("lora", [40.0, 41.0])
    documents += by_hand("cmer", [44.0, 46.1, 44.9], queue=512)  # -1, -0.9, -1.1: t = 17 > 4.30
    documents += by_hand("cmer", [46.0, 45.0, 46.1], queue=0)  # +1, -2, +0.1: no difference
    documents += by_hand("cmer", [41.0], focus="none", queue=0)
    documents.append(fakes.record("cmer", focus="none", status="out_of_memory"))
    [part] = ablation.ablation_tables(group_of(tmp_path, documents))
    assert part.name == "settings-cmer"
    title = "Settings of cmer, one changed at a time; default: focus='soft', queue"
    assert part.title.startswith(title)
    assert "several" in part.title
    assert part.table.breaks == (1, 2, 4)
    assert set(ablation.COLUMNS) < set(part.table.heads)
    cells = cells_of(part.table)
    changes = {
        words: row["mR - default"].text + row["mR - default"].sign for words, row in cells.items()
    }
    assert list(changes.items()) == [
        ("default", ""),
        ("focus='none'", "–"),
        ("queue=0", "-0.3"),
        ("queue=512", "-1.0 *"),
        ("focus='none', queue=0", "-4.0"),
    ]
    assert cells["queue=512"]["mR"].text == "45.0"
    assert cells["focus='none'"]["mR"].text == "out of memory"


def test_stars_are_corrected_for_the_number_of_calls(tmp_path: Path) -> None:
    """A difference that alone is significant (p 0.012) is not among five that were tried."""
    base = by_hand("cmer", [45.0, 47.0, 46.0])
    weak = by_hand("cmer", [44.0, 46.2, 44.8], queue=512)
    clear = by_hand("cmer", [44.0, 46.1, 44.9], queue=512)  # p 0.0034
    several = [n for q in range(4) for n in by_hand("cmer", [45.5, 46.0, 46.4], queue=q)]
    for name, documents, star in (
        ("one", base + weak, " *"),
        ("five", base + weak + several, ""),
        ("clear", base + clear + several, " *"),
    ):
        cell = settings_table(tmp_path / name, documents)["queue=512"]["mR - default"]
        assert (cell.text, cell.sign) == ("-1.0", star)


def test_ablation_counts_the_learning_rate_as_a_setting(tmp_path: Path) -> None:
    documents = by_hand("cmer", [45.0]) + by_hand("cmer", [44.0], queue=0)
    documents += by_hand("cmer", [43.0], focus="none") + by_hand("cmer", [42.0], scene_p=0.0)
    del documents[0]["trial"]["settings"]["scene_p"]  # what an older record lacks is no change
    calls = ("cmer", "cmer(queue=0, lr=0.001)", "cmer(focus='none')", "cmer(lr=0.002)")
    for document, call, lr in zip(documents, calls, (1e-3, 1e-3, 2e-3, 2e-3), strict=True):
        document["trial"] |= {"lr": lr, "call": call}
    documents[3]["trial"]["settings"]["scene_p"] = 0.3  # all defaults, at another rate
    cells = settings_table(tmp_path, documents)
    assert list(cells) == ["default", "lr=0.002", "queue=0", "focus='none', lr=0.002"]


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
    documents = by_hand("cmer", [45.0]) + by_hand("lora", [40.0])
    for value in range(6):
        documents += by_hand("cmer", [60.0 - value], queue=value)
        documents[-1]["metrics"]["val"]["mR"] = 50.0 + (value == 4)
    # Notes also name trials that are only in the table of settings.
    documents[2]["efficiency"] |= {"windows": 5, "busy_windows": 2, "disturbed": True}
    documents.append(fakes.record("cmer", 1, queue=0, status="out_of_memory"))
    group = group_of(tmp_path, documents)
    folded = ablation.fold(group)
    assert [row.label for row in folded.rows] == ["cmer(queue=4)", "cmer", "lora"]
    [part] = ablation.ablation_tables(folded)
    assert len(part.table.rows) == 7
    assert "5 more calls of cmer" in words_of(folded)
    assert "out of memory: made" in conditions.not_ok(folded)[0]
    [note] = conditions.footnotes(folded).values()
    assert "2 of 5 windows busy: cmer(queue=0) seed 0)." in note
    few = replace(group, rows=group.rows[1:])
    assert ablation.fold(few) is few


# Marks of figures that cannot be compared, and conditions.


def test_busy_and_throttled_figures_are_marked_and_explained(tmp_path: Path) -> None:
    documents = [fakes.record(m, s, gpu=GPU) for m in ("lora", "cmer") for s in range(2)]
    plain, busy, windows, hot = (document["efficiency"] for document in documents)
    plain |= {"warning": None, "busy_windows": 3, "windows": 5, "disturbed": False}  # left out
    busy["warning"] = "the GPU was 40% busy before the trial began"
    windows |= {"busy_windows": 2, "windows": 5, "disturbed": True}
    hot |= {"throttled_windows": 1, "windows": 5, "gpu_throttle_reasons": ["power_cap"]}
    hot["epoch_seconds"] = 9.0
    group = group_of(tmp_path, documents)
    cells = costs(group, "lora")
    for name, signs in {
        "images/s": ["†", "†‡"],
        "images/s / lora": ["†", "†‡"],
        "memory, MiB": ["†", "†"],
        "epoch, s": ["", "‡"],
        "trainable parameters": ["", ""],
        "kept for backward, MiB": ["", ""],
    }.items():
        assert [cells[label][name].sign for label in ("lora", "cmer")] == signs
    first, second = conditions.footnotes(group).values()
    assert "the GPU was 40% busy before the trial began: lora seed 1" in first
    assert "2 of 5 windows busy: cmer seed 0" in first
    assert "lora seed 0" not in first
    assert "1 of 5 windows (power cap): cmer seed 1" in second
    parts = parts_of(group, tmp_path)
    assert first in parts["cost"].notes
    assert first not in parts["recall"].notes  # the note stands where its mark does


def test_many_busy_trials_are_not_all_named(tmp_path: Path) -> None:
    documents = fakes.sweep(conditions.SHOWN + 2, ["lora"])
    for document in documents:
        document["efficiency"] |= {"windows": 5, "busy_windows": 5, "disturbed": True}
    [note] = conditions.footnotes(group_of(tmp_path, documents)).values()
    assert note.endswith("lora seed 5 and 2 more).")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "best validation mR is tested, once"),
        ({}, "cached features, which means another augmentation."),
        ({"recipe": {"track": "train+val"}}, "nothing is selected"),
        ({"scene": "oracle"}, "oracle information"),
        ({"scene": "predicted"}, "the untrained backbone predicts the scene"),
        ({"gpu": GPU}, "images whose cached features are trained on, and memory leaves them out"),
    ],
)
def test_the_conditions_say_how_the_trials_were(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    document = fakes.record("cmer", **change)
    document["trial"]["cached_features"] = 4
    assert words in words_of(group_of(tmp_path, [document]))


def test_cached_features_have_no_evaluation_speed(tmp_path: Path) -> None:
    documents = [fakes.record("cmer"), fakes.record("cmer", seed=1)]
    documents[1]["trial"]["cached_features"] = 4
    for group in groups_of(tmp_path, documents):
        titles = [column.title for column in tables.machine(group)]
        assert ("evaluation images/s" in titles) is (group.cached_features == 0)


def test_energy_is_told_per_image_trained_on(tmp_path: Path) -> None:
    [document] = by_hand("lora", [40.0], gpu=GPU)
    document["efficiency"] |= {"gpu_energy_joules": 998_400.0, "gpu_power_watts_mean": 400.0}
    group = group_of(tmp_path, [document])
    assert costs(group)["lora"]["J/image"].text == "20"  # 390 steps of 128 images: 49,920 images
    document["trial"]["recipe"]["accumulation"] = 2
    group = group_of(tmp_path / "more", [document])
    assert group.ok[0].get(JOULES) == pytest.approx(10)
    assert "batch 256 (2 micro-batches of 128);" in words_of(group)
    machine = cells_of(tables.method_table(group, tables.machine(group)))
    assert machine["lora"]["power, W"].text == "400"


def test_a_legend_explains_the_marks_that_are_there(tmp_path: Path) -> None:
    documents = by_hand("lora", [40, 44, 48.0]) + by_hand("vpt", [39, 42.7, 47.3])
    parts = parts_of(group_of(tmp_path, documents), tmp_path)
    assert "Bold: best, and better than the second (underlined)" in parts["recall"].words
    assert "†" not in parts["cost"].words
    assert parts["recall"].differs == ""
    assert "Bold" not in parts["machine"].words


def test_the_summary_names_the_best_and_what_is_level(tmp_path: Path) -> None:
    documents = by_hand("lora", [40, 44, 48.0]) + by_hand("vpt", [39.0, 42.7, 47.3])
    documents += by_hand("coop", [42.0, 43.0, 46.0]) + by_hand("zeroshot", [20.0, 20.0, 20.0])
    documents += by_hand("full", [50.0], dataset="rsicd") + by_hand("linear", [30.0])
    for document in documents:
        kept = {"lora": 300, "vpt": 100, "coop": 50}.get(document["trial"]["method"], 200)
        if document["efficiency"].get("saved_for_backward_bytes"):
            document["efficiency"]["saved_for_backward_bytes"] = kept * MIB
    found = groups_of(tmp_path, documents)
    assert [group.dataset for group in found] == ["ucm", "rsicd"]  # more seeds first
    rows = summary.summary(found).table.rows
    first, second = ([cell.text for cell in row] for row in rows)
    assert rows[0][0].link == "ucm-starter"
    level = "coop; too few seeds in common: linear"
    assert first[1:7] == ["210", "3", "5", "lora 44.0 ± 4.0", level, "coop 50 MiB"]
    assert second[2:6] == ["1", "1", "full 50.0", "–"]
    one_seed = groups_of(tmp_path / "b", by_hand("lora", [40.0]) + by_hand("vpt", [39.0]))
    assert summary.summary(one_seed).table.rows[0][5].text == "one seed: not tested"
